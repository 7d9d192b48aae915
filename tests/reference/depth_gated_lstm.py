"""Depth-gated LSTM of

Yao, Cohn, Vylomova, Duh & Dyer, Depth-Gated LSTM, arXiv 2015, https://arxiv.org/abs/1508.03790.
Only the abstract could be had: the depth gate sees the lower layer's memory cell, the layer's input and the layer's
past memory cell, so no h. The form of d and of c is read off the DGLSTM builder of the authors' workshop team
(https://github.com/ws15mt/cnn and https://github.com/clab/dynet, cnn/dglstm.cc); no number could be checked, and the
equations are cited by the unit they define. Letters, from memory of the paper, superscript the layer: i, f, o gates,
d depth gate, c memory cell, W_x., W_h. matrices, w_c., w_ld diagonal weights, b biases; g is ours, for the tanh term.
Order of a step: layers from below; i, f and d with the old c of their layer, d and c with the lower layer's new c,
o with the new c.
Not as in that builder: it has a depth gate in layer 1 too, which lets a matrix times x into c (left out here, so that
layer 1 is a peephole LSTM; whether the paper has it is open), f = 1 - i unless compiled otherwise, full matrices for
the peepholes of i, f, o, and a learned scale on each layer's input. use_bias=False (b = 0) is not the paper's.
"""

import numpy as np

CASES = [{}, {"depth": 3}, {"depth": 1}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, depth=2, use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, *states = (np.asarray(a, np.float64) for a in (x, *states))
    n = states[0].shape[-1]
    new, c_below = (), None  # layer 1 has no lower layer
    for L in range(1, depth + 1):
        blocks = 4 if L == 1 else 5  # order i, f, g, o and above layer 1 also d
        h, c = states[2 * (depth - L) : 2 * (depth - L) + 2]  # top layer first
        W_xi, W_xf, W_xg, W_xo, *W_xd = np.split(w[f"kernel_{L}"], blocks, axis=-1)
        W_hi, W_hf, W_hg, W_ho = np.split(w[f"recurrent_kernel_{L}"], 4, axis=-1)
        w_ci, w_cf, w_co, *w_d = w[f"peephole_kernel_{L}"]  # rows i, f, o and above layer 1 also w_cd, w_ld
        b_i, b_f, b_g, b_o, *b_d = np.split(w[f"bias_{L}"] if use_bias else np.zeros(blocks * n), blocks)
        i = sigma(x @ W_xi + h @ W_hi + w_ci * c + b_i)  # input gate, old c
        f = sigma(x @ W_xf + h @ W_hf + w_cf * c + b_f)  # forget gate, old c
        g = np.tanh(x @ W_xg + h @ W_hg + b_g)  # tanh term of c
        if L == 1:
            c = f * c + i * g  # memory cell of layer 1
        else:
            w_cd, w_ld = w_d
            d = sigma(x @ W_xd[0] + w_cd * c + w_ld * c_below + b_d[0])  # depth gate, own old c, lower layer's new c
            c = d * c_below + f * c + i * g  # memory cell above layer 1
        o = sigma(x @ W_xo + h @ W_ho + w_co * c + b_o)  # output gate, new c
        h = o * np.tanh(c)  # output
        new = (h, c, *new)
        x, c_below = h, c  # x^(L+1) = h^L
    return new
