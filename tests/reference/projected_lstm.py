"""LSTM with peepholes and a recurrent projection layer (LSTMP) of

Sak, Senior & Beaufays, Long Short-Term Memory Based Recurrent Neural Network Architectures for Large Vocabulary Speech
Recognition, arXiv 2014, https://arxiv.org/abs/1402.1128; also, under the title Long Short-Term Memory Recurrent Neural
Network Architectures for Large Scale Acoustic Modeling, Interspeech 2014.
Of the text only the beginning could be had. The equations are taken from two readers' notes that agree on them (a
Korean review of 2022 that follows the arXiv text section by section; xmucas's on CSDN, 2016). The numbers 7 to 14 are
counted off in the notes' order from https://tutorialexample.com/?p=4289, by which 7 to 11 repeat 1 to 5.
Letters: i, f, o gates, c cell, m cell output, r recurrent projection, W, b weights, g cell input and h cell output
activation, both tanh in the paper's experiments. The peepholes W_ic, W_fc, W_oc are diagonal: the paper counts 3 n_c
weights for them. The projection is linear and has no bias. The output r is what feeds back into the cell.
Left out: the optional non-recurrent projection p (13) and the network's output y (14), neither of which feeds back.
Open: the size of r, which the experiments vary. peepholes=False and use_bias=False (b = 0) are not the paper's.
"""

import numpy as np

CASES = [{}, {"projection_units": 5}, {"peepholes": False}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, projection_units=None, peepholes=True, use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, r, c = (np.asarray(a, np.float64) for a in (x, *states))
    n = c.shape[-1]
    n_r = max(n // 2, 1) if projection_units is None else projection_units
    W_rm = w["projection_kernel"]
    if W_rm.shape != (n, n_r):
        raise ValueError(W_rm.shape)
    W_ix, W_fx, W_cx, W_ox = np.split(w["kernel"], 4, axis=-1)  # order i, f, g, o
    W_ir, W_fr, W_cr, W_or = np.split(w["recurrent_kernel"], 4, axis=-1)
    W_ic, W_fc, W_oc = w["peephole_kernel"] if peepholes else np.zeros((3, n))  # rows i, f, o
    b_i, b_f, b_c, b_o = np.split(w["bias"] if use_bias else np.zeros(4 * n), 4)
    i = sigma(x @ W_ix + r @ W_ir + W_ic * c + b_i)  # 7, c of the step before
    f = sigma(x @ W_fx + r @ W_fr + W_fc * c + b_f)  # 8, c of the step before
    c = f * c + i * np.tanh(x @ W_cx + r @ W_cr + b_c)  # 9, g = tanh
    o = sigma(x @ W_ox + r @ W_or + W_oc * c + b_o)  # 10, c of this step
    m = o * np.tanh(c)  # 11, h = tanh
    r = m @ W_rm  # 12
    return r, c
