"""The LSTM with layer normalisation inside the gates."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell, add, scale, widen
from archs._core.registry import cell


@cell(paper="Ba et al. 2016", url="https://arxiv.org/abs/1607.06450", year=2016)
class LayerNormLSTMCell(Cell):
    r"""LSTM whose input product, recurrent product and cell state are each normalised over the units.

    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016, equations (15), (16) and (20) to (22).

    Equations:

    With LN(z; gamma, beta) = gamma (z - mean(z)) / sqrt(var(z) + epsilon) + beta over the last axis, for the first two
    over all four gates together.

    $$
    \begin{aligned}
    (\hat i_t, \hat f_t, \hat g_t, \hat o_t) &= LN(x_t W; \gamma_x, \beta_x) + LN(h_{t-1} U; \gamma_h, \beta_h) + b \\
    c_t &= \sigma(\hat f_t) \odot c_{t-1} + \sigma(\hat i_t) \odot \tanh(\hat g_t) \\
    h_t &= \sigma(\hat o_t) \odot \tanh(LN(c_t; \gamma_c, \beta_c))
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, f, g, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (n, 4n) |
    | input_gamma | gamma_x | (4n,) |
    | input_beta | beta_x | (4n,) |
    | recurrent_gamma | gamma_h | (4n,) |
    | recurrent_beta | beta_h | (4n,) |
    | output_gamma | gamma_c | (n,) |
    | output_beta | beta_c | (n,) |
    | bias | b | (4n,) |

    Departures from the paper: none in the equations. The paper gives no epsilon; its authors' program has 1e-5. gamma
    starts at one and beta at zero, as section 6 says. The forget gate's bias starts at one (Jozefowicz et al. 2015);
    `unit_forget_bias=False` starts it like the others.

    Args:
        units: positive integer, n.
        epsilon: positive number, added to the variances. Default 1e-3, as for Keras' `LayerNormalization`.
        recurrent_activation: of the three gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gate starts at one.
        gamma_initializer, beta_initializer: default `"ones"` and `"zeros"`.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h and c, each (batch, units).
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new h and c.

    Raises:
        ValueError: `epsilon` is not a positive number; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.LayerNormLSTMCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        epsilon=1e-3,
        recurrent_activation="sigmoid",
        unit_forget_bias=True,
        gamma_initializer="ones",
        beta_initializer="zeros",
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        self.epsilon = checks.positive("epsilon", epsilon)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_initializer = keras.initializers.get(beta_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 4 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 4 * n))
        self.input_gamma = self.weight("input_gamma", (4 * n,), role="gamma")
        self.input_beta = self.weight("input_beta", (4 * n,), role="beta")
        self.recurrent_gamma = self.weight("recurrent_gamma", (4 * n,), role="gamma")
        self.recurrent_beta = self.weight("recurrent_beta", (4 * n,), role="beta")
        self.output_gamma = self.weight("output_gamma", (n,), role="gamma")
        self.output_beta = self.weight("output_beta", (n,), role="beta")
        self.bias = self.gate_bias({"f": 1} if self.unit_forget_bias else {})

    def project(self, inputs):
        normal = ops.layer_normalization(widen(ops.matmul(inputs, self.kernel)), epsilon=self.epsilon)
        return self.add_bias(add(scale(normal, self.input_gamma), self.input_beta))

    def recur(self, x, states, step):
        h, c = states
        u = step.recurrent_product(h, self.recurrent_kernel)
        u = self.normalize(u, self.recurrent_gamma, self.recurrent_beta, step)
        i, f, g, o = step.activate(x + u)
        c = f * c + i * g
        h = o * self.activation(self.normalize(c, self.output_gamma, self.output_beta, step))
        return h, c

    def normalize(self, a, gamma, beta, step):
        normal = ops.layer_normalization(a, epsilon=self.epsilon)
        return step.shift(step.product(normal, gamma), beta)
