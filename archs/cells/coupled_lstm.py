"""The LSTM whose input and forget gate are one."""

import keras
from keras import ops

from archs._core.cell import Cell, rows
from archs._core.registry import cell


@cell(paper="Greff et al. 2015", url="https://arxiv.org/abs/1503.04069", year=2015)
class CoupledLSTMCell(Cell):
    r"""LSTM with coupled gates (CIFG): the candidate enters as much as the old cell state leaves.

    K. Greff, R. K. Srivastava, J. Koutnik, B. R. Steunebrink, J. Schmidhuber, "LSTM: A Search Space Odyssey", 2015,
    variant CIFG.

    Equations:

    $$
    \begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i) \\
    g_t &= \tanh(x_t W_g + h_{t-1} U_g + b_g) \\
    c_t &= (1 - i_t) \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + b_o) \\
    h_t &= o_t \odot \tanh(c_t)
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, g, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 3n) |
    | recurrent_kernel | U | (n, 3n) |
    | bias | b | (3n,) |

    Departures from the paper: no peepholes; `peepholes=True` adds them, with a weight peephole_kernel (2, n): row 0
    from the old cell state to i, row 1 from the new one to o. The bias of i starts at -1, so that much is kept, as with
    a forget gate's at 1 (Jozefowicz et al. 2015); `unit_forget_bias=False` starts it like the others. The text of the
    paper could not be had: the equations are from memory and agree with readers' notes on it.

    Args:
        units: positive integer, n.
        recurrent_activation: of the two gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the coupled gate starts so that it keeps, at -1.
        peepholes: whether the gates see the cell state.
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
    >>> layer = keras.layers.RNN(archs.CoupledLSTMCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "c")
    gates = ("i", "g", "o")
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        recurrent_activation="sigmoid",
        unit_forget_bias=True,
        peepholes=False,
        peephole_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.peepholes = peepholes
        self.peephole_initializer = keras.initializers.get(peephole_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 3 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 3 * n))
        self.peephole_kernel = self.weight("peephole_kernel", (2, n)) if self.peepholes else None
        self.bias = self.gate_bias({"i": -1} if self.unit_forget_bias else {})

    def recur(self, x, states, step):
        h, c = states
        z_i, z_g, z_o = ops.split(x + step.recurrent_product(h, self.recurrent_kernel), 3, axis=-1)
        p_i, p_o = rows(self.peephole_kernel) if self.peepholes else (None, None)
        i, g = step.activate([step.peep(z_i, c, p_i), z_g], ("i", "g"))
        c = (1 - i) * c + i * g
        (o,) = step.activate([step.peep(z_o, c, p_o)], ("o",))
        h = o * self.activation(c)
        return h, c
