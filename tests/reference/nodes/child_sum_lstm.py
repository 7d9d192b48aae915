"""Child-sum Tree-LSTM: an LSTM whose predecessors are any number of children, in no order, each with a forget gate.

[T15] Tai, Socher & Manning, Improved Semantic Representations From Tree-Structured Long Short-Term Memory Networks, ACL
2015, https://arxiv.org/abs/1503.00075, section 3.1: (2) the sum of the children's h, (3) i, (4) f of each child, (5) o,
(6) the candidate u, g here, (7) c, (8) h. Only the abstract and the introduction of the paper could be had: the
equations are from two readers' transcriptions, which agree; their numbers are from memory.
Open: nothing. A leaf has an empty sum.
Not as in the paper: the order i, f, g, o of the blocks; use_bias=False (b = 0).
"""

import numpy as np

CASES = [{}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, children, present, use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, h_k, c_k = (np.asarray(a, np.float64) for a in (x, *children))
    there = np.asarray(present, bool)[:, :, None]
    h_k, c_k = np.where(there, h_k, 0.0), np.where(there, c_k, 0.0)
    W_i, W_f, W_g, W_o = np.split(w["kernel"], 4, axis=-1)
    U_i, U_f, U_g, U_o = np.split(w["recurrent_kernel"], 4, axis=-1)
    b_i, b_f, b_g, b_o = np.split(w["bias"] if use_bias else np.zeros(w["kernel"].shape[-1]), 4)
    h_sum = h_k.sum(axis=1)  # (2)
    i = sigma(x @ W_i + h_sum @ U_i + b_i)  # (3)
    f = sigma((x @ W_f)[:, None] + h_k @ U_f + b_f)  # (4)
    o = sigma(x @ W_o + h_sum @ U_o + b_o)  # (5)
    g = np.tanh(x @ W_g + h_sum @ U_g + b_g)  # (6)
    c = i * g + np.sum(f * c_k, axis=1)  # (7)
    return o * np.tanh(c), c  # (8)


def tree(weights, x, children, **arguments):
    size = np.shape(weights["recurrent_kernel"])[0]
    h, c = np.zeros((len(x), size)), np.zeros((len(x), size))
    for node, parts in enumerate(children):
        parts = np.asarray(parts, int)
        present = np.ones((1, len(parts)), bool)
        of_node = slice(node, node + 1)
        h[of_node], c[of_node] = step(weights, x[of_node], (h[None, parts], c[None, parts]), present, **arguments)
    return h, c
