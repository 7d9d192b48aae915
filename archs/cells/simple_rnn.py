"""The simple recurrent network."""

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Elman 1990", url="https://doi.org/10.1207/s15516709cog1402_1", year=1990)
class SimpleRNNCell(Cell):
    r"""Simple recurrent network: the squashed sum of the input and the output before.

    J. L. Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990, figure 2: hidden units that receive the
    input units and, through context units, their own values of one step back.

    Equations:

    $$
    h_t = \tanh(x_t W + h_{t-1} U + b)
    $$

    Weights, for d features and n units:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, n) |
    | recurrent_kernel | U | (n, n) |
    | bias | b | (n,) |

    The weights interchange with those of `keras.layers.SimpleRNN`.

    Departures from the paper: tanh, where the paper's units lie between 0 and 1; `activation="sigmoid"` undoes it. The
    context starts at 0, there at 0.5; an initial state of 0.5 undoes it.

    Args:
        units: positive integer, n.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h, (batch, units).
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new h.

    Raises:
        ValueError: see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.SimpleRNNCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    candidate = None

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, n))
        self.bias = self.weight("bias", (n,)) if self.use_bias else None

    def recur(self, x, states, step):
        (h,) = states
        h = self.activation(x + step.recurrent_product(h, self.recurrent_kernel))
        return (h,)
