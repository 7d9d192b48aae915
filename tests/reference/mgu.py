"""MGU: minimal gated unit, one gate f that both resets the old state and takes in the new one.

[Z16] Zhou, Wu, Zhang & Zhou, Minimal Gated Unit for Recurrent Neural Networks, Int. J. Automation and Computing 13(3),
2016, doi:10.1007/s11633-016-1006-2, https://arxiv.org/abs/1603.09420. The equations' own text could not be had, so no
numbers are given. Its words on the step are quoted at https://github.com/google/flax/issues/4608: (1 - f) of the old
state is kept, f times the old state meets x in the candidate, f of the candidate is added. The same formulas stand in
the documentation of brainstate's MGUCell; sigma and tanh and the biases are from memory of the paper.
Note the sense of f: although called a forget gate, a large f drops the old state (the reverse of LSTM's, and of z in
the GRU of Cho et al. 2014).
Not as in the paper: it writes one matrix on [h, x] side by side; here W acts on x and U on h, which is the same.
"""

import numpy as np

CASES = [{}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, use_bias=True):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    W_f, W_h = np.split(np.asarray(weights["kernel"], np.float64), 2, axis=-1)  # order f, h
    U_f, U_h = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 2, axis=-1)
    b_f, b_h = np.split(np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(2 * h.shape[-1]), 2)
    f = sigma(h @ U_f + x @ W_f + b_f)  # Z16, the gate
    h_tilde = np.tanh((f * h) @ U_h + x @ W_h + b_h)  # Z16, the short-term response
    h = (1.0 - f) * h + f * h_tilde  # Z16, the new state
    return (h,)
