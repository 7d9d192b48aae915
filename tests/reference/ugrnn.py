"""UGRNN: update gate RNN, a plain recurrent unit whose one gate g keeps the old state.

[CSS17] Collins, Sohl-Dickstein & Sussillo, Capacity and Trainability in Recurrent Neural Networks, ICLR 2017,
https://arxiv.org/abs/1611.09913, the section that lists the architectures. The paper's text could not be had, so no
equation numbers are given: the lines are from memory of the paper. Second-hand, the three formulas in the documentation
of torchrecurrent's UGRNN (https://github.com/MartinuzziFrancesco/torchrecurrent) agree, g keeping the old state.
Not fixed by the paper: its nonlinearity s, tanh or relu from memory; here tanh.
Not as in the paper: no constant is added to the bias of g inside the step (an initial value can do that).
"""

import numpy as np

CASES = [{}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, use_bias=True):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    W_gx, W_cx = np.split(np.asarray(weights["kernel"], np.float64), 2, axis=-1)  # order g, c
    W_gh, W_ch = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 2, axis=-1)
    b_g, b_c = np.split(np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(2 * h.shape[-1]), 2)
    c = np.tanh(h @ W_ch + x @ W_cx + b_c)  # CSS17, s = tanh
    g = sigma(h @ W_gh + x @ W_gx + b_g)  # CSS17
    h = g * h + (1.0 - g) * c  # CSS17
    return (h,)
