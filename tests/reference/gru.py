"""GRU: gated recurrent unit with update gate z and reset gate r; z keeps the old state, 1 - z takes the new.

[C14] Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation, EMNLP
2014, https://arxiv.org/abs/1406.1078, section 2.3: eq. (5) r, (6) z, (7) h, (8) candidate. The equations' own text
could not be had: they are from a reader's transcription of the section, which numbers (5), (6) and (7); that the
candidate is (8) is from https://www.tensorflow.org/versions/r1.15/api_docs/python/tf/contrib/rnn/IndyGRUCell.md.txt.
A copy of the paper's prose, without formulas, agrees on z: it says how much of the previous state is carried over.
Not as in the paper: the biases (its formulas have none); phi = tanh (the formulas leave phi open).
reset_after is not (8) but cuDNN's form (r on U h, with a bias of its own), as the formula for linear_before_reset at
https://docs.openvino.ai/2022.1/openvino_docs_ops_sequence_GRUCell_3.html writes it.
"""

import numpy as np

CASES = [{}, {"use_bias": False}, {"reset_after": True}, {"reset_after": True, "use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, reset_after=False, use_bias=True):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    W_z, W_r, W = np.split(np.asarray(weights["kernel"], np.float64), 3, axis=-1)  # order z, r, h
    U_z, U_r, U = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 3, axis=-1)
    bias = np.zeros((2, 3 * h.shape[-1]))  # row 0 with W x, row 1 with U h; without reset_after there is row 0 only
    if use_bias:
        bias[: 2 if reset_after else 1] = np.asarray(weights["bias"], np.float64)
    (b_z, b_r, b), (c_z, c_r, c) = np.split(bias[0], 3), np.split(bias[1], 3)
    r = sigma(x @ W_r + b_r + h @ U_r + c_r)  # C14 (5)
    z = sigma(x @ W_z + b_z + h @ U_z + c_z)  # C14 (6)
    recurrent = r * (h @ U + c) if reset_after else (r * h) @ U  # cuDNN's form, or as in C14 (8)
    h_tilde = np.tanh(x @ W + b + recurrent)  # C14 (8)
    h = z * h + (1.0 - z) * h_tilde  # C14 (7)
    return (h,)
