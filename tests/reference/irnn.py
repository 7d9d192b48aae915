"""IRNN: the plain recurrent network with rectified linear units (and, at the start, U = identity and b = 0).

[LJH15] Le, Jaitly & Hinton, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units, 2015,
https://arxiv.org/abs/1504.00941. Only the opening of the text could be had
(https://ar5iv.labs.arxiv.org/html/1504.00941): rectified linear units, recurrent matrix started at the identity or a
multiple of it. Biases started at 0: from a summary (https://sh-tsang.medium.com, "Brief Review - A Simple Way to
Initialize Recurrent Networks of Rectified Linear Units"). As far as known the paper prints no numbered equation for
the step; the line below is the standard recurrence that it starts from, so its letters are not the paper's.
What makes it an IRNN is the initial value of the weights, which a step from given weights cannot show.
"""

import numpy as np

CASES = [{}, {"use_bias": False}]


def relu(a):
    return np.where(a > 0.0, a, 0.0)


def step(weights, x, states, use_bias=True):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    W, U = (np.asarray(weights[k], np.float64) for k in ("kernel", "recurrent_kernel"))
    b = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(h.shape[-1])
    h = relu(x @ W + h @ U + b)  # LJH15, in words only
    return (h,)
