"""Recursive neural tensor network: the two parts of a phrase act on each other through a tensor, too.

[S13] Socher et al., Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank, EMNLP 2013,
https://aclanthology.org/D13-1170, section 4.3: p = f([b; c]^T V^[1:d] [b; c] + W [b; c]), V^[1:d] of shape (2d, 2d, d),
one slice for each unit of p; f = tanh (4.1).
The paper itself could not be had, but for its first page: the formula is from lecture notes that transcribe it.
Open: the bias, which the paper leaves out to be readable.
Not as in the paper: where x is not as wide as h, a leaf is x times a kernel, without squashing and bias; there, a leaf
is its word's vector. The classifier is outside of the step. x of a node with children counts for nothing. A part that
is missing is zero; the paper has two parts always.
"""

import numpy as np

CASES = [{}]


def step(weights, x, children, present, use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, present = np.asarray(x, np.float64), np.asarray(present, bool)
    parts = np.where(present[:, :, None], np.asarray(children[0], np.float64), 0.0)
    V, W = w["tensor_kernel"], w["recurrent_kernel"]
    leaf = x @ w["kernel"] if "kernel" in w else x
    p = np.empty((len(x), W.shape[-1]))
    for row, (b, c) in enumerate(parts):
        pair = np.concatenate([b, c])
        for k in range(p.shape[-1]):
            p[row, k] = pair @ V[:, :, k] @ pair + pair @ W[:, k]
    p = np.tanh(p + (w["bias"] if use_bias else 0.0))
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
