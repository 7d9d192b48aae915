"""The independently recurrent network."""

import keras

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Li et al. 2018", url="https://arxiv.org/abs/1803.04831", year=2018)
class IndRNNCell(Cell):
    r"""Independently recurrent network: each unit sees, of the output before, its own value only.

    S. Li, W. Li, C. Cook, C. Zhu, Y. Gao, "Independently Recurrent Neural Network (IndRNN): Building A Longer and
    Deeper RNN", CVPR 2018, equation (2).

    Equations:

    $$
    h_t = \max(0, x_t W + u \odot h_{t-1} + b)
    $$

    Weights, for d features and n units:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, n) |
    | recurrent_kernel | u | (n,) |
    | bias | b | (n,) |

    Departures from the paper: u starts uniform in [0, 1] for every layer, where the paper narrows that range for tasks
    with long memory and bounds |u| by the length of the sequences; `recurrent_initializer` and `recurrent_constraint`
    do that. The text of the paper could not be had: the equation is from memory and from the authors' later paper.

    Args:
        units: positive integer, n.
        activation: default `"relu"`.
        recurrent_initializer: default `RandomUniform(0.0, 1.0)`.
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
    >>> layer = keras.layers.RNN(archs.IndRNNCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    candidate = None

    def __init__(self, units, *, activation="relu", recurrent_initializer=None, **kwargs):
        recurrent_initializer = recurrent_initializer or keras.initializers.RandomUniform(0.0, 1.0)
        super().__init__(units, activation=activation, recurrent_initializer=recurrent_initializer, **kwargs)

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n,))
        self.bias = self.weight("bias", (n,)) if self.use_bias else None

    def recur(self, x, states, step):
        (h,) = states
        h = self.activation(x + step.recurrent_product(h, self.recurrent_kernel))
        return (h,)
