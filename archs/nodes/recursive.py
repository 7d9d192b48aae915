"""The recursive network of Socher et al."""

from keras import ops

from archs._core.cell import add
from archs._core.node import Node
from archs._core.registry import node


@node(paper="Socher et al. 2011", url="https://icml.cc/2011/papers/125_icmlpaper.pdf", year=2011)
class RecursiveNode(Node):
    r"""Recursive network: a phrase is the squashed sum of two products, one with each of its two parts.

    R. Socher, C. C.-Y. Lin, A. Y. Ng, C. D. Manning, "Parsing Natural Scenes and Natural Language with Recursive Neural
    Networks", ICML 2011, section 4; as it is compared with others for sentiment: R. Socher et al., "Recursive Deep
    Models for Semantic Compositionality Over a Sentiment Treebank", EMNLP 2013, section 4.1.

    A leaf has the vector x, a node the children a and b.

    Equations:

    $$
    \begin{aligned}
    h_{leaf} &= x \\
    h_{node} &= \tanh([h_a, h_b] W + b)
    \end{aligned}
    $$

    Weights, for d features and n units; the kernel is there only where d is not n:

    | name | symbol | shape |
    |---|---|---|
    | kernel | P | (d, n) |
    | recurrent_kernel | W | (2n, n) |
    | bias | b | (n,) |

    Departures from the papers: where vectors have another size than nodes, the vector of a leaf is x P. The papers
    leave the bias out "for simplicity"; `use_bias=False` does. A node with one child takes zeros for the other. What
    stands at a node with children is not read. The equations are as accounts of the papers give them, which were not
    had themselves.

    Args:
        units: positive integer, n.
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
    >>> layer = archs.Tree(archs.RecursiveNode(6))
    >>> layer(np.ones((1, 3, 4), "float32"), np.array([[[-1, -1], [-1, -1], [0, 1]]])).shape
    TensorShape([1, 6])
    """

    arity = 2

    def build(self, inputs_shape, *_):
        super().build(inputs_shape)
        d, n = self.input_size, self.units
        self.kernel = self.weight("kernel", (d, n)) if d != n else None
        self.recurrent_kernel = self.weight("recurrent_kernel", (2 * n, n))
        self.bias = self.weight("bias", (n,)) if self.use_bias else None

    def project(self, inputs):
        return inputs if self.kernel is None else ops.matmul(inputs, self.kernel)

    def recur(self, x, children, present, step):
        (h,) = children
        pair = ops.reshape(h, (-1, 2 * self.units))
        z = step.product(pair, self.recurrent_kernel)
        z = z if self.bias is None else add(z, self.bias)
        return (ops.where(ops.any(present, axis=-1, keepdims=True), self.activation(z), x),)
