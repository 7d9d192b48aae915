"""The third of three units found by search."""

import keras
from keras import ops

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Jozefowicz et al. 2015", url="https://proceedings.mlr.press/v37/jozefowicz15.html", year=2015)
class MUT3Cell(Cell):
    r"""MUT3, found by search: z sees the squashed output before.

    R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of Recurrent Network Architectures", ICML 2015.

    Equations:

    $$
    \begin{aligned}
    z_t &= \sigma(x_t W_z + \tanh(h_{t-1}) U_z + b_z) \\
    r_t &= \sigma(x_t W_r + h_{t-1} U_r + b_r) \\
    h_t &= z_t \odot \tanh((r_t \odot h_{t-1}) U_h + x_t W_h + b_h) + (1 - z_t) \odot h_{t-1}
    \end{aligned}
    $$

    z lets the candidate in, other than in `gru`, where it keeps the old output.

    Weights, for d features and n units, gate blocks in the order z, r, h:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 3n) |
    | recurrent_kernel | U | (n, 3n) |
    | bias | b | (3n,) |

    Departures from the paper: none in the equations. The text could not be had: the equations are from a summary that
    writes them all out.

    Args:
        units: positive integer, n.
        recurrent_activation: of the two gates. Default `"sigmoid"`.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h, each (batch, units).
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new h.

    Raises:
        ValueError: see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.MUT3Cell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("z", "r", "h")
    candidate = "h"
    writing = ("z",)

    def __init__(self, units, *, recurrent_activation="sigmoid", **kwargs):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 3 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 3 * n))
        self.bias = self.gate_bias()

    def recur(self, x, states, step):
        (h,) = states
        x_z, x_r, x_h = ops.split(x, 3, axis=-1)
        u_z, u_r, u_h = ops.split(self.recurrent_kernel, 3, axis=-1)
        (r,) = step.activate(x_r + step.recurrent_product(h, u_r), ("r",))
        z = x_z + step.recurrent_product(self.activation(h), u_z)
        z, candidate = step.activate([z, x_h + step.recurrent_product(r * h, u_h)], ("z", "h"))
        h = z * candidate + (1 - z) * h
        return (h,)
