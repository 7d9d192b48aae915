"""The GRU with layer normalisation inside the gates."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell, add, scale, widen
from archs._core.registry import cell


@cell(paper="Ba et al. 2016", url="https://arxiv.org/abs/1607.06450", year=2016)
class LayerNormGRUCell(Cell):
    r"""GRU whose input and recurrent products are normalised over the units, gates and candidate each on their own.

    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016, equations (15), (16) and (26) to (28).

    Equations:

    With LN(z; gamma, beta) = gamma (z - mean(z)) / sqrt(var(z) + epsilon) + beta over the last axis, for the gates over
    both together.

    $$
    \begin{aligned}
    (\hat z_t, \hat r_t) &= LN(x_t W_{zr}; \gamma_x, \beta_x) + LN(h_{t-1} U_{zr}; \gamma_h, \beta_h) \\
    \tilde h_t &= \tanh(LN(x_t W_h; \gamma_x, \beta_x) + \sigma(\hat r_t) \odot LN(h_{t-1} U_h; \gamma_h, \beta_h)) \\
    h_t &= (1 - \sigma(\hat z_t)) \odot h_{t-1} + \sigma(\hat z_t) \odot \tilde h_t
    \end{aligned}
    $$

    z lets the candidate in, other than in `gru`, where it keeps the old output.

    Weights, for d features and n units, gate blocks in the order z, r, h:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 3n) |
    | recurrent_kernel | U | (n, 3n) |
    | input_gamma | gamma_x | (3n,) |
    | input_beta | beta_x | (3n,) |
    | recurrent_gamma | gamma_h | (3n,) |
    | recurrent_beta | beta_h | (3n,) |

    Departures from the paper: none in the equations. The paper gives no epsilon; its authors' program has 1e-5, and z
    the other way round. gamma starts at one and beta at zero, as section 6 says.

    Args:
        units: positive integer, n.
        epsilon: positive number, added to the variances. Default 1e-3, as for Keras' `LayerNormalization`.
        recurrent_activation: of the two gates. Default `"sigmoid"`.
        gamma_initializer, beta_initializer: default `"ones"` and `"zeros"`.
        use_bias: whether there is a bias (3n,), named `bias`, too. Default False, since the betas are biases.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h, (batch, units).
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new h.

    Raises:
        ValueError: `epsilon` is not a positive number; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.LayerNormGRUCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("z", "r", "h")
    candidate = "h"
    writing = ("z",)

    def __init__(
        self,
        units,
        *,
        epsilon=1e-3,
        recurrent_activation="sigmoid",
        gamma_initializer="ones",
        beta_initializer="zeros",
        use_bias=False,
        **kwargs,
    ):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.epsilon = checks.positive("epsilon", epsilon)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_initializer = keras.initializers.get(beta_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 3 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 3 * n))
        self.input_gamma = self.weight("input_gamma", (3 * n,), role="gamma")
        self.input_beta = self.weight("input_beta", (3 * n,), role="beta")
        self.recurrent_gamma = self.weight("recurrent_gamma", (3 * n,), role="gamma")
        self.recurrent_beta = self.weight("recurrent_beta", (3 * n,), role="beta")
        self.bias = self.gate_bias()

    def normalize(self, z):
        """The gates' part of `z` (..., 3n) and the candidate's, normalised each on its own."""
        return [ops.layer_normalization(part, epsilon=self.epsilon) for part in self.parts(z)]

    def parts(self, a):
        return ops.split(a, [2 * self.units], axis=-1)

    def project(self, inputs):
        normal = ops.concatenate(self.normalize(widen(ops.matmul(inputs, self.kernel))), axis=-1)
        return self.add_bias(add(scale(normal, self.input_gamma), self.input_beta))

    def recur(self, x, states, step):
        (h,) = states
        normal = self.normalize(step.recurrent_product(h, self.recurrent_kernel))
        gains = zip(normal, self.parts(self.recurrent_gamma), self.parts(self.recurrent_beta), strict=True)
        u_zr, u_h = (step.shift(step.product(a, gamma), beta) for a, gamma, beta in gains)
        u_z, u_r = ops.split(u_zr, 2, axis=-1)
        x_z, x_r, x_h = ops.split(x, 3, axis=-1)
        (r,) = step.activate(x_r + u_r, ("r",))
        z, candidate = step.activate([x_z + u_z, x_h + r * u_h], ("z", "h"))
        h = (1 - z) * h + z * candidate
        return (h,)
