"""The stochastic recurrent network: latent variables of a fixed prior, told by a recurrent recognition network."""

from keras import ops

from archs._core import checks, inner
from archs._core.cell import Cell
from archs._core.dense import dense, weights
from archs._core.gaussians import divergence, drawn, gaussian, log_ratio, standard
from archs._core.policy import InPolicyOf
from archs._core.registry import cell
from archs._core.step import Step

_PREFIX = "recognition_"


@cell(paper="Bayer & Osendorfer 2014", url="https://arxiv.org/abs/1411.7610", year=2014)
class STORNCell(Cell):
    r"""Stochastic recurrent network: a recurrence that reads fresh latent variables, another that recognises them.

    J. Bayer, C. Osendorfer, "Learning Stochastic Recurrent Networks", 2014, sections 3.1 (generating model), 3.2
    (recognition model) and 3.3 (the bound).

    Equations:

    The inputs are x_t and standard normal noise $\epsilon_t$, side by side, so that no step draws anything. With f and
    g for the two recurrences, and for a layer of 2z numbers its first z, $\mu$, and
    $\sigma = \log(1 + \exp(\cdot)) + 10^{-4}$ of its last z:

    $$
    \begin{aligned}
    h^g_t &= g(x_t, h^g_{t-1}) \\
    \mu_t, \sigma_t &= h^g_t V_q + c_q \\
    z_t &= \mu_t + \sigma_t \odot \epsilon_t \\
    h_t &= f([x_{t-1}; z_t], h_{t-1}) \\
    \theta_t &= h_t V_d + c_d \\
    KL_t &= \sum_j (\sigma_{tj}^2 + \mu_{tj}^2 - 1) / 2 - \log \sigma_{tj}
    \end{aligned}
    $$

    with x_0 = 0. The output is $[\theta_t; KL_t]$: the parameters of the density of x_t, which a loss such as
    `archs.losses.NegativeLogLikelihood` reads, and the divergence of the posterior from the standard normal prior, in
    nats.

    Weights, for inputs of d features and z latents, n units and p parameters, with `lstm`:

    | name | symbol | shape |
    |---|---|---|
    | posterior_head_kernel | V_q | (n, 2z) |
    | posterior_head_bias | c_q | (2z,) |
    | decoder_head_kernel | V_d | (n, p) |
    | decoder_head_bias | c_d | (p,) |
    | kernel | of f | (d + z, 4n) |
    | recurrent_kernel | of f | (n, 4n) |
    | bias | of f | (4n,) |
    | recognition_kernel | of g | (d, 4n) |
    | recognition_recurrent_kernel | of g | (n, 4n) |
    | recognition_bias | of g | (4n,) |

    Departures from the paper, of which no more than the beginning could be read: f and g are any cell of the catalog,
    by default `lstm`, where it has simple recurrent networks. That g reads x_t, the step that is explained, is from the
    authors' code; later reviews have it read x_{t-1}, as a model that predicts would. The deviations are 1e-4 at least.

    Args:
        units: positive integer, n, of both recurrences.
        cell: f, and g as another one like it: a catalog name, a cell class, a function `units -> cell`, or a cell. What
            it has of dropout and zoneout acts as if it had been given here; dropout on x alone.
        features: positive integer, d: the first of the inputs are x, the others the noise, one for each latent.
        parameters: positive integer, p, how many the density of x has. Default: d.
        **kwargs: of `archs.Cell`. Those of activations, biases, kernels and dtype are those of f and g, too. A rate of
            `zoneout` is better given as a list, one for each of `states`, with 0 for the output and x.

    Call arguments:
        inputs: float tensor (batch, d + z).
        states: list of the output, (batch, p + 1), the states of f, those of g, and x of the step before, (batch, d).
        training: whether dropout is active.

    Returns:
        [theta; KL], (batch, p + 1), and the list of the new states. Distributions are computed in single precision at
        least.

    Raises:
        ValueError: a size is no positive integer, or there are no inputs beside the features. Else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> cell = archs.STORNCell(6, cell="gru", features=3)
    >>> inputs = keras.ops.concatenate([keras.ops.ones((2, 5, 3)), keras.random.normal((2, 5, 4))], axis=-1)
    >>> keras.layers.RNN(cell, return_sequences=True)(inputs).shape
    TensorShape([2, 5, 4])
    """

    states = ("output", "h", "c", "recognition_h", "recognition_c", "x")
    reads_noise = True

    def __init__(self, units, *, cell="lstm", features=1, parameters=None, **kwargs):
        cell = inner.make_inner(cell, units, kwargs)
        rates = inner.zoneout_of(cell, before=0, after=0)
        kwargs.setdefault("zoneout", [0.0, *rates, *rates, 0.0] if rates else 0.0)
        names = [prefix + name for prefix in ("", _PREFIX) for name in cell.one_memory]
        self.candidate, self.one_memory = cell.candidate, tuple(names)  # the checks of Cell read them
        super().__init__(units, **kwargs)
        self.cell, self.recognition = cell, inner.twin(cell, _PREFIX)
        self.features = checks.positive_integer("features", features)
        self.parameters = checks.positive_integer("parameters", features if parameters is None else parameters)
        self.states = ("output", *cell.states, *(_PREFIX + name for name in cell.states), "x")
        self.clocks = tuple(prefix + name for prefix in ("", _PREFIX) for name in cell.clocks)
        self.state_size = [self.parameters + 1, *cell.state_size, *cell.state_size, self.features]
        self.output_size = self.state_size[0]
        # Noise is drawn for the step as a whole, by this cell's rates and seed.
        self.product_sizes, self.inner_sizes = 2 * list(cell.product_sizes), 2 * list(cell.inner_sizes)

    def get_config(self):
        return super().get_config() | {"cell": inner.serialized(self.cell)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(inner.deserialized(config))

    def build(self, input_shape):
        super().build(input_shape)
        self.latents = self.undropped = checks.noise_size(input_shape[-1], self.features)
        n = self.cell.state_size[0]
        self.cell.build((None, input_shape[-1]))
        self.recognition._drawn = [*self.cell._drawn]
        self.recognition.build((None, self.features))
        self._drawn = [*self._drawn, *self.recognition._drawn]
        self.posterior_head_kernel, self.posterior_head_bias = weights(self, "posterior_head", n, 2 * self.latents)
        self.decoder_head_kernel, self.decoder_head_bias = weights(self, "decoder_head", n, self.parameters)

    def project(self, inputs):
        x = inputs[..., : self.features]
        return ops.concatenate([ops.cast(self.recognition.project(x), inputs.dtype), inputs], axis=-1)

    def recur(self, x, states, step):
        output, *own, before = states
        x, theta, _, q, own = self._encoded(x, own, before, step)
        output = ops.concatenate([theta, ops.cast(divergence(q, standard(q))[:, None], theta.dtype)], axis=-1)
        return output, *own, x

    def _encoded(self, x, own, before, step):
        """One step with latents from the posterior: x, theta, the noise, the posterior, the new states of f and g."""
        z, width, count = self.latents, self.latents + self.features, len(self.cell.states)
        x, seen, noise = x[:, -width:-z], x[:, :-width], x[:, -z:]
        recognised = self._recognised(seen, own[count:], step)
        q = gaussian(dense(step, recognised[:1], self.posterior_head_kernel, self.posterior_head_bias))
        generated = self._generated(before, drawn(q, noise), own[:count], step)
        return x, self._decoded(generated, step), noise, q, [*generated, *recognised]

    def _recognised(self, seen, own, step):
        """The new states of g; `seen` from its `project`."""
        step = step.of(self.recognition, len(self.cell.product_sizes), len(self.cell.inner_sizes))
        return self.recognition.recur(seen, tuple(own), step)

    def _generated(self, before, z, own, step):
        """The new states of f."""
        fed = ops.concatenate([before, ops.cast(z, before.dtype)], axis=-1)
        return inner.run(self.cell, None, fed, tuple(own), step, step.product)

    def _decoded(self, generated, step):
        return dense(step, generated[:1], self.decoder_head_kernel, self.decoder_head_bias)

    def infer(self, inputs, states):
        """Takes one step with latents from the posterior, as a call does, for estimates of the likelihood.

        Args:
            inputs: float tensor (batch, d + z).
            states: list of the states before.

        Returns:
            theta (batch, p); log p(z) - log q(z) of the latents drawn, (batch,); and the list of the new states.
        """

        def function(inputs, output, *states):
            *own, before = states
            step = Step.of_call(self, False)
            x, theta, noise, q, own = self._encoded(self.project(inputs), own, before, step)
            return theta, log_ratio(noise, q, standard(q)), [output, *own, x]

        return InPolicyOf(self)([inputs, *self.checked_states(states)], function=function)

    def imagine(self, noise, states):
        """Draws latents from the prior.

        Args:
            noise: float tensor (batch, z), standard normal: the latents.
            states: list of the states before the step.

        Returns:
            The latents (batch, z), and theta (batch, p), the parameters of the density from which to draw x.
        """

        def function(noise, _, *states):
            step = Step.of_call(self, False)
            generated = self._generated(states[-1], noise, states[: len(self.cell.states)], step)
            return noise, self._decoded(generated, step)

        return InPolicyOf(self)([noise, *self.checked_states(states)], function=function)

    def advance(self, x, latents, states):
        """The list of the states after a step, from x (batch, d), latents (batch, z) and the states before it."""

        def function(x, latents, output, *states):
            step, count = Step.of_call(self, False), len(self.cell.states)
            generated = self._generated(states[-1], latents, states[:count], step)
            recognised = self._recognised(self.recognition.project(x), states[count:-1], step)
            return [output, *generated, *recognised, x]

        return InPolicyOf(self)([x, latents, *self.checked_states(states)], function=function)

    def get_initial_state(self, batch_size):
        """Zeros, and the initial states of f and g."""
        output, x = (ops.zeros((batch_size, n), self.compute_dtype) for n in (self.output_size, self.features))
        inner_states = [cell.get_initial_state(batch_size) for cell in (self.cell, self.recognition)]
        return [output, *inner_states[0], *inner_states[1], x]
