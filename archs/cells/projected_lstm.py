"""The LSTM with a recurrent projection."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell, rows
from archs._core.registry import cell


@cell(paper="Sak et al. 2014", url="https://arxiv.org/abs/1402.1128", year=2014)
class ProjectedLSTMCell(Cell):
    r"""LSTM with recurrent projection (LSTMP): many cells, and a smaller projection of their outputs that recurs.

    H. Sak, A. Senior, F. Beaufays, "Long Short-Term Memory Based Recurrent Neural Network Architectures for Large
    Vocabulary Speech Recognition", 2014, equations (7) to (12).

    Equations:

    $$
    \begin{aligned}
    i_t &= \sigma(x_t W_i + r_{t-1} U_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t W_f + r_{t-1} U_f + p_f \odot c_{t-1} + b_f) \\
    g_t &= \tanh(x_t W_g + r_{t-1} U_g + b_g) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + r_{t-1} U_o + p_o \odot c_t + b_o) \\
    r_t &= (o_t \odot \tanh(c_t)) V
    \end{aligned}
    $$

    Weights, for d features, n units and p outputs, gate blocks in the order i, f, g, o, peepholes in the order i, f, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (p, 4n) |
    | projection_kernel | V | (n, p) |
    | peephole_kernel | p | (3, n) |
    | bias | b | (4n,) |

    With `peepholes=False` the weights interchange with those of `torch.nn.LSTM(d, n, proj_size=p)`, see
    `archs.exchange`.

    Departures from the paper: the second, non-recurrent projection is left out, since a dense layer after this one is
    the same. The forget gate's bias starts at one (Jozefowicz et al. 2015); `unit_forget_bias=False` starts it like the
    others. The text could not be had: the equations are from reviews of it.

    Args:
        units: positive integer, n, the number of cells.
        projection_units: positive integer, p, the size of the output. Default: half the units.
        peepholes: whether the gates see the cell state. Default True; without, there is no peephole_kernel.
        recurrent_activation: of the three gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gate starts at one.
        peephole_initializer: default `"glorot_uniform"`.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of r, (batch, projection_units), and c, (batch, units).
        training: whether dropout is active.

    Returns:
        r, (batch, projection_units), and the list of the new r and c.

    Raises:
        ValueError: `projection_units` is not a positive integer; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.ProjectedLSTMCell(6, projection_units=2))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 2])
    """

    states = ("r", "c")
    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        projection_units=None,
        peepholes=True,
        recurrent_activation="sigmoid",
        unit_forget_bias=True,
        peephole_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        if projection_units is None:
            projection_units = max(1, self.units // 2)
        self.projection_units = checks.positive_integer("projection_units", projection_units)
        self.peepholes = peepholes
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.peephole_initializer = keras.initializers.get(peephole_initializer)
        self.output_size = self.projection_units
        self.state_size = [self.projection_units, self.units]
        self.product_sizes = [self.projection_units]

    def build(self, input_shape):
        super().build(input_shape)
        d, n, p = input_shape[-1], self.units, self.projection_units
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (p, 4 * n))
        self.projection_kernel = self.weight("projection_kernel", (n, p), role="recurrent")
        self.peephole_kernel = self.weight("peephole_kernel", (3, n)) if self.peepholes else None
        self.bias = self.gate_bias({"f": 1} if self.unit_forget_bias else {})

    def recur(self, x, states, step):
        r, c = states
        p_i, p_f, p_o = rows(self.peephole_kernel) if self.peepholes else (None, None, None)
        z_i, z_f, z_g, z_o = ops.split(x + step.recurrent_product(r, self.recurrent_kernel), 4, axis=-1)
        i, f, g = step.activate([step.peep(z_i, c, p_i), step.peep(z_f, c, p_f), z_g], ("i", "f", "g"))
        c = f * c + i * g
        (o,) = step.activate([step.peep(z_o, c, p_o)], ("o",))
        r = step.product(o * self.activation(c), self.projection_kernel)
        return r, c
