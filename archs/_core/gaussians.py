"""Normal distributions with a deviation for each variable, in single precision at least: (means, deviations)."""

from keras import ops

from archs._core.cell import widen

FLOOR = 1e-4  # of deviations, so that no density is infinite


def deviation(raw):
    """The deviations of unbounded numbers."""
    return ops.softplus(widen(raw)) + FLOOR


def gaussian(numbers):
    """The distribution of what a layer says: numbers (..., 2n), means and then raw deviations."""
    means, raw = ops.split(widen(numbers), 2, axis=-1)
    return means, deviation(raw)


def standard(like):
    """The distribution of mean 0 and deviation 1, of as many variables as another."""
    return ops.zeros_like(like[0]), ops.ones_like(like[1])


def drawn(distribution, noise):
    """Draws from a distribution (..., n) by the noise (..., n), standard normal."""
    means, deviations = distribution
    return means + deviations * ops.cast(noise, means.dtype)


def divergence(q, p):
    """The Kullback-Leibler divergence of q from p, in nats, summed over the variables: (..., n) to (...)."""
    (m, s), (m_p, s_p) = q, p
    terms = ops.log(s_p) - ops.log(s) + (ops.square(s) + ops.square(m - m_p)) / (2 * ops.square(s_p)) - 0.5
    return ops.sum(terms, axis=-1)


def log_ratio(noise, q, p):
    """log p(z) - log q(z) of what the noise draws from q, summed over the variables: (..., n) to (...)."""
    (_, s), (m_p, s_p) = q, p
    noise = ops.cast(noise, s.dtype)
    far = (drawn(q, noise) - m_p) / s_p
    return ops.sum(ops.log(s) - ops.log(s_p) + (ops.square(noise) - ops.square(far)) / 2, axis=-1)
