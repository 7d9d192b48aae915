"""The LSTM whose recurrent weights depend on the input."""

import keras
from keras import ops

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Krause et al. 2016", url="https://arxiv.org/abs/1609.07959", year=2016)
class MultiplicativeLSTMCell(Cell):
    r"""Multiplicative LSTM: an intermediate state, product of input and output before, takes the place of the output.

    B. Krause, L. Lu, I. Murray, S. Renals, "Multiplicative LSTM for sequence modelling", 2016.

    Equations:

    $$
    \begin{aligned}
    m_t &= (x_t V) \odot (h_{t-1} M) \\
    i_t &= \sigma(x_t W_i + m_t U_i + b_i) \\
    f_t &= \sigma(x_t W_f + m_t U_f + b_f) \\
    g_t &= \tanh(x_t W_g + m_t U_g + b_g) \\
    o_t &= \sigma(x_t W_o + m_t U_o + b_o) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t &= o_t \odot \tanh(c_t)
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, f, g, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (n, 4n) |
    | multiplicative_kernel | V | (d, n) |
    | multiplicative_recurrent_kernel | M | (n, n) |
    | bias | b | (4n,) |

    Departures from the paper: biases, which it leaves out; `use_bias=False` undoes it. The forget gate's bias starts at
    one (Jozefowicz et al. 2015); `unit_forget_bias=False` starts it like the others. The text could not be had: the
    equations are second-hand, and of the output there are two versions: the workshop's of 2017 is tanh(o * c),
    `gate_first=True` takes it.

    Args:
        units: positive integer, n.
        recurrent_activation: of the three gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gate starts at one.
        gate_first: whether the output is tanh(o * c), and not o * tanh(c).
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h and c, each (batch, units).
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new h and c.

    Raises:
        ValueError: see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.MultiplicativeLSTMCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(self, units, *, recurrent_activation="sigmoid", unit_forget_bias=True, gate_first=False, **kwargs):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.gate_first = gate_first

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 4 * n))
        self.multiplicative_kernel = self.weight("multiplicative_kernel", (d, n), role="kernel")
        self.multiplicative_recurrent_kernel = self.weight("multiplicative_recurrent_kernel", (n, n), role="recurrent")
        self.bias = self.gate_bias({"f": 1} if self.unit_forget_bias else {})

    def project(self, inputs):
        x = self.add_bias(ops.matmul(inputs, self.kernel))
        return ops.concatenate([ops.matmul(inputs, self.multiplicative_kernel), x], axis=-1)

    def recur(self, x, states, step):
        h, c = states
        n = self.units
        m = x[:, :n] * step.recurrent_product(h, self.multiplicative_recurrent_kernel)
        i, f, g, o = step.activate(x[:, n:] + step.recurrent_product(m, self.recurrent_kernel))
        c = f * c + i * g
        h = self.activation(o * c) if self.gate_first else o * self.activation(c)
        return h, c
