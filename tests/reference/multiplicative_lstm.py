"""Multiplicative LSTM: an LSTM whose gates and candidate see m, an input-dependent product, in place of the last h.

Krause, Lu, Murray & Renals, Multiplicative LSTM for sequence modelling, arXiv 2016, ICLR 2017 workshop,
https://arxiv.org/abs/1609.07959. The text could not be had. m, h-hat, the gates and c are from memory and agree with
https://github.com/MartinuzziFrancesco/RecurrentLayers.jl/issues/120, which writes them out. The output is (16) of the
2017 workshop version as quoted in https://github.com/tam17aki/multiplicative-lstm-tensorflow/issues/3: the output
gate acts inside the tanh, tanh(c o), which the paper calls unlike the usual LSTM. Issue 120, which cites the latest
arXiv text, has tanh(c) o instead: the versions of the paper seem to differ: gate_first=True follows the earlier one.
Not as in the paper: it writes no biases; here h-hat and the gates have them and m has none. m has as many units as h.
"""

import numpy as np

CASES = [{}, {"use_bias": False}, {"gate_first": True}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, gate_first=False, use_bias=True):
    x, h, c = (np.asarray(a, np.float64) for a in (x, *states))
    W_mx = np.asarray(weights["multiplicative_kernel"], np.float64)
    W_mh = np.asarray(weights["multiplicative_recurrent_kernel"], np.float64)
    W_ix, W_fx, W_hx, W_ox = np.split(np.asarray(weights["kernel"], np.float64), 4, axis=-1)  # order i, f, g, o
    W_im, W_fm, W_hm, W_om = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 4, axis=-1)
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(4 * c.shape[-1])
    b_i, b_f, b_h, b_o = np.split(bias, 4)
    m = (x @ W_mx) * (h @ W_mh)
    h_hat = x @ W_hx + m @ W_hm + b_h
    i = sigma(x @ W_ix + m @ W_im + b_i)
    f = sigma(x @ W_fx + m @ W_fm + b_f)
    o = sigma(x @ W_ox + m @ W_om + b_o)
    c = f * c + i * np.tanh(h_hat)
    h = np.tanh(c * o) if gate_first else np.tanh(c) * o  # (16), or the later text
    return h, c
