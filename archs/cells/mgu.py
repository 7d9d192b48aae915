"""The minimal gated unit."""

import keras
from keras import ops

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Zhou et al. 2016", url="https://arxiv.org/abs/1603.09420", year=2016)
class MGUCell(Cell):
    r"""Minimal gated unit: one gate both forgets the old output and lets the candidate in.

    G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, "Minimal Gated Unit for Recurrent Neural Networks", International
    Journal of Automation and Computing 13(3), 2016.

    Equations:

    $$
    \begin{aligned}
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) \\
    \tilde h_t &= \tanh(x_t W_h + (f_t \odot h_{t-1}) U_h + b_h) \\
    h_t &= (1 - f_t) \odot h_{t-1} + f_t \odot \tilde h_t
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order f, h:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 2n) |
    | recurrent_kernel | U | (n, 2n) |
    | bias | b | (2n,) |

    Departures from the paper: none in the step. f is called a forget gate there, yet a large f drops the old output;
    so its bias starts at zero. The text of the paper could not be had: the equations are from accounts of it.

    Args:
        units: positive integer, n.
        recurrent_activation: of the gate. Default `"sigmoid"`.
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
    >>> layer = keras.layers.RNN(archs.MGUCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("f", "h")
    candidate = "h"
    writing = ("f",)

    def __init__(self, units, *, recurrent_activation="sigmoid", **kwargs):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 2 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 2 * n))
        self.bias = self.gate_bias()

    def recur(self, x, states, step):
        (h,) = states
        x_f, x_h = ops.split(x, 2, axis=-1)
        u_f, u_h = ops.split(self.recurrent_kernel, 2, axis=-1)
        (f,) = step.activate(x_f + step.recurrent_product(h, u_f), ("f",))
        (candidate,) = step.activate(x_h + step.recurrent_product(f * h, u_h), ("h",))
        h = (1 - f) * h + f * candidate
        return (h,)
