"""The variational recurrent network: latent variables in each time step, whose prior depends on the state."""

from keras import ops

from archs._core import checks, inner
from archs._core.cell import Cell, add
from archs._core.dense import dense, weights
from archs._core.gaussians import divergence, drawn, gaussian, log_ratio
from archs._core.policy import InPolicyOf
from archs._core.registry import cell
from archs._core.step import Step


@cell(paper="Chung et al. 2015", url="https://arxiv.org/abs/1506.02216", year=2015)
class VRNNCell(Cell):
    r"""Variational recurrent network: a variational autoencoder in each time step, all parts of which see the state.

    J. Chung, K. Kastner, L. Dinh, K. Goel, A. Courville, Y. Bengio, "A Recurrent Latent Variable Model for Sequential
    Data", NeurIPS 2015, equations (5) to (7), (9) and the terms of the bound (11).

    Equations:

    The inputs are x_t and standard normal noise $\epsilon_t$, side by side, so that no step draws anything. With f for
    the recurrence, relu for the positive part, and for a layer of 2z numbers its first z, $\mu$, and
    $\sigma = \log(1 + \exp(\cdot)) + 10^{-4}$ of its last z:

    $$
    \begin{aligned}
    \phi^x_t &= \mathrm{relu}(x_t W_x + b_x) \\
    \mu^p_t, \sigma^p_t &= \mathrm{relu}(h_{t-1} W_p + b_p) V_p + c_p \\
    \mu_t, \sigma_t &= \mathrm{relu}([\phi^x_t; h_{t-1}] W_q + b_q) V_q + c_q \\
    z_t &= \mu_t + \sigma_t \odot \epsilon_t \\
    \phi^z_t &= \mathrm{relu}(z_t W_z + b_z) \\
    \theta_t &= \mathrm{relu}([\phi^z_t; h_{t-1}] W_d + b_d) V_d + c_d \\
    KL_t &= \sum_j \log(\sigma^p_{tj} / \sigma_{tj})
        + (\sigma_{tj}^2 + (\mu_{tj} - \mu^p_{tj})^2) / (2 (\sigma^p_{tj})^2) - 1/2 \\
    h_t &= f([\phi^x_t; \phi^z_t], h_{t-1})
    \end{aligned}
    $$

    With `residual_posterior=True` the first z of the third line are the distance of $\mu_t$ from $\mu^p_t$, as in the
    code of C. Maddison et al., "Filtering Variational Objectives", NeurIPS 2017: an encoder that says nothing is the
    prior.

    The output is $[\theta_t; KL_t]$: the parameters of the density of x_t, which a loss such as
    `archs.losses.NegativeLogLikelihood` reads, and the divergence of the posterior from the prior, in nats.

    Weights, for inputs of d features and z latents, n units, hidden layers of k units and p parameters, with `lstm`:

    | name | symbol | shape |
    |---|---|---|
    | x_kernel | W_x | (d, k) |
    | x_bias | b_x | (k,) |
    | z_kernel | W_z | (z, k) |
    | z_bias | b_z | (k,) |
    | prior_kernel | W_p | (n, k) |
    | prior_bias | b_p | (k,) |
    | prior_head_kernel | V_p | (k, 2z) |
    | prior_head_bias | c_p | (2z,) |
    | posterior_kernel | W_q | (k + n, k) |
    | posterior_bias | b_q | (k,) |
    | posterior_head_kernel | V_q | (k, 2z) |
    | posterior_head_bias | c_q | (2z,) |
    | decoder_kernel | W_d | (k + n, k) |
    | decoder_bias | b_d | (k,) |
    | decoder_head_kernel | V_d | (k, p) |
    | decoder_head_bias | c_d | (p,) |
    | kernel | of f | (2k, 4n) |
    | recurrent_kernel | of f | (n, 4n) |
    | bias | of f | (4n,) |

    Departures from the paper: each of its networks has one hidden layer here, of one size for all; the paper leaves
    both open and has up to four. The deviations are 1e-4 at least, as in the authors' code. The text of the paper could
    not be had whole: the equations are from accounts of it and from the authors' code.

    Args:
        units: positive integer, n.
        cell: the recurrence f: a catalog name, a cell class, a function `units -> cell`, or a cell. What it has of
            dropout and zoneout acts as if it had been given here; dropout on x alone, recurrent dropout on the h that
            the networks see, too.
        features: positive integer, d: the first of the inputs are x, the others the noise, one for each latent.
        parameters: positive integer, p, how many the density of x has. Default: d.
        hidden: positive integer, k. Default: n.
        residual_posterior: whether the encoder says how far the mean of the posterior is from that of the prior.
        **kwargs: of `archs.Cell`. Those of activations, biases, kernels and dtype are those of f, too. A rate of
            `zoneout` is better given as a list, one for each of `states`, with 0 for the output.

    Call arguments:
        inputs: float tensor (batch, d + z).
        states: list of the output, (batch, p + 1), and the states of f.
        training: whether dropout is active.

    Returns:
        [theta; KL], (batch, p + 1), and the list of the new states. Distributions are computed in single precision at
        least.

    Raises:
        ValueError: a size is no positive integer, or there are no inputs beside the features. Else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> cell = archs.VRNNCell(6, cell="gru", features=3)
    >>> inputs = keras.ops.concatenate([keras.ops.ones((2, 5, 3)), keras.random.normal((2, 5, 4))], axis=-1)
    >>> keras.layers.RNN(cell, return_sequences=True)(inputs).shape
    TensorShape([2, 5, 4])
    """

    states = ("output", "h", "c")
    reads_noise = True

    def __init__(
        self, units, *, cell="lstm", features=1, parameters=None, hidden=None, residual_posterior=False, **kwargs
    ):
        cell = inner.make_inner(cell, units, kwargs)
        kwargs.setdefault("zoneout", inner.zoneout_of(cell, before=1, after=0))
        self.candidate, self.one_memory = cell.candidate, cell.one_memory  # the checks of Cell read them
        super().__init__(units, **kwargs)
        self.cell = cell
        self.features = checks.positive_integer("features", features)
        self.parameters = checks.positive_integer("parameters", features if parameters is None else parameters)
        self.hidden = checks.positive_integer("hidden", units if hidden is None else hidden)
        self.residual_posterior = checks.flag("residual_posterior", residual_posterior)
        self.states, self.clocks = ("output", *cell.states), cell.clocks
        self.state_size = [self.parameters + 1, *cell.state_size]
        self.output_size = self.state_size[0]
        # Noise is drawn for the step as a whole, by this cell's rates and seed; the h of the networks is the last site.
        self.product_sizes, self.inner_sizes = [*cell.product_sizes, cell.state_size[0]], cell.inner_sizes

    def get_config(self):
        return super().get_config() | {"cell": inner.serialized(self.cell)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(inner.deserialized(config))

    def build(self, input_shape):
        super().build(input_shape)
        self.latents = self.undropped = checks.noise_size(input_shape[-1], self.features)
        d, z, k, p, n = self.features, self.latents, self.hidden, self.parameters, self.cell.state_size[0]
        self.cell.build((None, 2 * k))
        self._drawn = [*self._drawn, *self.cell._drawn]
        self.x_kernel, self.x_bias = weights(self, "x", d, k)
        self.z_kernel, self.z_bias = weights(self, "z", z, k)
        self.prior_kernel, self.prior_bias = weights(self, "prior", n, k)
        self.prior_head_kernel, self.prior_head_bias = weights(self, "prior_head", k, 2 * z)
        self.posterior_kernel, self.posterior_bias = weights(self, "posterior", k + n, k)
        self.posterior_head_kernel, self.posterior_head_bias = weights(self, "posterior_head", k, 2 * z)
        self.decoder_kernel, self.decoder_bias = weights(self, "decoder", k + n, k)
        self.decoder_head_kernel, self.decoder_head_bias = weights(self, "decoder_head", k, p)

    def project(self, inputs):
        phi = self._phi(inputs[..., : self.features])
        seen = ops.matmul(phi, self.posterior_kernel[: self.hidden])
        seen = seen if self.posterior_bias is None else add(seen, self.posterior_bias)
        parts = seen, inner.project(self.cell, phi), inputs[..., self.features :]
        return ops.concatenate([ops.cast(part, seen.dtype) for part in parts], axis=-1)

    def _phi(self, x):
        z = ops.matmul(x, self.x_kernel)
        return ops.relu(z if self.x_bias is None else add(z, self.x_bias))

    def recur(self, x, states, step):
        output, *own = states
        theta, _, q, p, own = self._encoded(x, own, step)
        output = ops.concatenate([theta, ops.cast(divergence(q, p)[:, None], theta.dtype)], axis=-1)
        return output, *own

    def _encoded(self, x, own, step):
        """One step with latents from the posterior: theta, the noise, posterior, prior, the new states of f."""
        k, z = self.hidden, self.latents
        seen, x, noise = x[:, :k], x[:, k:-z], x[:, -z:]
        h = self._seen_state(own, step)
        hidden = ops.relu(seen + step.product(h, self.posterior_kernel[k:]))
        p = self._prior(h, step)
        q = gaussian(dense(step, [hidden], self.posterior_head_kernel, self.posterior_head_bias))
        if self.residual_posterior:
            q = p[0] + q[0], q[1]
        phi = self._phi_latents(drawn(q, noise), h, step)
        return self._decoded(phi, h, step), noise, q, p, self._following(x, phi, own, step)

    def _seen_state(self, own, step):
        """The h before the step, as the networks see it."""
        return step.drop_recurrent(own[0], len(self.product_sizes) - 1)

    def _prior(self, h, step):
        hidden = ops.relu(dense(step, [h], self.prior_kernel, self.prior_bias))
        return gaussian(dense(step, [hidden], self.prior_head_kernel, self.prior_head_bias))

    def _phi_latents(self, z, h, step):
        return ops.relu(dense(step, [ops.cast(z, h.dtype)], self.z_kernel, self.z_bias))

    def _decoded(self, phi, h, step):
        hidden = ops.relu(dense(step, [phi, h], self.decoder_kernel, self.decoder_bias))
        return dense(step, [hidden], self.decoder_head_kernel, self.decoder_head_bias)

    def _following(self, x, phi, own, step):
        """The new states of f; x from `inner.project`."""
        return inner.run(self.cell, x, phi, tuple(own), step, step.product)

    def infer(self, inputs, states):
        """Takes one step with latents from the posterior, as a call does, for estimates of the likelihood.

        Args:
            inputs: float tensor (batch, d + z).
            states: list of the states before.

        Returns:
            theta (batch, p); log p(z) - log q(z) of the latents drawn, (batch,); and the list of the new states.
        """

        def function(inputs, output, *own):
            theta, noise, q, p, own = self._encoded(self.project(inputs), own, Step.of_call(self, False))
            return theta, log_ratio(noise, q, p), [output, *own]

        return InPolicyOf(self)([inputs, *self.checked_states(states)], function=function)

    def imagine(self, noise, states):
        """Draws latents from the prior.

        Args:
            noise: float tensor (batch, z), standard normal.
            states: list of the states before the step.

        Returns:
            The latents (batch, z), and theta (batch, p), the parameters of the density from which to draw x.
        """

        def function(noise, _, *own):
            step = Step.of_call(self, False)
            h = self._seen_state(own, step)
            z = drawn(self._prior(h, step), noise)
            return z, self._decoded(self._phi_latents(z, h, step), h, step)

        return InPolicyOf(self)([noise, *self.checked_states(states)], function=function)

    def advance(self, x, latents, states):
        """The list of the states after a step, from x (batch, d), latents (batch, z) and the states before it."""

        def function(x, latents, output, *own):
            step = Step.of_call(self, False)
            phi = self._phi_latents(latents, self._seen_state(own, step), step)
            return [output, *self._following(inner.project(self.cell, self._phi(x)), phi, own, step)]

        return InPolicyOf(self)([x, latents, *self.checked_states(states)], function=function)

    def get_initial_state(self, batch_size):
        """Zeros, and the initial states of f."""
        output = ops.zeros((batch_size, self.output_size), dtype=self.compute_dtype)
        return [output, *self.cell.get_initial_state(batch_size)]
