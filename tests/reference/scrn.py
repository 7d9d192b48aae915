"""Structurally constrained recurrent network (SCRN): fast hidden units h and slowly changing context units s.

Mikolov, Joulin, Chopra, Mathieu & Ranzato, Learning Longer Memory in Recurrent Neural Networks, ICLR 2015 workshop,
https://arxiv.org/abs/1412.7753. Of the text only the opening could be had. The equations, with the paper's letters, are
from theanets' manual (layers.recurrent.SCRN, which cites pages 4 and 5) and faster-rnnlm's scrn_layer.h (the latter
with a slip of sign before s_(t-1)); their numbers could not be had:
    s_t = (1 - alpha) B x_t + alpha s_(t-1),  h_t = sigma(P s_t + A x_t + R h_(t-1)),  y_t = f(U h_t + V s_t),
sigma the logistic function, y_t the output layer, which is not part of the cell: hence the output [h, s] here.
h reads the new s_t. The authors' program (SCRNNs, mfactory.lua) says so in its comment, but its graph reads s_(t-1).
alpha is 0.95 and fixed in the program (weights 0.95 I and scale 0.05, not trained). An alpha for each unit, learned
through a logistic function (theanets' rate), is left out here.
Not the paper's: the bias on h, so use_bias=False is the paper.
"""

import numpy as np

CASES = [{}, {"context_units": 2}, {"alpha": 0.5}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, context_units=None, alpha=0.95, use_bias=True):
    x, y = (np.asarray(a, np.float64) for a in (x, *states))  # y = [h, s]
    kernel, recurrent = (np.asarray(weights[name], np.float64) for name in ("kernel", "recurrent_kernel"))
    n = recurrent.shape[-1]
    m = max(n // 2, 1) if context_units is None else context_units
    if y.shape[-1] != n + m:
        raise ValueError((y.shape, n, m))
    A, B = kernel[:, :n], kernel[:, n:]
    R, P = recurrent[:n], recurrent[n:]
    b = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(n)
    h, s = y[:, :n], y[:, n:]
    s = (1.0 - alpha) * (x @ B) + alpha * s  # context s_t
    h = sigma(s @ P + x @ A + h @ R + b)  # hidden h_t, reads s_t
    return (np.concatenate([h, s], axis=-1),)
