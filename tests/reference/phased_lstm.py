"""Phased LSTM: an LSTM with peepholes whose units are updated while a time gate k, an oscillation of time, is open.

Neil, Pfeiffer & Liu, Phased LSTM: Accelerating Recurrent Network Training for Long or Event-based Sequences,
NIPS 2016, https://arxiv.org/abs/1610.09513. Of the text only the opening could be had. The equations are from
RecurrentLayers.jl issue 98 and the authors' program (dannyneil/public_plstm, plstm.py). Numbers: (4) and (8) as cited
in Enny1991/PLSTM issue 1, the others counted from there: (1) to (5) i, f, c, o, h of the LSTM, then (6) to (10).
Where the sources differ: h~ in (9) is of the proposed c~ (program; PLSTM issue 1 and a reader's notes, both on the
paper), not of c (issue 98). The peephole in (4) is on c_t: on c~ in the program and here, while one reader takes the
c of (8). phi has t - s (issue 98), t + s in the program. mod is never negative, as in the program (Theano's; its
PyTorch successor takes the sign of t + s). Issue 98 has < on both sides of phi = r_on / 2, the program <=, as here.
The reference is of inference: leak alpha = 0 (0.001 in training). sigma_c = sigma_h = tanh, the program's.
Not the paper's: tau = exp(log_period), r_on fixed where it can be learned, the step count from 0 as the time unless
timestamps=True (the program's advice for inputs without stamps), use_bias=False.
"""

import numpy as np

CASES = [
    {"open_ratio": 0.4},
    {},
    {"open_ratio": 0.4, "timestamps": True},
    {"open_ratio": 0.4, "use_bias": False},
]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, open_ratio=0.05, timestamps=False, use_bias=True):
    x, h, c, *t = (np.asarray(a, np.float64) for a in (x, *states))
    time = x[:, -1:] if timestamps else t[0]
    x = x[:, :-1] if timestamps else x
    W_xi, W_xf, W_xc, W_xo = np.split(np.asarray(weights["kernel"], np.float64), 4, axis=-1)  # order i, f, g, o
    W_hi, W_hf, W_hc, W_ho = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 4, axis=-1)
    w_ci, w_cf, w_co = np.asarray(weights["peephole_kernel"], np.float64)  # rows i, f, o
    b_i, b_f, b_c, b_o = np.split(np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(4 * c.shape[-1]), 4)
    tau, s = np.exp(np.asarray(weights["log_period"], np.float64)), np.asarray(weights["phase"], np.float64)
    r_on, alpha = open_ratio, 0.0
    phi = np.mod(time - s, tau) / tau  # (6), phase in the cycle
    falling = np.where(phi < r_on, 2 - 2 * phi / r_on, alpha * phi)  # (6), closing, then closed
    k = np.where(phi <= r_on / 2, 2 * phi / r_on, falling)  # (6), time gate
    i = sigma(x @ W_xi + h @ W_hi + w_ci * c + b_i)  # (1), old c
    f = sigma(x @ W_xf + h @ W_hf + w_cf * c + b_f)  # (2), old c
    c_new = f * c + i * np.tanh(x @ W_xc + h @ W_hc + b_c)  # (7), proposed c~
    o = sigma(x @ W_xo + h @ W_ho + w_co * c_new + b_o)  # (4), c~
    h_new = o * np.tanh(c_new)  # (9), proposed h~
    c = k * c_new + (1 - k) * c  # (8)
    h = k * h_new + (1 - k) * h  # (10)
    return (h, c) if timestamps else (h, c, time + 1.0)
