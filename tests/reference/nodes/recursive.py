"""Recursive network: the vector of a phrase is a squashed linear map of the vectors of its two parts.

[S11] Socher, Lin, Ng & Manning, Parsing Natural Scenes and Natural Language with Recursive Neural Networks, ICML 2011,
https://ai.stanford.edu/~ang/papers/icml11-ParsingWithRecursiveNeuralNetworks.pdf: (2) p = f(W [c_1; c_2] + b).
[S13] Socher et al., Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank, EMNLP 2013,
https://aclanthology.org/D13-1170, section 4.1: p = f(W [b; c]), f = tanh, a leaf is its word's vector.
The papers themselves could not be had, but for the first page of S13: both formulas, and tanh, are from lecture notes
that transcribe them; the numbers and the rest of what is said of S11 are from memory.
Open in S13: its bias, which it leaves out to be readable; S11 has it.
Not as in the papers: where x is not as wide as h, a leaf is x times a kernel, without squashing and bias (S11 (1) has
both on its leaves); the score of S11 (3) and the classifier of S13 are outside of the step. x of a node with children
counts for nothing. A part that is missing is zero; the papers have two parts always.
"""

import numpy as np

CASES = [{}]


def step(weights, x, children, present, use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, present = np.asarray(x, np.float64), np.asarray(present, bool)
    parts = np.where(present[:, :, None], np.asarray(children[0], np.float64), 0.0)
    b = w["bias"] if use_bias else 0.0
    leaf = x @ w["kernel"] if "kernel" in w else x
    pair = np.concatenate([parts[:, 0], parts[:, 1]], axis=-1)  # [c_1; c_2]
    p = np.tanh(pair @ w["recurrent_kernel"] + b)  # S11 (2), S13 4.1
    return (np.where(present.any(axis=1, keepdims=True), p, leaf),)


def tree(weights, x, children, **arguments):
    size = np.shape(weights["recurrent_kernel"])[-1]
    h = np.zeros((len(x), size))
    for node, parts in enumerate(children):
        parts = np.asarray(parts, int)
        slots = np.zeros((1, 2, size))
        slots[0, : len(parts)] = h[parts]
        present = np.arange(2)[None] < len(parts)
        (h[node : node + 1],) = step(weights, x[node : node + 1], (slots,), present, **arguments)
    return (h,)
