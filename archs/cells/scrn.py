"""The structurally constrained recurrent network: hidden units beside slow context units."""

from keras import ops

from archs._core import checks
from archs._core.cell import Cell, add
from archs._core.registry import cell


@cell(paper="Mikolov et al. 2015", url="https://arxiv.org/abs/1412.7753", year=2015)
class SCRNCell(Cell):
    r"""Structurally constrained RNN: slow context units, each a running mean of what it sees, beside the hidden units.

    T. Mikolov, A. Joulin, S. Chopra, M. Mathieu, M. Ranzato, "Learning Longer Memory in Recurrent Neural Networks",
    ICLR 2015 workshop.

    Equations:

    $$
    \begin{aligned}
    s_t &= (1 - \alpha) x_t B + \alpha s_{t-1} \\
    h_t &= \sigma(x_t A + s_t P + h_{t-1} R + b) \\
    y_t &= [h_t, s_t]
    \end{aligned}
    $$

    The output is both, since the paper's output layer reads both.

    Weights, for d features, n units and p units of output, p - n of them context:

    | name | symbol | shape |
    |---|---|---|
    | kernel | A, B side by side | (d, p) |
    | recurrent_kernel | R above P | (p, n) |
    | bias | b | (n,) |

    Departures from the paper: a bias, which `use_bias=False` undoes. alpha is one number; the paper also tries one
    learned per unit. h reads the new s, as the paper's readers have it (the text could not be had); the authors'
    program reads the old one, for which no argument exists. The state starts at 0, in that program at 0.1, which an
    `initial_state` gives.

    Args:
        units: positive integer, n, the number of hidden units.
        context_units: positive integer. Default: half the units.
        alpha: number in [0, 1), how much of the context stays in each step. Default 0.95.
        activation: of h. Default `"sigmoid"`.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of y, (batch, units + context_units).
        training: whether dropout is active.

    Returns:
        y, (batch, units + context_units), and the list of the new y.

    Raises:
        ValueError: `context_units` is not a positive integer, `alpha` is outside [0, 1); else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.SCRNCell(6, context_units=2))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 8])
    """

    states = ("y",)
    candidate = None

    def __init__(self, units, *, context_units=None, alpha=0.95, activation="sigmoid", **kwargs):
        super().__init__(units, activation=activation, **kwargs)
        if context_units is None:
            context_units = max(1, self.units // 2)
        self.context_units = checks.positive_integer("context_units", context_units)
        self.alpha = checks.rate("alpha", alpha)
        self.output_size = self.units + self.context_units
        self.state_size = [self.output_size]
        self.product_sizes = [self.output_size]

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, self.output_size))
        self.recurrent_kernel = self.weight("recurrent_kernel", (self.output_size, n))
        self.bias = self.weight("bias", (n,)) if self.use_bias else None

    def add_bias(self, x):
        return x if self.bias is None else add(x, ops.pad(self.bias, [[0, self.context_units]]))

    def recur(self, x, states, step):
        x_h, x_s = ops.split(x, [self.units], axis=-1)
        h, s = ops.split(states[0], [self.units], axis=-1)
        s = (1 - self.alpha) * x_s + self.alpha * s
        h = self.activation(x_h + step.recurrent_product(ops.concatenate([h, s], axis=-1), self.recurrent_kernel))
        return (ops.concatenate([h, s], axis=-1),)
