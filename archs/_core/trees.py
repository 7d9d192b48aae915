"""The layer that runs a node cell over trees."""

import keras
from keras import ops

from archs._core import checks
from archs._core.inputs import TokenEmbedding
from archs._core.node import Node
from archs._core.policy import InPolicyOf


@keras.saving.register_keras_serializable(package="archs")
class Tree(keras.layers.Layer):
    """Runs a node cell over trees, from the leaves to the root: all nodes of a level at once, of all trees.

    A tree is an array of nodes, in any order. Each has the places of its children in this array, in their order. The
    root is the one node that is no child of another. Padding is a node without children and without a parent, anywhere;
    in a row where no node has children the first one is the tree. What stands at padding is not read.

    On TensorFlow only. The number of steps of its loop is the height of the highest tree.

    Args:
        node: a node cell.
        return_nodes: whether to return the output of every node, and not that of the root.
        **kwargs: of `keras.layers.Layer`. `dtype` defaults to the node's.

    Call arguments:
        inputs: float tensor (batch, nodes, features).
        children: int tensor (batch, nodes, arity), -1 for none.

    Returns:
        The output of the root, (batch, units); with `return_nodes` a tuple of those of all nodes,
        (batch, nodes, units), zeros at padding, and of a bool mask (batch, nodes), False at padding.

    Raises:
        ValueError: inputs and children of shapes that do not fit each other or the node.
            Also a row that is no tree: a child out of range, a node with two parents, another number of roots than one,
            a cycle. In a graph, InvalidArgumentError; in one that XLA compiles, there is no error.
        NotImplementedError: on another backend than TensorFlow.

    Example:

    >>> import numpy as np, archs
    >>> layer = archs.Tree(archs.ChildSumLSTMNode(6))
    >>> layer(np.ones((1, 3, 4), "float32"), np.array([[[-1, -1], [0, 2], [-1, -1]]])).shape
    TensorShape([1, 6])
    """

    def __init__(self, node, return_nodes=False, **kwargs):
        if not isinstance(node, Node):
            raise ValueError(f"Expected `node` to be a node cell, received {node!r}.")
        super().__init__(**{"dtype": node.dtype_policy} | kwargs)
        self.node = node
        self.return_nodes = checks.flag("return_nodes", return_nodes)

    def build(self, inputs_shape, children_shape=None):
        if len(inputs_shape) != 3 or inputs_shape[-1] is None:
            raise ValueError(f"Expected inputs of shape (batch, nodes, features), received {tuple(inputs_shape)}.")
        if not self.node.built:
            self.node.build((None, inputs_shape[-1]))

    def call(self, inputs, children):
        if keras.backend.backend() != "tensorflow":
            raise NotImplementedError("Expected the TensorFlow backend: trees are computed on no other.")
        from archs._core.tree_loop import TreeLoop, levels_of  # imports tensorflow

        children = ops.cast(children, "int32")
        received = tuple(inputs.shape), tuple(children.shape)
        pairs = zip(received[0][:2], received[1], strict=False)
        if len(received[1]) != 3 or any(None not in pair and len(set(pair)) > 1 for pair in pairs):
            raise ValueError(
                f"Expected `children` of shape (batch, nodes, arity) for inputs of shape {received[0]}, received "
                f"{received[1]}."
            )
        self.node.check_arity(received[1][2])
        levels = levels_of(children)
        features = inputs.shape[-1]
        inputs = ops.take(ops.reshape(inputs, (-1, features)), levels.order, axis=0)
        x = InPolicyOf(self.node)([inputs], function=self.node.project)
        outputs = ops.cast(TreeLoop(self.node, levels).run(x), self.compute_dtype)
        if not self.return_nodes:
            return ops.take(outputs, levels.roots, axis=0)
        outputs = ops.pad(outputs, [[0, 1], [0, 0]])
        return ops.take(outputs, levels.places, axis=0), levels.mask

    def compute_output_spec(self, inputs, children):
        batch, nodes, _ = inputs.shape
        if not self.return_nodes:
            return keras.KerasTensor((batch, self.node.units), dtype=self.compute_dtype)
        outputs = keras.KerasTensor((batch, nodes, self.node.units), dtype=self.compute_dtype)
        return outputs, keras.KerasTensor((batch, nodes), dtype="bool")

    def get_config(self):
        node = keras.saving.serialize_keras_object(self.node)
        node.pop("build_config", None)
        return super().get_config() | {"node": node, "return_nodes": self.return_nodes}

    @classmethod
    def from_config(cls, config):
        if isinstance(config["node"], dict):
            config = config | {"node": keras.saving.deserialize_keras_object(config["node"])}
        return cls(**config)


@keras.saving.register_keras_serializable(package="archs")
class Masked(keras.layers.Layer):
    """Gives a tensor a mask: losses and metrics of Keras leave out what it leaves out.

    Call arguments:
        inputs: list of the tensor (batch, nodes, ...) and a bool tensor (batch, nodes).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return inputs[0]

    def compute_mask(self, inputs, mask=None):
        return inputs[1]

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable(package="archs")
class WordEmbedding(TokenEmbedding):
    """`TokenEmbedding` whose token 0 stands for no word: zeros, which are not trained."""

    def call(self, inputs):
        return ops.where(ops.cast(inputs, "int32")[..., None] > 0, super().call(inputs), 0)
