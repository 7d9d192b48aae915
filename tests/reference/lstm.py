"""LSTM with forget gate, no peepholes, one cell per block.

[HS97] Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, doi:10.1162/neco.1997.9.8.1735, appendix A.1: eq. (3)
logistic f; (7), (8), (9) net inputs of in, out, c, with (unnumbered, below each) their activations, s_c and y^c.
Read in a transcript of the authors' own copy, whose numbers these are; the journal's typesetting may number otherwise.
[GSC00] Gers, Schmidhuber & Cummins, Neural Computation 12(10), 2000, doi:10.1162/089976600300015015: eq. (3.1) forget
gate phi, (3.2) s_c with it. The text could not be had; equations and numbers are from ProFatXuanAll's notes on it
(https://github.com/ProFatXuanAll/ProFatXuanAll.github.io, post learning-to-forget-continual-prediction-with-lstm).
Not as in the papers: g = h = tanh instead of HS97 (5), (4); the current x, not the last one, enters the net inputs;
no gate feeds a net input, so the units u summed over are x(t), y^c(t-1) and a constant 1 (the bias).
"""

import numpy as np

CASES = [{}, {"use_bias": False}]


def f(a):
    return np.exp(-np.logaddexp(0.0, -a))  # HS97 (3), 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, use_bias=True):
    x, y_c, s_c = (np.asarray(a, np.float64) for a in (x, *states))  # y_c is h, s_c is c
    W_in, W_phi, W_c, W_out = np.split(np.asarray(weights["kernel"], np.float64), 4, axis=-1)  # order i, f, g, o
    U_in, U_phi, U_c, U_out = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 4, axis=-1)
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(4 * s_c.shape[-1])
    b_in, b_phi, b_c, b_out = np.split(bias, 4)
    y_in = f(x @ W_in + y_c @ U_in + b_in)  # HS97 (7)
    y_phi = f(x @ W_phi + y_c @ U_phi + b_phi)  # GSC00 (3.1)
    y_out = f(x @ W_out + y_c @ U_out + b_out)  # HS97 (8)
    net_c = x @ W_c + y_c @ U_c + b_c  # HS97 (9)
    s_c = y_phi * s_c + y_in * np.tanh(net_c)  # GSC00 (3.2)
    y_c = y_out * np.tanh(s_c)  # HS97, last line under (9)
    return y_c, s_c
