"""The first LSTM, which cannot forget."""

import keras
from keras import ops

from archs._core.cell import Cell
from archs._core.registry import cell


@keras.saving.register_keras_serializable(package="archs")
def squash_2(z):
    return 4 * ops.sigmoid(z) - 2


@keras.saving.register_keras_serializable(package="archs")
def squash_1(z):
    return 2 * ops.sigmoid(z) - 1


@cell(paper="Hochreiter & Schmidhuber 1997", url="https://doi.org/10.1162/neco.1997.9.8.1735", year=1997)
class LSTM1997Cell(Cell):
    r"""The original long short-term memory: no forget gate, the cell state only accumulates.

    S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, appendix A.1, equations (3)
    to (9).

    Equations:

    $$
    \begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i) \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + b_o) \\
    c_t &= c_{t-1} + i_t \odot (4 \sigma(x_t W_g + h_{t-1} U_g + b_g) - 2) \\
    h_t &= o_t \odot (2 \sigma(c_t) - 1)
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, g, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 3n) |
    | recurrent_kernel | U | (n, 3n) |
    | bias | b | (3n,) |

    Departures from the paper: one cell in a memory block; the input of a step enters that step, where the paper sums
    over all units one step back; gates feed no other gate. `activation="tanh", output_activation="tanh"` squashes as
    is usual now. The equations were read in a transcript of the authors' copy.

    Args:
        units: positive integer, n.
        activation: of the candidate g. Default: the logistic sigmoid scaled to (-2, 2).
        output_activation: of the cell state on its way out. Default: the logistic sigmoid scaled to (-1, 1).
        recurrent_activation: of the two gates. Default `"sigmoid"`.
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
    >>> layer = keras.layers.RNN(archs.LSTM1997Cell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "c")
    gates = ("i", "g", "o")
    writing = ("i",)

    def __init__(
        self, units, *, activation=squash_2, output_activation=squash_1, recurrent_activation="sigmoid", **kwargs
    ):
        super().__init__(units, activation=activation, **kwargs)
        self.output_activation = keras.activations.get(output_activation)
        self.recurrent_activation = keras.activations.get(recurrent_activation)

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 3 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 3 * n))
        self.bias = self.gate_bias()

    def recur(self, x, states, step):
        h, c = states
        i, g, o = step.activate(x + step.recurrent_product(h, self.recurrent_kernel))
        c = c + i * g
        h = o * self.output_activation(c)
        return h, c
