"""DRAW's attention without its drawing: a recurrent network that reads an image glimpse by glimpse, to classify it.

[G15] Gregor et al., DRAW: A Recurrent Neural Network For Image Generation, ICML 2015, https://arxiv.org/abs/1502.04623,
section 4.1, which reads as in section 3: (19), (20) places of the filters, (21) parameters, (22), (23) centre, (24)
stride, (25), (26) filter banks, (27) read, of the image alone.
Only the first page could be had: the equations are from a reader's transcription of section 3, their numbers, but for
(25) and (26), from memory; section 4.1 has not been read, so that all that is said of it is this project's own choice.
Letters: the paper's image has A columns and B rows, its X runs along the columns: F_X is N by A, F_Y is N by B. Places
i, a and j, b count from 1, so that a window in the middle, g~ = 0, sits at (A + 1) / 2.
Open: the window comes from h_(t-1) by a linear layer, as in DRAW from h_dec_(t-1); with zeros as first state, the first
one is that of the bias. The stride (24) of a window of one filter, 0 / 0; it acts on nothing.
Not as in the paper: Z is at least 1e-8, so that a filter far outside of the image reads nothing; GRUs, too; an input x
beside the image, which stands after the glimpse; use_bias=False leaves out all biases. The classifier is outside of the
step.
"""

import numpy as np

SMALL = {"rows": 4, "columns": 6, "read_size": 2}
CASES = [SMALL | case for case in ({}, {"cell": "gru", "read_size": 3}, {"use_bias": False})]
FIXED = set()
TINY = 1e-8


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


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


def step(weights, x, states, rows, columns, read_size, cell="lstm", use_bias=True, *, memory):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, image, *inner = (np.asarray(a, np.float64) for a in (x, memory, *states))
    if any(name.endswith("bias") for name in w) != use_bias or image.shape[1:] != (rows, columns):
        raise ValueError((sorted(w), image.shape))
    b, read_b = (w["bias"], w["read_bias"]) if use_bias else (0.0, 0.0)
    F_X, F_Y, gamma = window(inner[0] @ w["read_kernel"] + read_b, read_size, rows, columns)
    glimpse = gamma * (F_Y @ image @ F_X.transpose(0, 2, 1))  # (27)
    u = np.concatenate([glimpse.reshape(len(x), -1), x], axis=-1)
    return tuple(recur(cell, u, inner, w["kernel"], w["recurrent_kernel"], b))
