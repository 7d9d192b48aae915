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

[X15] Xu et al., Show, Attend and Tell, ICML 2015, https://arxiv.org/abs/1502.03044: (4) to (6) are B14's, (7) deep
output, (8) and (9) hard attention, (11) and the rule below it, which need log p(s) and H[s]; section 4.2.1 the gate
beta. The formulas are from two readers' transcriptions; the authors' code, https://github.com/kelvinxu/arctic-captions,
capgen.py, agrees, but for a bias of beta and a tanh around (7), which stand in no formula. L_o of (7) is outside of the
step; where E y has another size than L_h h, a kernel makes it fit, which the paper does not have. A draw is the first
place whose cumulative weight exceeds a number from [0, 1); a negative number stands for the expectation.
[L15] again: "dot" and "concat" below (7); section 3.2 local attention, local-m and local-p, (9) and (10). Of places it
says from which number on they count nowhere: here from 0, those that are masked not counted, and local-m stays at the
last one. The weights of (10) are not made to sum to one again, and are zero outside the window; draws have no (10).
[T16] Tu et al., Modeling Coverage for Neural Machine Translation, ACL 2016, https://arxiv.org/abs/1601.04811: the
linguistic coverage C_ij = C_(i-1)j + alpha_ij / Phi_j, Phi_j = N sigma(U_f h_j), and V_a C in the score.
[S17] See, Liu & Manning, Get To The Point, ACL 2017, https://arxiv.org/abs/1704.04368: (10) coverage, (11) w_c c in the
score, (12) its loss sum_i min(a_i, c_i). The score of both has the shape of B14's.
[V17] Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762, section 3.2.2: several heads,
each with its part of queries, keys and projected values; W^O is part of what reads the context here. The score of a
head is one of the above, not a scaled product. Coverage is of the mean of the heads.
"""

import numpy as np

FIXED = {"Tanh"}  # of the scores and the output
CASES = [
    {},
    {"attention": "luong"},
    {"cell": "gru"},
    {"cell": "gru", "attention": "luong"},
    {"use_bias": False},
    {"attention": "luong_dot"},
    {"attention": "luong_concat"},
    {"heads": 2},
    {"heads": 3, "attention": "luong"},
    {"gate": True, "deep_output": True},
    {"hard": True, "coverage": "sum"},
    {"coverage": "score"},
    {"coverage": "fertility", "attention": "luong_concat"},
    {"local": "monotonic", "window": 1},
    {"local": "predictive", "attention": "luong"},
    {"hard": True, "heads": 2, "gate": True, "deep_output": True, "coverage": "score", "local": "monotonic"},
]


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


def attended(score, heads):
    """Scores of all heads from products that are to be summed, (batch, T, n): (heads, batch, T)."""
    return np.stack([part.sum(axis=-1) for part in np.split(score, heads, axis=-1)])


def chosen(alpha, u):
    """One-hot draws from the rows of alpha by inversion, u in [0, 1); for negative u the row itself, X15 (8), (9)."""
    s = np.zeros_like(alpha)
    for row, (weights, number) in enumerate(zip(alpha, u, strict=True)):
        if number < 0:
            s[row] = weights
        else:
            below = np.cumsum(weights) <= min(number, 1 - 1e-5)
            s[row, np.argmin(below)] = 1.0
    return s


def step(
    weights,
    x,
    states,
    cell="lstm",
    attention="bahdanau",
    use_bias=True,
    gate=False,
    deep_output=False,
    hard=False,
    coverage=None,
    local=None,
    window=10,
    heads=1,
    *,
    memory,
    memory_mask=None,
):
    # h_j of B14, h-bar_s of L15, a_i of X15 are memory[:, j]; s of B14 and h of L15 and X15 are inner[0]
    x, memory, a, *inner = (np.asarray(v, np.float64) for v in (x, memory, *states))
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    W, U = w["kernel"], w["recurrent_kernel"]
    b = w["bias"] if use_bias else np.zeros(W.shape[-1])
    run = {"lstm": lstm, "gru": gru}[cell]
    count = {"lstm": 2, "gru": 1}[cell]
    inner, kept = inner[:count], inner[count:]
    mask = np.ones(memory.shape[:2], bool) if memory_mask is None else np.asarray(memory_mask, bool)
    if hard:
        x, u = x[:, :-heads], x[:, -heads:]
    if coverage is not None:
        C = kept.pop(0)
    if coverage in ("score", "fertility"):
        covloss = kept.pop(0)
    if local == "monotonic":
        t = kept.pop(0)
    if hard:
        log_p, H = kept

    if attention != "bahdanau":  # h_t -> alpha -> c -> h~; else s_(i-1) -> alpha -> c -> s_i
        inner = run(np.concatenate([x, a], axis=-1), *inner, W, U, b)  # L15 section 3.3
    h = inner[0]

    if attention in ("bahdanau", "luong_concat"):
        # B14 A.1.2, W_a s + U_a h_j; L15 "concat", one matrix on [h; h-bar]
        hidden = (h @ w["query_kernel"])[:, None] + memory @ w["memory_kernel"]
        if coverage in ("score", "fertility"):
            hidden = hidden + C[:, :, None] * w["coverage_kernel"]  # S17 (11), T16
        scores = attended(np.tanh(hidden) * w["score_kernel"], heads)
    elif attention == "luong":
        scores = attended(h[:, None] * (memory @ w["memory_kernel"]), heads)  # h_t^T W_a h-bar_s, "general"
    elif attention == "luong_dot":
        scores = attended(h[:, None] * memory, heads)
    else:
        raise ValueError(attention)

    bump = 1.0
    if local is not None:  # L15 section 3.2
        S = mask.sum(axis=1, keepdims=True)
        place = np.cumsum(mask, axis=1) - 1
        if local == "monotonic":
            p = np.minimum(t, S - 1)
        else:
            p = S * sigma(np.tanh(h @ w["position_kernel"]) @ w["position_score"])[:, None]  # (9)
            bump = np.exp(-((place - p) ** 2) / (2 * (window / 2) ** 2))  # (10)
        mask = mask & (np.abs(place - p) <= window)
    alphas = np.stack([align(score, mask) * bump for score in scores])  # (heads, batch, T)

    read = alphas
    if hard:
        read = np.stack([chosen(alphas[k], u[:, k]) for k in range(heads)])
        logs = np.log(np.where(alphas > 0, alphas, 1.0))
        drawn = (u.T >= 0)[:, :, None]
        log_p = log_p + np.sum(drawn * read * logs, axis=(0, 2))[:, None]  # log p(s~ | a)
        H = H - np.sum(alphas * logs, axis=(0, 2))[:, None]  # H[s]
    if heads == 1:
        c = look_up(read[0], memory)
    else:
        values = np.split(memory @ w["value_kernel"], heads, axis=-1)
        c = np.concatenate([look_up(one, value) for one, value in zip(read, values, strict=True)], axis=-1)
    if gate:
        c = sigma(h @ w["gate_kernel"]) * c  # X15 section 4.2.1

    if attention == "bahdanau":
        inner = run(np.concatenate([x, c], axis=-1), *inner, W, U, b)  # B14 A.2.2, X15 (1)
    a = np.concatenate([c, inner[0]], axis=-1) @ w["attention_kernel"]
    skip = x @ w["skip_kernel"] if "skip_kernel" in w else x
    a = a + skip if deep_output else np.tanh(a)  # X15 (7); L15 (5)

    after = []
    if coverage is not None:
        alpha = alphas.mean(axis=0)
        phi = 2.0 * sigma(memory @ w["fertility_kernel"]) if coverage == "fertility" else 1.0  # T16, N = 2
        after.append(C + alpha / phi)  # T16, S17 (10)
    if coverage in ("score", "fertility"):
        after.append(covloss + np.minimum(alpha, C).sum(axis=1, keepdims=True))  # S17 (12)
    if local == "monotonic":
        after.append(t + 1)
    if hard:
        after += [log_p, H]
    return a, *inner, *after
