"""The phased LSTM: a time gate lets each unit change in its own phase only."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell, rows
from archs._core.registry import cell


@cell(paper="Neil et al. 2016", url="https://arxiv.org/abs/1610.09513", year=2016)
class PhasedLSTMCell(Cell):
    r"""Peephole LSTM with a time gate of learned period and shift, which opens for a part of each cycle only.

    D. Neil, M. Pfeiffer, S.-C. Liu, "Phased LSTM: Accelerating Recurrent Network Training for Long or Event-based
    Sequences", NIPS 2016, equations (1) to (10).

    Equations:

    At time t, with r for `open_ratio` and a for `leak` in training, 0 otherwise; mod is never negative.

    $$
    \begin{aligned}
    \phi_t &= ((t - s) \bmod \tau) / \tau, \quad \tau = e^{\lambda} \\
    k_t &= 2 \phi_t / r \text{ if } \phi_t < r / 2; \quad 2 - 2 \phi_t / r \text{ if } r / 2 \le \phi_t < r; \quad
        a \phi_t \text{ else} \\
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f) \\
    \tilde c_t &= f_t \odot c_{t-1} + i_t \odot \tanh(x_t W_g + h_{t-1} U_g + b_g) \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + p_o \odot \tilde c_t + b_o) \\
    c_t &= k_t \odot \tilde c_t + (1 - k_t) \odot c_{t-1} \\
    h_t &= k_t \odot o_t \odot \tanh(\tilde c_t) + (1 - k_t) \odot h_{t-1}
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, f, g, o, peepholes in the order i, f, o; with
    `timestamps` d counts the features without the time:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (n, 4n) |
    | peephole_kernel | p | (3, n) |
    | log_period | lambda | (n,) |
    | phase | s | (n,) |
    | bias | b | (4n,) |

    Departures from the paper: the period is learned as its logarithm, so that it stays positive; r is fixed, where the
    paper can learn it. The period starts at exp(u), u uniform in [1, 3], and s uniform in [0, 20], where the paper has
    [0, period]. The output gate's peephole sees the proposed cell state, as in its authors' program; formula (4) says
    c_t. The forget gate's bias starts at one (Jozefowicz et al. 2015); `unit_forget_bias=False` starts it like the
    others. The text could not be had: the equations are from that program and from readers' notes.

    Args:
        units: positive integer, n.
        timestamps: whether the last input feature is the time t of the step, in the unit of the periods, which by
            default are 2.7 to 20. Let it count from the start of the sequence: in float32 a time of 1.7e9, such as
            the seconds since 1970, is rounded to a multiple of 128. Default False: steps are counted from 0. In half
            precision Keras rounds timestamps as it does all inputs, and the count beyond 256 (bfloat16), but within
            one call of `archs.Recurrent`.
        open_ratio: number in (0, 1], the part of a cycle in which the gate is open. Default 0.05.
        leak: number in [0, 1], how far a closed gate is open in training, so that gradients pass. Default
            0.001.
        recurrent_activation: of the gates i, f, o. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gate starts at one.
        peephole_initializer: default `"glorot_uniform"`.
        period_initializer: of lambda. Default: uniform in [1, 3].
        phase_initializer: of s. Default: uniform in [0, 20].
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h and c, each (batch, units), and t, (batch, 1), the time of this step; with `timestamps` of h
            and c.
        training: whether dropout and the leak are active.

    Returns:
        h, (batch, units), and the list of the new states.

    Raises:
        ValueError: `open_ratio` or `leak` is out of range, `timestamps` and no further feature; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.PhasedLSTMCell(6, timestamps=True))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "c", "t")
    gates = ("i", "f", "g", "o")
    clocks = ("t",)
    keeping = ("f",)
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        timestamps=False,
        open_ratio=0.05,
        leak=0.001,
        recurrent_activation="sigmoid",
        unit_forget_bias=True,
        peephole_initializer="glorot_uniform",
        period_initializer=None,
        phase_initializer=None,
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        self.timestamps = timestamps
        self.open_ratio = checks.between("open_ratio", checks.positive("open_ratio", open_ratio), 0, 1)
        self.leak = checks.between("leak", leak, 0, 1)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.peephole_initializer = keras.initializers.get(peephole_initializer)
        self.period_initializer = keras.initializers.get(
            period_initializer or keras.initializers.RandomUniform(1.0, 3.0)
        )
        self.phase_initializer = keras.initializers.get(
            phase_initializer or keras.initializers.RandomUniform(0.0, 20.0)
        )
        self.states = ("h", "c") if timestamps else ("h", "c", "t")
        self.state_size = [self.units, self.units, 1][: len(self.states)]
        self.undropped = int(timestamps)  # the time

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1] - bool(self.timestamps), self.units
        if d == 0:
            raise ValueError(
                "Expected inputs of at least 2 features with `timestamps=True`, the last of them the time, received 1."
            )
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 4 * n))
        self.peephole_kernel = self.weight("peephole_kernel", (3, n))
        self.log_period = self.weight("log_period", (n,), role="period", autocast=False)
        self.phase = self.weight("phase", (n,), autocast=False)
        self.bias = self.gate_bias({"f": 1} if self.unit_forget_bias else {})

    def project(self, inputs):
        if not self.timestamps:
            return super().project(inputs)
        return ops.concatenate([super().project(inputs[..., :-1]), inputs[..., -1:]], axis=-1)

    def recur(self, x, states, step):
        h, c, *counted = states
        x, t = (x[:, :-1], x[:, -1:]) if self.timestamps else (x, counted[0])
        k = self.time_gate(t, h.dtype, step.training)
        p_i, p_f, p_o = rows(self.peephole_kernel)
        z_i, z_f, z_g, z_o = ops.split(x + step.recurrent_product(h, self.recurrent_kernel), 4, axis=-1)
        i, f, g = step.activate([step.peep(z_i, c, p_i), step.peep(z_f, c, p_f), z_g], ("i", "f", "g"))
        proposed = f * c + i * g
        (o,) = step.activate([step.peep(z_o, proposed, p_o)], ("o",))
        c = k * proposed + (1 - k) * c
        h = k * o * self.activation(proposed) + (1 - k) * h
        return (h, c) if self.timestamps else (h, c, t + 1)

    def time_gate(self, t, dtype, training=False):
        """k at the times `t` (batch, 1): a tensor (batch, units)."""
        period = ops.exp(self.log_period)
        turns = (ops.cast(t, period.dtype) - self.phase) / period
        cycle = turns - ops.stop_gradient(ops.floor(turns))
        rise = 2 * cycle / self.open_ratio
        closed = self.leak * cycle if training else ops.zeros_like(cycle)
        k = ops.where(rise < 1, rise, ops.where(rise < 2, 2 - rise, closed))
        return ops.cast(k, dtype)
