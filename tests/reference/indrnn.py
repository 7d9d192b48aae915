"""IndRNN: each unit sees, of the last state, only its own value, through one recurrent weight.

[L18] Li, Li, Cook, Zhu & Gao, Independently Recurrent Neural Network (IndRNN): Building A Longer and Deeper RNN,
CVPR 2018, https://arxiv.org/abs/1803.04831: eq. (1) the plain RNN, (2) the IndRNN.
The equations' own text could not be had. Confirmed: the right side of (1), from an excerpt of the authors' later
paper (https://staging.scite.ai/authors/ce-zhu-9Oav02), and, in its abstract there, that the recurrent connection
becomes a Hadamard product. Equation (2) as a formula and both numbers are from memory.
Not fixed by the paper: sigma, which it leaves open; here relu, the one its experiments use (from memory).
Left out: the bound on |u| (that is training's), batch normalization, residual and stacked forms.
"""

import numpy as np

CASES = [{}, {"use_bias": False}]


def sigma(a):
    return np.where(a > 0.0, a, 0.0)  # relu


def step(weights, x, states, use_bias=True):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    W = np.asarray(weights["kernel"], np.float64)
    u = np.asarray(weights["recurrent_kernel"], np.float64)  # a vector, one weight a unit
    b = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(h.shape[-1])
    h = sigma(x @ W + u * h + b)  # L18 (2)
    return (h,)
