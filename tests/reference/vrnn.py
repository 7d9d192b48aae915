"""VRNN: a variational autoencoder at each step, whose parts, the prior too, see the state of a recurrent network.

[C15] Chung et al., A Recurrent Latent Variable Model for Sequential Data, NIPS 2015, https://arxiv.org/abs/1506.02216,
section 3: (5) prior, (6) density of x_t, (7) recurrence, (9) posterior, (11) the bound and its KL of each step.
The paper itself could not be had: the equations are from a reader's notes on section 3, which confirm the number (11);
the other numbers are from memory, as is what is said of section 4.
Open in section 3: how many layers the functions phi have, what squashes them, and how a deviation is made positive.
Here each has one hidden layer of rectified linear units, of the same width, then a linear one for the parameters of a
density; a deviation is softplus plus 1e-4. phi_x and phi_z are that hidden layer alone.
Not as in the paper: its phi have several hidden layers (four in section 4). Its recurrence is an LSTM; here a GRU, too.
z_t is drawn from the posterior by noise that comes as a part of the input, x = [x_t, eps_t]. The output is the
parameters of (6) as the linear layer gives them, without what a density makes of them, and the KL of step t, in nats,
summed over the latents. use_bias=False leaves out all biases.
"""

import numpy as np

SMALL = {"features": 2, "hidden": 9, "parameters": 3}  # the other inputs are the noise
CASES = [
    SMALL | case
    for case in (
        {},
        {"cell": "gru", "features": 1, "parameters": 1},
        {"features": 3, "use_bias": False},
        {"residual_posterior": True},
    )
]
FIXED = {"Relu"}  # of the hidden layers of the phi
FLOOR = 1e-4


def softplus(a):
    return np.logaddexp(0.0, a)


def sigma(a):
    return np.exp(-softplus(-a))  # 1 / (1 + exp(-a)) without overflow


def recur(cell, x, states, W, U, b):
    """New states of the inner cell, its h first."""
    if cell == "lstm":
        h, c = states
        i, f, g, o = np.split(x @ W + h @ U + b, 4, axis=-1)
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        return sigma(o) * np.tanh(c), c
    if cell == "gru":
        (h,) = states
        n = h.shape[-1]
        x_z, x_r, x_h = np.split(x @ W + b, 3, axis=-1)
        z, r = sigma(x_z + h @ U[:, :n]), sigma(x_r + h @ U[:, n : 2 * n])
        return (z * h + (1.0 - z) * np.tanh(x_h + (r * h) @ U[:, 2 * n :]),)
    raise ValueError(cell)


def divergence(mean_q, deviation_q, mean_p, deviation_p):
    """KL(q || p) of two Gaussians with diagonal covariances, (batch, 1)."""
    ratio = (deviation_q / deviation_p) ** 2
    distance = ((mean_q - mean_p) / deviation_p) ** 2
    return np.sum(0.5 * (ratio + distance - 1.0 - np.log(ratio)), axis=-1, keepdims=True)


def step(weights, x, states, features, hidden, parameters, cell="lstm", use_bias=True, residual_posterior=False):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, _, *inner = (np.asarray(a, np.float64) for a in (x, *states))
    if any(name.endswith("bias") for name in w) != use_bias:
        raise ValueError(sorted(w))
    x_t, eps = x[:, :features], x[:, features:]
    h = inner[0]  # h_(t-1)

    def linear(name, *parts):
        b = w[f"{name}_bias"] if use_bias else 0.0
        return np.concatenate(parts, axis=-1) @ w[f"{name}_kernel"] + b

    def phi(name, *parts):
        return np.maximum(linear(name, *parts), 0.0)

    def gaussian(name, *parts):
        mean, raw = np.split(linear(f"{name}_head", phi(name, *parts)), 2, axis=-1)
        return mean, softplus(raw) + FLOOR

    phi_x = phi("x", x_t)
    prior = gaussian("prior", h)  # (5)
    mean, deviation = gaussian("posterior", phi_x, h)  # (9)
    if residual_posterior:  # not of [C15]: the network says how far the mean is from that of the prior
        mean = prior[0] + mean
    z = mean + deviation * eps
    phi_z = phi("z", z)
    decoded = linear("decoder_head", phi("decoder", phi_z, h))  # (6)
    if phi_x.shape[-1] != hidden or decoded.shape[-1] != parameters:
        raise ValueError((phi_x.shape, decoded.shape))
    b = w["bias"] if use_bias else 0.0
    u = np.concatenate([phi_x, phi_z], axis=-1)
    inner = recur(cell, u, inner, w["kernel"], w["recurrent_kernel"], b)  # (7)
    kl = divergence(mean, deviation, *prior)  # (11)
    return np.concatenate([decoded, kl], axis=-1), *inner
