"""The N-ary Tree-LSTM."""

import keras
from keras import ops

from archs._core import checks
from archs._core.node import Node
from archs._core.registry import node


@node(paper="Tai et al. 2015", url="https://arxiv.org/abs/1503.00075", year=2015)
class NaryLSTMNode(Node):
    r"""N-ary Tree-LSTM: each place among the children has weights of its own, and each child a forget gate.

    K. S. Tai, R. Socher, C. D. Manning, "Improved Semantic Representations From Tree-Structured Long Short-Term Memory
    Networks", ACL 2015, section 3.2, equations (9) to (14). For trees whose nodes have at most N children, in order:
    with two, binary constituency trees.

    A node j has the children 1 to N.

    Equations:

    $$
    \begin{aligned}
    i_j &= \sigma(x_j W_i + \sum_l h_{jl} U_{il} + b_i) \\
    f_{jk} &= \sigma(x_j W_f + \sum_l h_{jl} U_{fkl} + b_f) \\
    g_j &= \tanh(x_j W_g + \sum_l h_{jl} U_{gl} + b_g) \\
    o_j &= \sigma(x_j W_o + \sum_l h_{jl} U_{ol} + b_o) \\
    c_j &= i_j \odot g_j + \sum_k f_{jk} \odot c_{jk} \\
    h_j &= o_j \odot \tanh(c_j)
    \end{aligned}
    $$

    Weights, for d features, n units and N = a children. The blocks of the kernel and the bias are in the order i, f, g,
    o, those of the recurrent kernel in the order i, f of each child, g, o; its rows are those of the children, one
    after the other:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (a * n, (3 + a) * n) |
    | bias | b | (4n,) |

    Departures from the paper: the candidate g is its u. The bias of the forget gates starts at one;
    `unit_forget_bias=False` starts it like the others. A child that is missing is zeros. The authors' code has no
    input gate at leaves and no tanh of their candidate; here a leaf is a node like any other. The equations are as
    accounts of the paper give them, which was not had itself.

    Args:
        units: positive integer, n.
        arity: positive integer, N.
        recurrent_activation: of the gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gates starts at one.
        **kwargs: of `archs.Node`.

    Call arguments:
        inputs: float tensor (batch, features).
        children: list of h and c of the children, each (batch, arity, units).
        present: bool tensor (batch, arity).

    Returns:
        h, (batch, units), and the list of the new h and c.

    Raises:
        ValueError: `arity` is not a positive integer; and see `archs.Node`.

    Example:

    >>> import numpy as np, archs
    >>> layer = archs.Tree(archs.NaryLSTMNode(6, arity=2))
    >>> layer(np.ones((1, 3, 4), "float32"), np.array([[[-1, -1], [-1, -1], [0, 1]]])).shape
    TensorShape([1, 6])
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(self, units, *, arity=2, recurrent_activation="sigmoid", unit_forget_bias=True, **kwargs):
        super().__init__(units, **kwargs)
        self.arity = checks.positive_integer("arity", arity)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def build(self, inputs_shape, *_):
        super().build(inputs_shape)
        d, n, arity = self.input_size, self.units, self.arity
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (arity * n, (3 + arity) * n))
        self.bias = self.gate_bias({"f": 1.0} if self.unit_forget_bias else {})

    def project(self, inputs):
        i, f, g, o = ops.split(super().project(inputs), 4, axis=-1)
        return ops.concatenate([i, *[f] * self.arity, g, o], axis=-1)

    def recur(self, x, children, present, step):
        h, c = children
        all_h = ops.reshape(h, (-1, self.arity * self.units))
        z = x + step.product(all_h, self.recurrent_kernel)
        i, *fs, g, o = step.activate(z, ("i", *["f"] * self.arity, "g", "o"))
        new = i * g
        for k, f in enumerate(fs):
            new = new + f * c[:, k]
        return o * self.activation(new), new
