"""The sLSTM of xLSTM: exponential gates and a normaliser."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Beck et al. 2024", url="https://arxiv.org/abs/2405.04517", year=2024)
class SLSTMCell(Cell):
    r"""sLSTM of xLSTM: exponential gates, a normaliser beside the cell state, heads that do not see one another.

    M. Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024, equations (15) to (17) and (34) to (40).

    Equations:

    $$
    \begin{aligned}
    (\hat i_t, \hat f_t, \hat z_t, \hat o_t) &= x_t W + h_{t-1} R + b \\
    l_t &= \log \sigma(\hat f_t) \quad \text{or, with an exponential forget gate, } \hat f_t \\
    m_t &= \max(l_t + m_{t-1}, \hat i_t) \\
    i_t &= \exp(\hat i_t - m_t) \\
    f_t &= \exp(l_t + m_{t-1} - m_t) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot \tanh(\hat z_t) \\
    n_t &= f_t \odot n_{t-1} + i_t \\
    h_t &= \sigma(\hat o_t) \odot c_t / n_t
    \end{aligned}
    $$

    Weights, for d features, n units and one head, gate blocks in the order i, f, z, o. With k heads recurrent_kernel is
    (n / k, 4n): within a gate's block, n / k columns per head, through which the head sees its own n / k units:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | R | (n, 4n) |
    | bias | b | (4n,) |

    Departures from the paper: none in the equations; its block has a convolution and a group norm around them. It gives
    no initial state: h, c and n start at 0 and m far below, which is what its authors' program does by another rule in
    the first step. The forget gate's bias starts at one (Jozefowicz et al. 2015), in that program between -7 and 5;
    `unit_forget_bias=False` starts it like the others. Where n underflows to 0, h is 0. The paper clips the gradient of
    the recurrent product.

    Args:
        units: positive integer, n.
        num_heads: positive integer, k, which divides the units. Default 1.
        exponential_forget: whether the forget gate is the exponential, not the logistic sigmoid, of its input. Default
            False. With it m can grow without end, which float16 does not hold for long.
        unit_forget_bias: whether the bias of the forget gate starts at one.
        **kwargs: of `archs.Cell`; `activation` is that of z.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h, c, n and m, each (batch, units).
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new h, c, n and m.

    Raises:
        ValueError: `num_heads` does not divide `units`; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.SLSTMCell(6, num_heads=2))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "c", "n", "m")
    gates = ("i", "f", "z", "o")
    candidate = "z"
    one_memory = ("c", "n", "m")
    keeping = ("f",)
    writing = ("i",)
    recurrent_activation = staticmethod(keras.activations.sigmoid)  # of o; i and f have their own

    def __init__(self, units, *, num_heads=1, exponential_forget=False, unit_forget_bias=True, **kwargs):
        super().__init__(units, **kwargs)
        self.num_heads = checks.positive_integer("num_heads", num_heads)
        if self.units % num_heads:
            raise ValueError(f"Expected `num_heads` to divide the {self.units} units, received {num_heads}.")
        self.exponential_forget = exponential_forget
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n // self.num_heads, 4 * n))
        self.bias = self.gate_bias({"f": 1} if self.unit_forget_bias else {})

    def recur(self, x, states, step):
        h, c, n, m = states
        i, f, z, o = ops.split(x + self.heads_product(h, step), 4, axis=-1)
        f = f if self.exponential_forget else ops.log_sigmoid(f)
        powers = ops.concatenate([i, f + m], axis=-1)
        m = ops.maximum(*ops.split(powers, 2, axis=-1))
        i, f = ops.split(ops.exp(powers - ops.tile(m, (1, 2))), 2, axis=-1)
        z, o = step.activate([z, o], ("z", "o"))
        c = f * c + i * z
        n = f * n + i
        h = o * c / ops.where(n == 0, 1, n)
        return h, c, n, m

    def get_initial_state(self, batch_size):
        """Zeros, and m so low that the first step forgets all: a list of four tensors (batch_size, units)."""
        *zeros, m = super().get_initial_state(batch_size)
        return [*zeros, ops.full_like(m, -1e4)]

    def heads_product(self, h, step):
        """h R, head by head: (batch, 4 * units)."""
        k, n = self.num_heads, self.units
        if k == 1:
            return step.recurrent_product(h, self.recurrent_kernel)
        kernel = ops.reshape(self.recurrent_kernel, (n // k, 4, k, n // k))
        kernel = ops.reshape(ops.transpose(kernel, (2, 0, 1, 3)), (k, n // k, 4 * n // k))
        u = ops.reshape(step.recurrent_product(h, kernel), (-1, k, 4, n // k))
        return ops.reshape(ops.transpose(u, (0, 2, 1, 3)), (-1, 4 * n))
