"""Attentive decoder: a recurrent cell that at each step looks up a weighted mean, c, of a memory of encoder outputs.

[B14] Bahdanau, Cho & Bengio, Neural Machine Translation by Jointly Learning to Align and Translate, arXiv 2014, ICLR
2015, https://arxiv.org/abs/1409.0473: (5) context, (6) weights, e_ij below it, appendices A.1.2 and A.2.2 (unnumbered)
the score, A.2.2 the decoder that reads c_i. Section 3 and appendix A were read in two text conversions of the PDF.
[L15] Luong, Pham & Manning, Effective Approaches to Attention-based Neural Machine Translation, EMNLP 2015,
https://arxiv.org/abs/1508.04025: (5) attentional vector, (7) weights, "general" score below it, section 3.3 input
feeding. Prose and numbers were read in a conversion of the ar5iv page, which lost the formulas; these are from a copy
of section 3 in a reader's notes. The first author's code agrees, and has the orders [x; a], [c; h] and no biases here:
https://github.com/lmthang/nmt.hybrid, code/layers/rnnStepLayerForward.m and attnLayerForward.m.
Not as in the papers: a mask of the memory (they have none); one layer, where L15 stacks LSTMs; a size m of the memory
of its own (2n in B14, n in L15). B14's hidden unit is a GRU, (1 - z) s + z s~, its z being 1 - z here; it allows an
LSTM instead (A.1.1); W y + C c there is [y; c] times one kernel here. L15 uses an LSTM. As output B14 has a maxout
layer, t~ = U_o s_(i-1) + V_o E y_(i-1) + C_o c_i; in its place L15 (5) stands here, on the new s_i as in B14 (4),
and without y_(i-1). B14 leaves out biases to be readable, so the missing ones of its score need not be missing there.
How the first state comes from the encoder is no part of the step. A memory masked everywhere is undefined.
"""

import numpy as np

FIXED = {"Tanh"}  # of the scores and the output
CASES = [{}, {"attention": "luong"}, {"cell": "gru"}, {"cell": "gru", "attention": "luong"}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def lstm(x, h, c, W, U, b):
    i, f, g, o = np.split(x @ W + h @ U + b, 4, axis=-1)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def gru(x, h, W, U, b):
    W_z, W_r, W_h = np.split(W, 3, axis=-1)
    U_z, U_r, U_h = np.split(U, 3, axis=-1)
    b_z, b_r, b_h = np.split(b, 3)
    z = sigma(x @ W_z + h @ U_z + b_z)
    r = sigma(x @ W_r + h @ U_r + b_r)
    return (z * h + (1.0 - z) * np.tanh(x @ W_h + (r * h) @ U_h + b_h),)


def align(score, mask):
    """The weights of the places, (batch, T): B14 (6), L15 (7); zero at masked places."""
    if mask is not None:
        score = np.where(np.asarray(mask, bool), score, -np.inf)
    e = np.exp(score - score.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def look_up(alpha, memory):
    return np.einsum("bj,bjm->bm", alpha, memory)  # B14 (5), and in L15 the words below (8)


def step(weights, x, states, cell="lstm", attention="bahdanau", use_bias=True, *, memory, memory_mask=None):
    # h_j of B14 and h-bar_s of L15 are memory[:, j]; s of B14 and h of L15 are inner[0]
    x, memory, a, *inner = (np.asarray(v, np.float64) for v in (x, memory, *states))
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    W, U = w["kernel"], w["recurrent_kernel"]
    b = w["bias"] if use_bias else np.zeros(W.shape[-1])
    run = {"lstm": lstm, "gru": gru}[cell]
    keys = memory @ w["memory_kernel"]  # U_a h_j of B14, W_a h-bar_s of L15: (batch, T, n)
    if attention == "bahdanau":  # s_(i-1) -> alpha -> c -> s_i
        query = inner[0] @ w["query_kernel"]  # W_a s_(i-1)
        score = np.tanh(query[:, None] + keys) @ w["score_kernel"]  # B14 A.1.2
        c = look_up(align(score, memory_mask), memory)
        inner = run(np.concatenate([x, c], axis=-1), *inner, W, U, b)  # B14 A.2.2
    elif attention == "luong":  # h_t -> alpha -> c -> h~
        inner = run(np.concatenate([x, a], axis=-1), *inner, W, U, b)  # L15 section 3.3
        score = np.einsum("bk,bjk->bj", inner[0], keys)  # h_t^T W_a h-bar_s, "general" below L15 (7)
        c = look_up(align(score, memory_mask), memory)
    else:
        raise ValueError(attention)
    a = np.tanh(np.concatenate([c, inner[0]], axis=-1) @ w["attention_kernel"])  # L15 (5)
    return a, *inner
