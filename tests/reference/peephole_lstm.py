"""LSTM with forget gate and peepholes, one cell per block, so that each gate sees its own cell only (diagonal weights).

[GS00] Gers & Schmidhuber, Recurrent Nets that Time and Count, IJCNN 2000, doi:10.1109/IJCNN.2000.861302.
[GSS02] Gers, Schraudolph & Schmidhuber, Learning Precise Timing with LSTM Recurrent Networks, JMLR 3, 2002,
https://www.jmlr.org/papers/v3/gers02a.html. Neither text could be had. GSS02 is taken from ProFatXuanAll's notes on it
(https://github.com/ProFatXuanAll/ProFatXuanAll.github.io, post learning-precise-timing-with-lstm-recurrent-networks),
and the numbers N1 to N14 below are the notes', not the paper's. GS00 is from memory and cited for nothing else.
Order of a step: in and phi with the old s_c (N13), s_c (N2), out with the new s_c (N14), y^c.
Not as in the papers: g = h = tanh. GSS02 leaves h out, y^c = y^out s_c (N4), and has g from -2 to 2 (the identity in
its experiments). No gate feeds a net input.
"""

import numpy as np

CASES = [{}, {"use_bias": False}, {"output_activation": "linear"}]


def f(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, output_activation=None, use_bias=True):
    x, y_c, s_c = (np.asarray(a, np.float64) for a in (x, *states))  # y_c is h, s_c is c
    W_in, W_phi, W_c, W_out = np.split(np.asarray(weights["kernel"], np.float64), 4, axis=-1)  # order i, f, g, o
    U_in, U_phi, U_c, U_out = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 4, axis=-1)
    p_in, p_phi, p_out = np.asarray(weights["peephole_kernel"], np.float64)  # rows i, f, o
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(4 * s_c.shape[-1])
    b_in, b_phi, b_c, b_out = np.split(bias, 4)
    y_in = f(x @ W_in + y_c @ U_in + p_in * s_c + b_in)  # N13, s_c of the step before
    y_phi = f(x @ W_phi + y_c @ U_phi + p_phi * s_c + b_phi)  # N13, s_c of the step before
    net_c = x @ W_c + y_c @ U_c + b_c  # N2, no peephole
    s_c = y_phi * s_c + y_in * np.tanh(net_c)  # N2
    y_out = f(x @ W_out + y_c @ U_out + p_out * s_c + b_out)  # N14, s_c of this step
    y_c = y_out * (s_c if output_activation == "linear" else np.tanh(s_c))  # N4, N3
    return y_c, s_c
