"""The recursive neural tensor network."""

import keras
from keras import ops

from archs._core.cell import add
from archs._core.node import Node
from archs._core.registry import node


@node(paper="Socher et al. 2013", url="https://aclanthology.org/D13-1170", year=2013)
class RNTNNode(Node):
    r"""Recursive neural tensor network: the two parts of a phrase also multiply each other, by a tensor.

    R. Socher, A. Perelygin, J. Y. Wu, J. Chuang, C. D. Manning, A. Y. Ng, C. Potts, "Recursive Deep Models for Semantic
    Compositionality Over a Sentiment Treebank", EMNLP 2013, section 4.3.

    A leaf has the vector x, a node the children a and b; k is one of its units.

    Equations:

    $$
    \begin{aligned}
    h_{leaf} &= x \\
    p &= [h_a, h_b] \\
    h_k &= \tanh(p V_k p^T + p W_k + b_k)
    \end{aligned}
    $$

    Weights, for d features and n units; the kernel is there only where d is not n:

    | name | symbol | shape |
    |---|---|---|
    | kernel | P | (d, n) |
    | tensor_kernel | V | (2n, 2n, n) |
    | recurrent_kernel | W | (2n, n) |
    | bias | b | (n,) |

    Departures from the paper: where vectors have another size than nodes, the vector of a leaf is x P. The paper has
    no bias; `use_bias=False` leaves it out. A node with one child takes zeros for the other. What stands at a node with
    children is not read. The equations are as accounts of the paper give them, which was not had itself.

    Args:
        units: positive integer, n.
        tensor_initializer: of V.
        tensor_regularizer: of V.
        tensor_constraint: of V.
        **kwargs: of `archs.Node`.

    Call arguments:
        inputs: float tensor (batch, features).
        children: list of h of the children, (batch, 2, units).
        present: bool tensor (batch, 2).

    Returns:
        h, (batch, units), and the list of it.

    Raises:
        ValueError: see `archs.Node`.

    Example:

    >>> import numpy as np, archs
    >>> layer = archs.Tree(archs.RNTNNode(6))
    >>> layer(np.ones((1, 3, 4), "float32"), np.array([[[-1, -1], [-1, -1], [0, 1]]])).shape
    TensorShape([1, 6])
    """

    arity = 2

    def __init__(
        self, units, *, tensor_initializer="glorot_uniform", tensor_regularizer=None, tensor_constraint=None, **kwargs
    ):
        super().__init__(units, **kwargs)
        self.tensor_initializer = keras.initializers.get(tensor_initializer)
        self.tensor_regularizer = keras.regularizers.get(tensor_regularizer)
        self.tensor_constraint = keras.constraints.get(tensor_constraint)

    def build(self, inputs_shape, *_):
        super().build(inputs_shape)
        d, n = self.input_size, self.units
        self.kernel = self.weight("kernel", (d, n)) if d != n else None
        self.tensor_kernel = self.weight("tensor_kernel", (2 * n, 2 * n, n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (2 * n, n))
        self.bias = self.weight("bias", (n,)) if self.use_bias else None

    def project(self, inputs):
        return inputs if self.kernel is None else ops.matmul(inputs, self.kernel)

    def recur(self, x, children, present, step):
        (h,) = children
        n = self.units
        pair = ops.reshape(h, (-1, 2 * n))
        slices = step.product(pair, ops.reshape(self.tensor_kernel, (2 * n, 2 * n * n)))
        z = ops.einsum("bi,bik->bk", pair, ops.reshape(slices, (-1, 2 * n, n)))
        z = z + step.product(pair, self.recurrent_kernel)
        z = z if self.bias is None else add(z, self.bias)
        return (ops.where(ops.any(present, axis=-1, keepdims=True), self.activation(z), x),)
