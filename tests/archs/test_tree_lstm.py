"""Trees: the layer, and architectures over trees: padding, errors, files, speed."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core.tree_loop import levels_of
from archs._core.trees import Masked
from tests.conformance.catalog import FEATURES, NODES, TREE_ARCHS, UNITS, random, randomize
from tests.conformance.trees import arity_of, batch, layer_of, vectors

# Every architecture with every node that it is made for.
PAIRS = [("tree_lstm", name) for name in NODES] + [("recursive_net", name) for name in ("recursive", "rntn")]
each_pair = pytest.mark.parametrize(("arch", "name"), PAIRS)
each_arch = pytest.mark.parametrize("arch", TREE_ARCHS)


def model_of(arch, name=None, **options):
    node = {} if name is None else {"node": name}
    model = archs.create(arch, FEATURES, UNITS, 2, **node, **options)
    randomize(model)
    return model


def request(name="nary_lstm", **options):
    trees, places, children = batch(arity_of(name), **options)
    return {"inputs": vectors(len(trees), children.shape[1]).astype("float32"), "children": children}, places


def test_every_architecture_is_tried():
    assert {arch for arch, _ in PAIRS} == set(TREE_ARCHS)


@each_pair
@pytest.mark.parametrize("return_nodes", [False, True])
def test_padding_changes_no_answer_and_reaches_no_gradient(arch, name, return_nodes):
    model = model_of(arch, name, return_nodes=return_nodes)
    x, places = request(name)
    is_node = np.asarray(levels_of(tf.constant(x["children"])).mask)
    expected = np.asarray(model(x))
    padded = {key: np.pad(value, [(0, 0), (0, 3), (0, 0)], constant_values=-1) for key, value in x.items()}
    padded["inputs"][~np.pad(is_node, [(0, 0), (0, 3)])] = np.nan
    with tf.GradientTape() as tape:
        received = model(padded)
        seen = received if not return_nodes else received[:, :-3][is_node]
        loss = tf.reduce_sum(seen**2)
    np.testing.assert_allclose(seen, expected if not return_nodes else expected[is_node], atol=1e-6)
    for gradient in tape.gradient(loss, [w.value for w in model.trainable_weights]):
        assert np.all(np.isfinite(gradient))
    alone = model(
        {key: value[2:3, np.sort(places[2])] for key, value in x.items() if key == "inputs"}
        | {"children": renumbered(x["children"][2], np.sort(places[2]))[None]}
    )
    np.testing.assert_allclose(alone, expected[2:] if not return_nodes else expected[2:, np.sort(places[2])], atol=1e-6)


def renumbered(children, places):
    """The children of the nodes at `places`, as places among these."""
    numbers = np.full(len(children) + 1, -1)
    numbers[places] = np.arange(len(places))
    return numbers[children[places]]


@pytest.mark.sampled(3)
@each_pair
def test_a_model_trains_with_every_weight_and_is_saved_and_exported(arch, name, tmp_path):
    model = archs.create(arch, FEATURES, UNITS, 2, node=name, vocabulary=9, return_nodes=True, dropout=0.1)
    x, _ = request(name)
    x["inputs"] = np.random.default_rng(0).integers(1, 9, x["children"].shape[:2])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    before = model.get_weights()
    model.fit(x, np.ones(x["inputs"].shape), epochs=2, verbose=0)
    assert not [w.path for w, old in zip(model.weights, before, strict=True) if np.array_equal(w, old)]
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.to_json() == model.to_json()
    np.testing.assert_allclose(loaded(x), expected, atol=1e-6)
    loaded.fit(x, np.ones(x["inputs"].shape), verbose=0)
    model.export(tmp_path / "model", verbose=False)
    tensors = {key: tf.constant(value, "int32") for key, value in x.items()}
    exported = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(exported.serve(tensors), expected, atol=1e-6)


def test_losses_and_metrics_leave_padding_out():
    model = model_of("tree_lstm", return_nodes=True)
    x, _ = request()
    is_node = np.asarray(levels_of(tf.constant(x["children"])).mask)
    y = random(*is_node.shape, 2)
    model.compile("sgd", "mse", metrics=["mae"])
    loss, mae = model.evaluate(x, y, verbose=0)
    error = (np.asarray(model(x)) - y)[is_node]
    np.testing.assert_allclose([loss, mae], [np.mean(error**2), np.mean(np.abs(error))], rtol=1e-5)


def test_no_word_is_zeros_and_is_not_trained():
    model = archs.tree_lstm(FEATURES, UNITS, 2, vocabulary=9)
    x, _ = request()
    x["inputs"] = np.where(x["children"].max(-1) >= 0, 0, 3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x))
    by = tf.convert_to_tensor(tape.gradient(loss, model.get_layer("embedding").embeddings.value))
    assert np.flatnonzero(np.abs(by).max(axis=1)).tolist() == [3]
    assert not np.any(model.get_layer("embedding")(np.zeros((1, 2), int)))


WRONG = {
    "two parents": ([[1, 2], [3, 4], [3, -1], [-1, -1], [-1, -1]], "a node with two parents, in the rows"),
    "one child twice": ([[1, 1], [-1, -1], [-1, -1], [-1, -1], [-1, -1]], "a node with two parents, in the rows"),
    "two roots": ([[1, 2], [-1, -1], [-1, -1], [4, -1], [-1, -1]], "with one root each, received 2 in the rows"),
    "no root": ([[1, -1], [0, -1], [-1, -1], [-1, -1], [-1, -1]], "with one root each, received 0 in the rows"),
    "a cycle beside a tree": ([[1, -1], [-1, -1], [3, -1], [4, -1], [2, -1]], "without cycles, received one in"),
    "a node below itself": ([[1, -1], [-1, -1], [2, -1], [-1, -1], [-1, -1]], "without cycles, received one in"),
    "a child beyond": ([[1, 5], [-1, -1], [-1, -1], [-1, -1], [-1, -1]], "or -1 for none, received 5 in the rows"),
    "a child before": ([[1, -2], [-1, -1], [-1, -1], [-1, -1], [-1, -1]], "or -1 for none, received -2 in the rows"),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("method", ["__call__", "predict"])
def test_what_is_no_tree_is_refused(wrong, method):
    children, message = WRONG[wrong]
    model = model_of("tree_lstm")
    right = [[1, 2], [-1, -1], [-1, -1], [-1, -1], [-1, -1]]
    x = {"inputs": vectors(2, 5).astype("float32"), "children": np.array([right, children])}
    model(x | {"children": np.array([right, right])})
    if method == "__call__":
        with pytest.raises(ValueError, match=f"Expected `children` .*{message}.* 1\\."):
            model(x)
    else:
        message = message.replace(" ", r"\W+")  # numbers stand in brackets
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{message}.*\W1\W"):
            model.predict(x, verbose=0)


def test_rows_without_nodes_are_no_trees():
    model, x = model_of("tree_lstm"), {"inputs": np.zeros((2, 0, FEATURES)), "children": np.zeros((2, 0, 2), "int32")}
    with pytest.raises(ValueError, match="with one root each, received 0, 0 in the rows 0, 1"):
        model(x)
    with pytest.raises(tf.errors.InvalidArgumentError, match="with one root each"):
        model.predict(x, verbose=0)


def test_children_that_are_not_padded_are_refused_with_the_way_to_pad_them():
    model = model_of("tree_lstm")
    children = [[[1, 2], [], []], [[]]]
    for given, message in (
        (children, "`children` to be padded by -1, to the same number of nodes and of children of each"),
        (tf.ragged.constant(children), r"received a RaggedTensor .*Give `children.to_tensor\(-1\)`"),
    ):
        with pytest.raises(ValueError, match=message):
            model({"inputs": vectors(2, 3), "children": given})
    right = {"inputs": vectors(2, 3), "children": tf.ragged.constant(children).to_tensor(-1).numpy()}
    assert model(right).shape == (2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"node": "nary_lstn"}, "Did you mean nary_lstm"),
        ({"node": 3}, "a name, a class or a function units -> node, received 3"),
        ({"node": archs.LSTMCell}, "to make a node, received <LSTMCell"),
        ({"node": archs.Node}, "to make a node, received <Node"),
        ({"node": lambda: 3}, "to take units, received from it"),
        ({"node": archs.NaryLSTMNode, "arity": 0}, "`arity` to be a positive integer, received 0"),
        ({"node": lambda n: archs.NaryLSTMNode(n), "arity": 3}, "the function given as `node` to set arity itself"),
        ({"node": lambda n: archs.NaryLSTMNode(n), "dtype": "float64"}, "given as `node` to set dtype itself"),
        ({"node": "child_sum_lstm", "arity": 3}, "received 'arity'"),
        ({"arity": 0}, "`arity` to be a positive integer, received 0"),
        ({"dropout": 1.0}, r"rate in \[0, 1\)"),
        ({"return_nodes": 1}, "`return_nodes` to be True or False, received 1"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        archs.tree_lstm(FEATURES, UNITS, 2, **options)


@each_arch
@pytest.mark.parametrize("argument", ["features", "units", "outputs"])
def test_sizes_that_are_none_are_refused(arch, argument):
    with pytest.raises(ValueError, match=f"`{argument}` to be a positive integer, received 0"):
        archs.create(arch, **{"features": FEATURES, "units": UNITS, "outputs": 2} | {argument: 0})


def test_a_tensor_or_a_node():
    assert isinstance(archs.recursive_net(4, 4, 2, tensor=True).get_layer("tree").node, archs.RNTNNode)
    with pytest.raises(ValueError, match="Expected `tensor` or `node`, received both"):
        archs.recursive_net(4, 4, 2, tensor=True, node="rntn")


@each_arch
def test_a_model_has_the_dtype_policy_that_was_asked_for(arch):
    x, _ = request()
    model = model_of(arch, dtype="mixed_bfloat16", return_nodes=True, dropout=0.1)
    assert model.dtype_policy.name == "mixed_bfloat16"
    assert [layer.name for layer in model.layers if layer.dtype_policy.name == "float32" and layer.name == "outputs"]
    assert model(x).dtype == "float32"
    assert model_of(arch, dtype="float64")(x).dtype == "float64"


@pytest.mark.parametrize("shape", [(3, 7, 2), (2, 16, 2), (3, 16, 3), (3, 16)])
def test_children_of_another_shape_are_refused(shape):
    layer, _ = layer_of("nary_lstm")
    with pytest.raises(ValueError, match=r"Expected `children` of shape \(batch, nodes, "):
        layer(vectors(), np.full(shape, -1))


def test_a_chain_of_many_nodes_and_trees_of_one():
    """Trees as high as they have nodes, which an order by steps that double finds."""
    layer, _ = layer_of("nary_lstm")
    size = 300
    chain = np.stack([np.arange(1, size + 1), np.full(size, -1)], axis=1)
    chain[-1, 0] = -1
    outputs, mask = layer(vectors(1, size), chain[None])
    backwards, _ = layer(vectors(1, size)[:, ::-1], np.where(chain >= 0, size - 1 - chain, -1)[None, ::-1])
    assert np.all(mask)
    np.testing.assert_allclose(outputs, backwards[:, ::-1], atol=1e-12)
    alone, _ = layer(vectors(2, 1), np.full((2, 1, 2), -1))
    np.testing.assert_array_equal(np.asarray(alone)[0, 0] != 0, True)


def one_by_one(node, x, children):
    """The outputs of the roots, each node by a call of its own, as far as it is one of another."""
    roots = []
    for row, parts in zip(x, children, strict=True):
        states = []
        for vector, places in zip(row, parts, strict=True):
            nothing = tf.zeros(node.units)
            below = [tf.stack([states[p][s] if p >= 0 else nothing for p in places])[None] for s in range(2)]
            states.append([state[0] for state in node(vector[None], below, tf.constant(places >= 0)[None])[1]])
        roots.append(states[-1][0])
    return tf.stack(roots)


@pytest.mark.slow
def test_levels_at_once_equal_node_by_node_and_are_many_times_as_fast():
    """A batch of 64 trees of 40 leaves, 100 units, of which a quarter goes node by node."""
    draw = np.random.default_rng(0)
    children = np.full((64, 79, 2), -1, "int32")
    for row in children:
        ends, following = list(range(40)), 40
        while len(ends) > 1:
            place = draw.integers(len(ends) - 1)
            row[following] = ends[place : place + 2]
            ends[place : place + 2] = [following]
            following += 1
    layer = archs.Tree(archs.NaryLSTMNode(100))
    x = tf.constant(random(64, 79, 100), tf.float32)
    layer.build(x.shape)
    at_once, seconds = tf.function(layer), []
    answer = at_once(x, tf.constant(children))
    for function in (lambda: at_once(x, tf.constant(children)), lambda: one_by_one(layer.node, x[:16], children[:16])):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    np.testing.assert_allclose(result, answer[:16], atol=1e-6)
    print(f"{seconds[0] * 1000:.1f} and {4 * seconds[1] * 1000:.1f} ms, {4 * seconds[1] / seconds[0]:.0f} times")
    assert 4 * seconds[1] > 20 * seconds[0]


def test_a_layer_has_its_config_and_a_mask():
    layer = archs.Tree(archs.NaryLSTMNode(6, arity=3), return_nodes=True, name="up")
    assert archs.Tree.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match="Expected `node` to be a node cell, received 'nary_lstm'"):
        archs.Tree("nary_lstm")
    masked = Masked()([tf.ones((1, 2, 3)), tf.constant([[True, False]])])
    np.testing.assert_array_equal(masked._keras_mask, [[True, False]])
