"""The LSTM with a forget gate, as it is used today."""

import keras

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(
    paper="Hochreiter & Schmidhuber 1997; Gers et al. 2000",
    url="https://doi.org/10.1162/089976600300015015",
    year=1997,
)
class LSTMCell(Cell):
    r"""Long short-term memory: input, forget and output gate around a cell state.

    S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; the forget gate: F. A. Gers,
    J. Schmidhuber, F. Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation 12(10), 2000.

    Equations:

    $$
    \begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) \\
    g_t &= \tanh(x_t W_g + h_{t-1} U_g + b_g) \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + b_o) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t &= o_t \odot \tanh(c_t)
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, f, g, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (n, 4n) |
    | bias | b | (4n,) |

    The weights interchange with those of `keras.layers.LSTM`, which has the same order.

    Departures from the papers: one cell in a memory block; the input of a step enters that step, where the papers sum
    over all units one step back; gates feed no other gate. The squashing functions are tanh, where the papers scale
    the logistic sigmoid to (-2, 2) for g and to (-1, 1) for the output; `activation` sets both. The forget gate's
    bias starts at one (Jozefowicz et al. 2015); `unit_forget_bias=False` starts it like the others. The equations of
    1997 were read in appendix A.1 of a transcript, (7) to (9); those of the forget gate, (3.1) and (3.2), second-hand.

    Args:
        units: positive integer, n.
        recurrent_activation: of the three gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gate starts at one.
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
    >>> layer = keras.layers.RNN(archs.LSTMCell(6), return_sequences=True)
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 5, 6])
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(self, units, *, recurrent_activation="sigmoid", unit_forget_bias=True, **kwargs):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 4 * n))
        self.bias = self.gate_bias({"f": 1} if self.unit_forget_bias else {})

    def recur(self, x, states, step):
        h, c = states
        i, f, g, o = step.activate(x + step.recurrent_product(h, self.recurrent_kernel))
        c = f * c + i * g
        h = o * self.activation(c)
        return h, c
