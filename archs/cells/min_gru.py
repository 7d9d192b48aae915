"""The minimal GRU whose gate sees the input alone."""

import keras

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Feng et al. 2024", url="https://arxiv.org/abs/2410.01201", year=2024)
class MinGRUCell(Cell):
    r"""minGRU: gate and candidate see the input alone, so that time can be a parallel scan, as in `archs.Recurrent`.

    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, "Were RNNs All We Needed?", 2024, section 3.1 and
    algorithm 1.

    Equations:

    $$
    \begin{aligned}
    z_t &= \sigma(x_t W_z + b_z) \\
    \tilde h_t &= x_t W_h + b_h \\
    h_t &= (1 - z_t) \odot h_{t-1} + z_t \odot \tilde h_t
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order z, h:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 2n) |
    | bias | b | (2n,) |

    Departures from the paper: none in its plain form. Its form in logarithms has a candidate that is always positive,
    g(a) = a + 0.5 for a >= 0 and sigma(a) below, which `activation` can be given; the scan here needs no logarithms.
    The text could not be had: the equations are from a rendering of its algorithm 1 and from its authors' program.

    Args:
        units: positive integer, n.
        activation: of the candidate. Default `"linear"`.
        recurrent_activation: of the gate. Default `"sigmoid"`.
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
    >>> layer = archs.Recurrent(archs.MinGRUCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("z", "h")
    candidate = "h"
    writing = ("z",)

    def __init__(self, units, *, activation="linear", recurrent_activation="sigmoid", **kwargs):
        super().__init__(units, activation=activation, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)

    def build(self, input_shape):
        super().build(input_shape)
        self.kernel = self.weight("kernel", (input_shape[-1], 2 * self.units))
        self.bias = self.gate_bias()

    def coefficients(self, x, step):
        z, candidate = step.activate(x)
        return 1 - z, z * step.drop_recurrent(candidate)
