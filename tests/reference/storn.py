"""STORN: a recurrent network that generates, with noise z_t as a further input, and one that recognises that noise.

[B14] Bayer & Osendorfer, Learning Stochastic Recurrent Networks, arXiv 2014, https://arxiv.org/abs/1411.7610, section
3.1: the generating network h_t = f(x_(t-1) W + z_t W' + h_(t-1) U + b), y_t = g(h_t V + b'), y_t the parameters of the
density of x_t, z_t ~ N(0, I) independently of all else; section 3.2: the recognition network, an RNN that gives mean
and variance of q(z_t); the bound is of Kingma & Welling 2014. Only the first page could be had: the equations are from
memory and have no numbers here.
Open, or not agreed upon: what the recognition network has read when it gives q(z_t). A survey of the field and two
later codes say x_1 .. x_(t-1) of the paper; these codes themselves give it x_1 .. x_t, so that its z_t can tell what is
new in x_t, and so does this one. x_0 is zeros.
Not as in the paper: both networks are a cell of the catalog, LSTM or GRU, where the paper has a plain RNN; one linear
layer on h gives mean and deviation, the latter by softplus plus 1e-4. z_t is drawn by noise that comes as a part of the
input, x = [x_t, eps_t]. The output is the parameters of the density of x_t as the linear layer gives them, and the KL
of step t, in nats, summed over the latents. use_bias=False leaves out all biases.
"""

import numpy as np

SMALL = {"features": 2, "parameters": 3}  # the other inputs are the noise
CASES = [
    SMALL | case
    for case in (
        {},
        {"cell": "gru", "features": 1, "parameters": 1},
        {"features": 3, "use_bias": False},
    )
]
FIXED = set()
FLOOR = 1e-4


def softplus(a):
    return np.logaddexp(0.0, a)


def sigma(a):
    return np.exp(-softplus(-a))  # 1 / (1 + exp(-a)) without overflow


def recur(cell, x, states, W, U, b):
    """New states of an inner cell, its h first."""
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


def step(weights, x, states, features, parameters, cell="lstm", use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, _, *inner, before = (np.asarray(a, np.float64) for a in (x, *states))
    if any(name.endswith("bias") for name in w) != use_bias:
        raise ValueError(sorted(w))
    b = {name: w[name] if use_bias else 0.0 for name in ("bias", "recognition_bias", "posterior_head_bias")}
    x_t, eps = x[:, :features], x[:, features:]
    generating, recognising = inner[: len(inner) // 2], inner[len(inner) // 2 :]

    W, U = w["recognition_kernel"], w["recognition_recurrent_kernel"]
    recognising = recur(cell, x_t, recognising, W, U, b["recognition_bias"])
    head = recognising[0] @ w["posterior_head_kernel"] + b["posterior_head_bias"]
    mean, raw = np.split(head, 2, axis=-1)
    deviation = softplus(raw) + FLOOR
    z = mean + deviation * eps
    kl = np.sum(0.5 * (mean**2 + deviation**2 - 1.0) - np.log(deviation), axis=-1, keepdims=True)  # from N(0, I)

    u = np.concatenate([before, z], axis=-1)  # x_(t-1), z_t
    generating = recur(cell, u, generating, w["kernel"], w["recurrent_kernel"], b["bias"])
    y = generating[0] @ w["decoder_head_kernel"] + (w["decoder_head_bias"] if use_bias else 0.0)
    if y.shape[-1] != parameters or before.shape != x_t.shape:
        raise ValueError((y.shape, before.shape))
    return np.concatenate([y, kl], axis=-1), *generating, *recognising, x_t
