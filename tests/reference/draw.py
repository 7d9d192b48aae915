"""DRAW: an image is read and written through windows, glimpse by glimpse, by a variational autoencoder over time.

[G15] Gregor et al., DRAW: A Recurrent Neural Network For Image Generation, ICML 2015, https://arxiv.org/abs/1502.04623.
Section 2.1: (1) mean and (2) deviation of z_t, (3) error image, (4) read, (5) encoder, (6) sample, (7) decoder, (8)
canvas; 2.2: (10), (11) the latent loss; 3.1: (17), (18) read and write without attention; 3.2: (19), (20) places of the
filters, (21) parameters, (22), (23) centre, (24) stride, (25), (26) filter banks, 3.3: (27) read, (28), (29) write.
Only the first page could be had: (3) to (8) and (21) are from two readers' transcriptions, which agree, (17) to (29)
from one of them. (1), (2) and (11) are from memory, and so are all numbers but (25) and (26), which comments in code
confirm.
Letters: the paper's image has A columns and B rows, its X runs along the columns: F_X is N by A, F_Y is N by B. Places
i, a and j, b count from 1, so that a window in the middle, g~ = 0, sits at (A + 1) / 2. (11) has -T / 2; that is meant
for each latent, so that the loss is a KL, which is 0 for q = N(0, I).
Open: the stride (24) of a window of one filter, 0 / 0; it acts on nothing. Z of a filter far outside of the image.
Not as in the paper: Z is at least 1e-8, so that such a filter reads nothing; GRUs, too, where the paper has LSTMs;
use_bias=False leaves out all biases. z_t is drawn by noise that is the input, x = eps_t. The first canvas, a bias in
the paper, is the first state.
"""

import numpy as np

SMALL = {"rows": 4, "columns": 6, "read_size": 2, "write_size": 3}
CASES = [
    SMALL | case
    for case in (
        {},
        {"cell": "gru", "read_size": 3, "write_size": 2},
        {"read_size": None},
        {"write_size": None},
        {"read_size": None, "write_size": None},
        {"use_bias": False},
    )
]
FIXED = set()
TINY = 1e-8


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


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


def filters(centre, stride, variance, size, length):
    """F, (batch, size, length): Gaussians along one side of the image; the arguments are (batch,)."""
    i, a = np.arange(1, size + 1), np.arange(1, length + 1)
    mu = centre[:, None] + (i - size / 2 - 0.5) * stride[:, None]  # (19), (20)
    F = np.exp(-((a - mu[:, :, None]) ** 2) / (2.0 * variance[:, None, None]))  # (25), (26)
    return F / np.maximum(F.sum(axis=-1, keepdims=True), TINY)


def window(numbers, size, rows, columns):
    """F_X, (batch, size, columns), F_Y, (batch, size, rows), and gamma, (batch, 1, 1), from (batch, 5)."""
    g_x, g_y, log_variance, log_stride, log_gamma = numbers.T  # (21)
    g_x, g_y = (columns + 1) / 2 * (g_x + 1), (rows + 1) / 2 * (g_y + 1)  # (22), (23)
    stride = (max(rows, columns) - 1) / max(size - 1, 1) * np.exp(log_stride)  # (24)
    variance = np.exp(log_variance)
    F_X, F_Y = filters(g_x, stride, variance, size, columns), filters(g_y, stride, variance, size, rows)
    return F_X, F_Y, np.exp(log_gamma)[:, None, None]


def step(weights, x, states, rows, columns, read_size=None, write_size=None, cell="lstm", use_bias=True, *, memory):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    eps, image, c, divergence, *inner = (np.asarray(a, np.float64) for a in (x, memory, *states))
    if any(name.endswith("bias") for name in w) != use_bias or image.shape[1:] != (rows, columns):
        raise ValueError((sorted(w), image.shape))
    batch = len(eps)
    decoder, encoder = inner[: len(inner) // 2], inner[len(inner) // 2 :]

    def linear(name, a):
        return a @ w[f"{name}_kernel"] + (w[f"{name}_bias"] if use_bias else 0.0)

    def run(name, u, before):
        b = w[f"{name}_bias"] if use_bias else 0.0
        return recur(cell, u, before, w[f"{name}_kernel"], w[f"{name}_recurrent_kernel"], b)

    h_dec = decoder[0]  # h_dec_(t-1)
    error = image - sigma(c.reshape(batch, rows, columns))  # (3)
    if read_size is None:
        patches = [image, error]  # (17)
    else:
        F_X, F_Y, gamma = window(linear("read", h_dec), read_size, rows, columns)
        patches = [gamma * (F_Y @ seen @ F_X.transpose(0, 2, 1)) for seen in (image, error)]  # (27)
    r = np.concatenate([patch.reshape(batch, -1) for patch in patches], axis=-1)  # (4)

    encoder = run("encoder", np.concatenate([r, h_dec], axis=-1), encoder)  # (5)
    mean, log_deviation = np.split(linear("latent", encoder[0]), 2, axis=-1)  # (1), (2)
    deviation = np.exp(log_deviation)
    z = mean + deviation * eps  # (6), with as many latents as x has features
    kl = np.sum(0.5 * (mean**2 + deviation**2 - np.log(deviation**2) - 1.0), axis=-1, keepdims=True)  # (11)

    decoder = run("decoder", z, decoder)  # (7)
    written = linear("write", decoder[0])  # (18), (28)
    if write_size is not None:
        F_X, F_Y, gamma = window(linear("write_window", decoder[0]), write_size, rows, columns)
        patch = written.reshape(batch, write_size, write_size)
        written = (F_Y.transpose(0, 2, 1) @ patch @ F_X / gamma).reshape(batch, -1)  # (29)
    return c + written, divergence + kl, *decoder, *encoder  # (8)
