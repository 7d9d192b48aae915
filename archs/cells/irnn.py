"""The rectified recurrent network that starts as the identity."""

import keras

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Le et al. 2015", url="https://arxiv.org/abs/1504.00941", year=2015)
class IRNNCell(Cell):
    r"""Recurrent network of rectified linear units whose recurrent weights start as the identity.

    Q. V. Le, N. Jaitly, G. E. Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015,
    section 3.

    Equations:

    $$
    h_t = \max(0, x_t W + h_{t-1} U + b), \qquad U = \alpha I \text{ and } b = 0 \text{ at the start}
    $$

    Weights, for d features and n units:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, n) |
    | recurrent_kernel | U | (n, n) |
    | bias | b | (n,) |

    Departures from the paper: none. The kernel starts normal with a standard deviation of 0.001, as in the paper;
    `recurrent_initializer=keras.initializers.Identity(0.01)` gives its small alpha for tasks with short memory.

    Args:
        units: positive integer, n.
        activation: default `"relu"`.
        kernel_initializer: default `RandomNormal(stddev=0.001)`.
        recurrent_initializer: default `"identity"`.
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
    >>> layer = keras.layers.RNN(archs.IRNNCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    candidate = None

    def __init__(
        self, units, *, activation="relu", kernel_initializer=None, recurrent_initializer="identity", **kwargs
    ):
        kernel_initializer = kernel_initializer or keras.initializers.RandomNormal(stddev=0.001)
        initializers = {"kernel_initializer": kernel_initializer, "recurrent_initializer": recurrent_initializer}
        super().__init__(units, activation=activation, **initializers, **kwargs)

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
