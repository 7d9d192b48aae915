"""The LSTM whose gates see the cell state."""

import keras
from keras import ops

from archs._core.cell import Cell, rows
from archs._core.registry import cell


@cell(paper="Gers & Schmidhuber 2000; Gers et al. 2002", url="https://www.jmlr.org/papers/v3/gers02a.html", year=2000)
class PeepholeLSTMCell(Cell):
    r"""LSTM with peepholes: input and forget gate see the old cell state, the output gate sees the new one.

    F. A. Gers, J. Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000; F. A. Gers, N. N. Schraudolph,
    J. Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", JMLR 3, 2002.

    Equations:

    $$
    \begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f) \\
    g_t &= \tanh(x_t W_g + h_{t-1} U_g + b_g) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \\
    h_t &= o_t \odot \tanh(c_t)
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, f, g, o, peepholes in the order i, f, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (n, 4n) |
    | peephole_kernel | p | (3, n) |
    | bias | b | (4n,) |

    Departures from the papers: tanh squashes g and the output, where that of 2002 scales the logistic sigmoid to
    (-2, 2) for g and leaves the output as it is; `output_activation="linear"` undoes the latter, `activation` sets g.
    The forget gate's bias starts at one (Jozefowicz et al. 2015); `unit_forget_bias=False` starts it like the others.
    The texts could not be had: the equations are from notes on that of 2002.

    Args:
        units: positive integer, n.
        recurrent_activation: of the three gates. Default `"sigmoid"`.
        output_activation: of the cell state on its way out. Default None: `activation`.
        unit_forget_bias: whether the bias of the forget gate starts at one.
        peephole_initializer: default `"glorot_uniform"`.
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
    >>> layer = keras.layers.RNN(archs.PeepholeLSTMCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        recurrent_activation="sigmoid",
        output_activation=None,
        unit_forget_bias=True,
        peephole_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.output_activation = keras.activations.get(output_activation) if output_activation else self.activation
        self.unit_forget_bias = unit_forget_bias
        self.peephole_initializer = keras.initializers.get(peephole_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 4 * n))
        self.peephole_kernel = self.weight("peephole_kernel", (3, n))
        self.bias = self.gate_bias({"f": 1} if self.unit_forget_bias else {})

    def recur(self, x, states, step):
        h, c = states
        p_i, p_f, p_o = rows(self.peephole_kernel)
        z_i, z_f, z_g, z_o = ops.split(x + step.recurrent_product(h, self.recurrent_kernel), 4, axis=-1)
        i, f, g = step.activate([step.peep(z_i, c, p_i), step.peep(z_f, c, p_f), z_g], ("i", "f", "g"))
        c = f * c + i * g
        (o,) = step.activate([step.peep(z_o, c, p_o)], ("o",))
        h = o * self.output_activation(c)
        return h, c
