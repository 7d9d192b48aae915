"""The clockwork RNN: modules that run at periods of their own."""

import math

import numpy as np
from keras import ops

from archs._core import checks
from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Koutnik et al. 2014", url="https://arxiv.org/abs/1402.3511", year=2014)
class ClockworkRNNCell(Cell):
    r"""Clockwork RNN: modules with periods; a module runs only at its period and sees only slower ones and itself.

    J. Koutnik, K. Greff, F. Gomez, J. Schmidhuber, "A Clockwork RNN", ICML 2014, equations (1) and (4).

    Equations:

    For unit k in a module of period T_k, M_jk = 1 where T_j >= T_k, else 0.

    $$
    \begin{aligned}
    h_{t,k} &= \tanh(x_t W + h_{t-1} (M \odot U) + b)_k & \text{if } T_k \text{ divides } t \\
    h_{t,k} &= h_{t-1,k} & \text{else}
    \end{aligned}
    $$

    Weights, for d features and n units, units in the order of `periods`:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, n) |
    | recurrent_kernel | U | (n, n) |
    | bias | b | (n,) |

    Departures from the paper: t counts from 0, so that every module runs at the first step; the text could not be had,
    and its authors' programs have both 0 and 1; for 1 start from an initial state with t = 1. A bias, which
    `use_bias=False` undoes. Modules are of equal size. The weights start as Keras' do; `kernel_initializer` and
    `recurrent_initializer` of `keras.initializers.RandomNormal(stddev=0.1)` are the authors'.

    Args:
        units: positive integer, n.
        periods: positive integers, one per module; their number divides `units`. Default: 1, 2, 4, ... for the largest
            number of modules up to 8 that divides `units`.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h, (batch, units), and t, (batch, 1): the steps so far, modulo the least common multiple of the
            periods. In half precision Keras rounds it beyond 256 (bfloat16), but within one call of `archs.Recurrent`.
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new h and t.

    Raises:
        ValueError: `periods` is not a list of positive integers, its length does not divide `units`, or their least
            common multiple is 2^24 or more; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.ClockworkRNNCell(6, periods=(1, 4, 16)))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "t")
    candidate = None
    clocks = ("t",)

    def __init__(self, units, *, periods=None, **kwargs):
        super().__init__(units, **kwargs)
        if periods is None:
            modules = max(number for number in range(1, 9) if self.units % number == 0)
            periods = [2**module for module in range(modules)]
        if not isinstance(periods, (list, tuple)) or not periods:
            raise ValueError(f"Expected `periods` to be a list of positive integers, received {periods!r}.")
        self.periods = tuple(checks.positive_integer("periods", period) for period in periods)
        if self.units % len(self.periods):
            raise ValueError(
                f"Expected the number of `periods` to divide the {self.units} units, received {len(self.periods)}: "
                f"{self.periods}."
            )
        if math.lcm(*self.periods) >= 2**24:
            raise ValueError(
                f"Expected `periods` with a common multiple below {2**24}, beyond which float32 cannot count, received "
                f"{self.periods}."
            )
        self.state_size = [self.units, 1]

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, n))
        self.bias = self.weight("bias", (n,)) if self.use_bias else None

    def recur(self, x, states, step):
        h, t = states
        period = np.repeat(self.periods, self.units // len(self.periods))
        seen = ops.cast(period[:, None] >= period, self.recurrent_kernel.dtype)
        due = ops.equal(ops.mod(t, ops.cast(self.periods, t.dtype)), 0)
        due = ops.repeat(due, self.units // len(self.periods), axis=-1)
        new = self.activation(x + step.recurrent_product(h, self.recurrent_kernel * seen))
        h = ops.where(due, new, h)
        return h, ops.mod(t + 1, math.lcm(*self.periods))
