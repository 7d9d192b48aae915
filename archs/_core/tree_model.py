"""Parts that the architectures over trees share: inputs, the tree, dropout around it and the dense layer above."""

import keras

from archs._core import checks
from archs._core.head import head, outputs_of
from archs._core.model import SequenceModel
from archs._core.trees import Masked, Tree, WordEmbedding


def tree_model(node, features, outputs, *, vocabulary, return_nodes, activation, dropout, name):
    """A functional model over trees.

    Args:
        node: a node cell, whose dtype policy is the model's.
        features: the size of the vector of a node; with `vocabulary`, of an embedding.
        outputs: size of an answer, or None.
        vocabulary: None, or the number of tokens.
        return_nodes: whether there is an answer for every node.
        activation: of the dense layer.
        dropout: rate on the vectors of the nodes and on what goes into the dense layer.
        name: of the model.
    """
    outputs = outputs_of(outputs)
    dropout = checks.rate("dropout", dropout)
    features = checks.positive_integer("features", features)
    dtype = node.dtype_policy.name
    children = keras.Input((None, node.arity), name="children", dtype="int32")
    if vocabulary is None:
        wide = keras.backend.result_type(node.variable_dtype, "float32")
        inputs = vectors = keras.Input((None, features), name="inputs", dtype=wide)
    else:
        vocabulary = checks.positive_integer("vocabulary", vocabulary)
        inputs = keras.Input((None,), name="inputs", dtype="int32")
        vectors = WordEmbedding(vocabulary, features, dtype=dtype, name="embedding")(inputs)
    if dropout:
        vectors = keras.layers.Dropout(dropout, dtype=dtype, name="dropout_in")(vectors)
    states = Tree(node, return_nodes, name="tree")(vectors, children)
    if return_nodes:
        states = Masked(dtype=dtype, name="masked")(states)
    if dropout:
        states = keras.layers.Dropout(dropout, dtype=dtype, name="dropout_out")(states)
    answer = head(states, outputs, activation=activation, dtype=node.variable_dtype)
    return SequenceModel({"inputs": inputs, "children": children}, answer, name=name)
