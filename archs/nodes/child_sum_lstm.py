"""The child-sum Tree-LSTM."""

import keras
from keras import ops

from archs._core.node import Node
from archs._core.registry import node


@node(paper="Tai et al. 2015", url="https://arxiv.org/abs/1503.00075", year=2015)
class ChildSumLSTMNode(Node):
    r"""Child-sum Tree-LSTM: gates see the sum of the children, and each child has a forget gate of its own.

    K. S. Tai, R. Socher, C. D. Manning, "Improved Semantic Representations From Tree-Structured Long Short-Term Memory
    Networks", ACL 2015, section 3.1, equations (2) to (8). For trees whose nodes have any number of children, in no
    order, such as dependency trees.

    A node j has the children k.

    Equations:

    $$
    \begin{aligned}
    \tilde h_j &= \sum_k h_k \\
    i_j &= \sigma(x_j W_i + \tilde h_j U_i + b_i) \\
    f_{jk} &= \sigma(x_j W_f + h_k U_f + b_f) \\
    g_j &= \tanh(x_j W_g + \tilde h_j U_g + b_g) \\
    o_j &= \sigma(x_j W_o + \tilde h_j U_o + b_o) \\
    c_j &= i_j \odot g_j + \sum_k f_{jk} \odot c_k \\
    h_j &= o_j \odot \tanh(c_j)
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, f, g, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (n, 4n) |
    | bias | b | (4n,) |

    Departures from the paper: the candidate g is its u. The bias of the forget gates starts at one;
    `unit_forget_bias=False` starts it like the others. The equations are as accounts of the paper give them, which was
    not had itself.

    Args:
        units: positive integer, n.
        recurrent_activation: of the gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gates starts at one.
        **kwargs: of `archs.Node`.

    Call arguments:
        inputs: float tensor (batch, features).
        children: list of h and c of the children, each (batch, arity, units), any arity.
        present: bool tensor (batch, arity).

    Returns:
        h, (batch, units), and the list of the new h and c.

    Raises:
        ValueError: see `archs.Node`.

    Example:

    >>> import numpy as np, archs
    >>> layer = archs.Tree(archs.ChildSumLSTMNode(6))
    >>> layer(np.ones((1, 3, 4), "float32"), np.array([[[-1, -1, -1], [0, 2, -1], [-1, -1, -1]]])).shape
    TensorShape([1, 6])
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(self, units, *, recurrent_activation="sigmoid", unit_forget_bias=True, **kwargs):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def build(self, inputs_shape, *_):
        super().build(inputs_shape)
        d, n = self.input_size, self.units
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 4 * n))
        self.bias = self.gate_bias({"f": 1.0} if self.unit_forget_bias else {})

    def recur(self, x, children, present, step):
        h, c = children
        x_i, x_f, x_g, x_o = ops.split(x, 4, axis=-1)
        u_i, u_f, u_g, u_o = ops.split(self.recurrent_kernel, 4, axis=-1)
        z = ops.concatenate([x_i, x_g, x_o], axis=-1)
        z = z + step.product(ops.sum(h, axis=1), ops.concatenate([u_i, u_g, u_o], axis=-1))
        i, g, o = step.activate(z, ("i", "g", "o"))
        (f,) = step.activate(x_f[:, None] + step.product(h, u_f), ("f",))
        c = i * g + ops.sum(f * c, axis=1)
        h = o * self.activation(c)
        return h, c
