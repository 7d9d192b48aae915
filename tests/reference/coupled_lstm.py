"""LSTM with coupled input and forget gate, the variant CIFG of

Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber, LSTM: A Search Space Odyssey, arXiv 2015 and IEEE TNNLS 28(10),
2017, https://arxiv.org/abs/1503.04069: the forward pass of the vanilla LSTM (section II) with the variant's f = 1 - i.
The text could not be had; the equations are from memory of it and are cited by the unit they define, since no number
could be checked. That the coupling is f = 1 - i is also in readers' notes on the paper.
Letters: z block input, i and o gates, c cell, y block output, p peepholes, g = h = tanh.
Not as in the paper: peepholes=False, the default, leaves out p_i and p_o, which the paper's CIFG has.
"""

import numpy as np

CASES = [{}, {"use_bias": False}, {"peepholes": True}, {"peepholes": True, "use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, peepholes=False, use_bias=True):
    x, y, c = (np.asarray(a, np.float64) for a in (x, *states))  # y is h
    n = c.shape[-1]
    W_i, W_z, W_o = np.split(np.asarray(weights["kernel"], np.float64), 3, axis=-1)  # order i, g, o
    R_i, R_z, R_o = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 3, axis=-1)
    p_i, p_o = np.asarray(weights["peephole_kernel"], np.float64) if peepholes else np.zeros((2, n))
    b_i, b_z, b_o = np.split(np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(3 * n), 3)
    z = np.tanh(x @ W_z + y @ R_z + b_z)  # block input
    i = sigma(x @ W_i + y @ R_i + p_i * c + b_i)  # input gate, c of the step before
    f = 1.0 - i  # CIFG
    c = z * i + c * f  # cell
    o = sigma(x @ W_o + y @ R_o + p_o * c + b_o)  # output gate, c of this step
    y = np.tanh(c) * o  # block output
    return y, c
