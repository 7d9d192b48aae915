"""Small trees and node cells, and requests to models over trees, for the conformance tests."""

import importlib

import numpy as np

import archs
from tests.conformance.catalog import FEATURES, NODES, UNITS, random, randomize


def reference_of(name):
    return importlib.import_module(f"tests.reference.nodes.{name}")


def cases_of(name):
    return getattr(reference_of(name), "CASES", [{}])


CASES = [(name, case) for name in NODES for case in cases_of(name)]
LEAVES = (7, 1, 4)  # of the trees of a batch
ROOM = 16  # nodes of a row, more than any tree has


def arity_of(name, case=()):
    """The number of children that a node is tried with."""
    return dict(case).get("arity") or archs.get(name, "node").arity or (2 if name == "nary_lstm" else 4)


def tree(leaves, arity, draw):
    """A random tree: for each node the list of its children, each before it; the root is the last."""
    nodes, open_ends = [[] for _ in range(leaves)], list(range(leaves))
    while len(open_ends) > 1:
        size = min(len(open_ends), draw.integers(2, arity + 1))
        place = draw.integers(0, len(open_ends) - size + 1)
        nodes.append(open_ends[place : place + size])
        open_ends[place : place + size] = [len(nodes) - 1]
    return nodes


def batch(arity, leaves=LEAVES, room=ROOM, seed=4):
    """Trees, the places of their nodes in a row, in any order among padding, and the array of their children."""
    draw = np.random.default_rng(seed)
    trees = [tree(count, arity, draw) for count in leaves]
    places = [draw.permutation(room)[: len(one)] if len(one) > 1 else np.zeros(1, int) for one in trees]
    children = np.full((len(trees), room, arity), -1, "int32")
    for row, (one, of_nodes) in enumerate(zip(trees, places, strict=True)):
        for node, parts in enumerate(one):
            children[row, of_nodes[node], : len(parts)] = of_nodes[parts]
    return trees, places, children


def vectors(rows=3, room=ROOM, seed=2):
    return random(rows, room, FEATURES, seed=seed)


def layer_of(name, case=(), dtype="float64", **options):
    """A built layer around the node, with random weights; and these by name."""
    node = archs.create(name, UNITS, kind="node", dtype=dtype, **dict(case))
    layer = archs.Tree(node, return_nodes=True, **options)
    layer.build((None, None, FEATURES))
    return layer, randomize(layer)


def run_reference(name, weights, x, trees, places, case):
    """The outputs (batch, nodes, units) of the NumPy transcription, zeros at padding."""
    outputs = np.zeros((*x.shape[:2], UNITS))
    for row, (one, of_nodes) in enumerate(zip(trees, places, strict=True)):
        outputs[row, of_nodes] = reference_of(name).tree(weights, x[row, of_nodes], one, **case)[0]
    return outputs
