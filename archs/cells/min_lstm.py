"""The minimal LSTM whose gates see the input alone."""

from keras import ops

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Feng et al. 2024", url="https://arxiv.org/abs/2410.01201", year=2024)
class MinLSTMCell(Cell):
    r"""minLSTM: gates and candidate see the input alone, so that time can be a parallel scan, as in `archs.Recurrent`.

    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, "Were RNNs All We Needed?", 2024, section 3.2 and
    algorithm 3.

    Equations:

    $$
    \begin{aligned}
    f_t &= \sigma(x_t W_f + b_f) \\
    i_t &= \sigma(x_t W_i + b_i) \\
    \tilde h_t &= x_t W_h + b_h \\
    h_t &= \frac{f_t}{f_t + i_t} \odot h_{t-1} + \frac{i_t}{f_t + i_t} \odot \tilde h_t
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order f, i, h:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 3n) |
    | bias | b | (3n,) |

    Departures from the paper: none in its plain form. Its form in logarithms has a candidate that is always positive,
    g(a) = a + 0.5 for a >= 0 and sigma(a) below, which `activation` can be given; the scan here needs no logarithms.
    The forget gate's bias starts at one (Jozefowicz et al. 2015), as the paper finds it to help;
    `unit_forget_bias=False` starts it like the others. The text could not be had: the equations are from a rendering of
    its algorithm 3 and from its authors' program.

    Args:
        units: positive integer, n.
        normalize: whether the gates are divided by their sum.
        activation: of the candidate. Default `"linear"`.
        unit_forget_bias: whether the bias of the forget gate starts at one.
        **kwargs: of `archs.Cell`. There is no recurrent product: `recurrent_dropout` drops the candidate, as Gal with
            one mask for all time steps or as Semeniuta.

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
    >>> layer = archs.Recurrent(archs.MinLSTMCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("f", "i", "h")
    candidate = "h"
    keeping = ("f",)
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        normalize=True,
        activation="linear",
        unit_forget_bias=True,
        **kwargs,
    ):
        super().__init__(units, activation=activation, **kwargs)
        self.normalize = normalize
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape):
        super().build(input_shape)
        self.kernel = self.weight("kernel", (input_shape[-1], 3 * self.units))
        self.bias = self.gate_bias({"f": 1} if self.unit_forget_bias else {})

    def coefficients(self, x, step):
        f, i, h = ops.split(x, 3, axis=-1)
        candidate = step.drop_recurrent(step.propose(h))
        if not self.normalize:
            return ops.sigmoid(f), ops.sigmoid(i) * candidate
        share = ops.sigmoid(ops.log_sigmoid(f) - ops.log_sigmoid(i))  # f / (f + i), also where both are 0
        return share, (1 - share) * candidate
