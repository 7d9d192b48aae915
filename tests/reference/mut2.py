"""MUT2, a cell found by search over mutated GRUs and LSTMs, of

Jozefowicz, Zaremba & Sutskever, An Empirical Exploration of Recurrent Network Architectures, ICML 2015,
https://proceedings.mlr.press/v37/jozefowicz15.html: the three lines under MUT2, which have no numbers.
The paper itself could not be had; the lines are from memory of it and agree with a reader's summary (in Korean, in a
public repository) that writes them out. z, r and the new h, as in the paper: h_{t+1} comes from x_t and h_t, and z
weighs the candidate, 1 - z the old h.
Not as in the paper: its r takes x_t itself, here x_t W_xr, which asks for no equal sizes.
"""

import numpy as np

CASES = [{}, {"use_bias": False}]


def sigm(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, use_bias=True):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    W_xz, W_xr, W_xh = np.split(np.asarray(weights["kernel"], np.float64), 3, axis=-1)  # order z, r, h
    W_hz, W_hr, W_hh = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 3, axis=-1)
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(3 * h.shape[-1])
    b_z, b_r, b_h = np.split(bias, 3)
    z = sigm(x @ W_xz + h @ W_hz + b_z)
    r = sigm(x @ W_xr + h @ W_hr + b_r)
    h = np.tanh((r * h) @ W_hh + x @ W_xh + b_h) * z + h * (1.0 - z)
    return (h,)
