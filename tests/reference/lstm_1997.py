"""LSTM as first published: input and output gate, no forget gate, no peepholes, one cell per block.

[HS97] Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, doi:10.1162/neco.1997.9.8.1735, appendix A.1: eq. (3)
logistic f in [0, 1]; (4) h in [-1, 1]; (5) g in [-2, 2]; (7), (8), (9) net inputs of in, out, c, with (unnumbered
lines of the same displays) their activations, s_c and y^c. Read in a transcript of the paper kept in a public
repository, whose numbers these are; the journal's typesetting may number otherwise.
Not as in the paper: the current x, not the last one, enters the net inputs; no gate feeds a net input, so the units u
summed over are x(t), y^c(t-1) and a constant 1 (the bias); the arguments put tanh for g and h.
"""

import numpy as np

CASES = [{}, {"use_bias": False}, {"activation": "tanh", "output_activation": "tanh"}]


def f(a):
    return np.exp(-np.logaddexp(0.0, -a))  # (3), 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, activation=None, output_activation=None, use_bias=True):
    def h(a):
        return np.tanh(a) if output_activation == "tanh" else 2.0 * f(a) - 1.0  # (4)

    def g(a):
        return np.tanh(a) if activation == "tanh" else 4.0 * f(a) - 2.0  # (5)

    x, y_c, s_c = (np.asarray(a, np.float64) for a in (x, *states))  # y_c is the output, s_c is c
    W_in, W_c, W_out = np.split(np.asarray(weights["kernel"], np.float64), 3, axis=-1)  # order i, g, o
    U_in, U_c, U_out = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 3, axis=-1)
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(3 * s_c.shape[-1])
    b_in, b_c, b_out = np.split(bias, 3)
    y_in = f(x @ W_in + y_c @ U_in + b_in)  # (7)
    y_out = f(x @ W_out + y_c @ U_out + b_out)  # (8)
    net_c = x @ W_c + y_c @ U_c + b_c  # (9)
    s_c = s_c + y_in * g(net_c)  # (9), second line
    y_c = y_out * h(s_c)  # (9), third line
    return y_c, s_c
