"""N-ary Tree-LSTM: an LSTM whose predecessors are at most N children in an order, each with weights of its own.

[T15] Tai, Socher & Manning, Improved Semantic Representations From Tree-Structured Long Short-Term Memory Networks, ACL
2015, https://arxiv.org/abs/1503.00075, section 3.2: (9) i, (10) f of each child, from all children, (11) o, (12) the
candidate u, g here, (13) c, (14) h. Only the abstract and the introduction of the paper could be had: the equations are
from two readers' transcriptions, which agree, and a third, whose (10) has b^(i) in place of b^(f); their numbers are
from memory.
Open: nothing. A child that is missing adds nothing to any sum.
Not as in the paper: the order i, f_1 .. f_N, g, o of the blocks; use_bias=False (b = 0). All f_k share W^(f) and b^(f),
as in the paper.
"""

import numpy as np

CASES = [{}, {"arity": 3}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, children, present, arity=2, use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, h_l, c_l = (np.asarray(a, np.float64) for a in (x, *children))
    there = np.asarray(present, bool)[:, :, None]
    h_l, c_l = np.where(there, h_l, 0.0), np.where(there, c_l, 0.0)
    if h_l.shape[1] != arity:
        raise ValueError(h_l.shape)
    W_i, W_f, W_g, W_o = np.split(w["kernel"], 4, axis=-1)
    b_i, b_f, b_g, b_o = np.split(w["bias"] if use_bias else np.zeros(w["kernel"].shape[-1]), 4)
    # U[k] of child k; in it the blocks of i, f_1 .. f_N, g, o
    U = [np.split(rows, 3 + arity, axis=-1) for rows in np.split(w["recurrent_kernel"], arity, axis=0)]

    def of_children(block):
        return sum(h_l[:, k] @ U[k][block] for k in range(arity))

    i = sigma(x @ W_i + of_children(0) + b_i)  # (9)
    f = [sigma(x @ W_f + of_children(1 + k) + b_f) for k in range(arity)]  # (10)
    g = np.tanh(x @ W_g + of_children(1 + arity) + b_g)  # (12)
    o = sigma(x @ W_o + of_children(2 + arity) + b_o)  # (11)
    c = i * g + sum(f[k] * c_l[:, k] for k in range(arity))  # (13)
    return o * np.tanh(c), c  # (14)


def tree(weights, x, children, arity=2, **arguments):
    size = np.shape(weights["recurrent_kernel"])[0] // arity
    h, c = np.zeros((len(x), size)), np.zeros((len(x), size))
    for node, parts in enumerate(children):
        parts = np.asarray(parts, int)
        slots = np.zeros((2, 1, arity, size))
        slots[0, 0, : len(parts)], slots[1, 0, : len(parts)] = h[parts], c[parts]
        present = np.arange(arity)[None] < len(parts)
        of_node = slice(node, node + 1)
        h[of_node], c[of_node] = step(weights, x[of_node], tuple(slots), present, arity=arity, **arguments)
    return h, c
