"""Recurrent highway layer of

Zilly, Srivastava, Koutnik & Schmidhuber, Recurrent Highway Networks, ICML 2017, https://arxiv.org/abs/1607.03474.
Of the text only the beginning could be had. The equations, which readers' code numbers 6 to 9 in all (labml's RHN
page), are taken from the documentation of RecurrentLayers.jl
(https://martinuzzifrancesco.github.io/RecurrentLayers.jl/stable/api/cells/rhncell) and agree, for coupled gates, with
the authors' code (https://github.com/jzilly/RecurrentHighwayNetworks, rhn.py, theano_rhn.py, brainstorm_rhn.py); which
number is whose could not be checked, so they are cited by the unit they define. Uncoupled gates are in none of these
three files and rest on that documentation alone.
Letters: x input, s_l state after micro-step l, h, t, c transformed state, transform and carry gate, W_. input,
R_. recurrent weights, b_. biases. x enters in the first micro-step only; the output is s_L; the next time step
starts from it.
use_bias=False (b = 0) is not the paper's. The authors' dropout masks on x and s are left out.
"""

import numpy as np

CASES = [{}, {"depth": 1}, {"depth": 3, "coupled": False}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, depth=2, coupled=True, use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, s = (np.asarray(a, np.float64) for a in (x, *states))  # s_0 = s_L of the step before
    n, blocks = s.shape[-1], 2 if coupled else 3  # order h, t and with coupled=False also c
    W_H, W_T, *W_C = np.split(w["kernel"], blocks, axis=-1)
    for ell in range(1, depth + 1):
        R_H, R_T, *R_C = np.split(w[f"recurrent_kernel_{ell}"], blocks, axis=-1)
        b_H, b_T, *b_C = np.split(w[f"bias_{ell}"] if use_bias else np.zeros(blocks * n), blocks)
        first = 1.0 if ell == 1 else 0.0  # indicator of l = 1
        h = np.tanh(first * (x @ W_H) + s @ R_H + b_H)  # transformed state
        t = sigma(first * (x @ W_T) + s @ R_T + b_T)  # transform gate
        c = 1.0 - t if coupled else sigma(first * (x @ W_C[0]) + s @ R_C[0] + b_C[0])  # carry gate
        s = h * t + s * c  # state
    return (s,)
