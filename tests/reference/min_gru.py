"""minGRU, a GRU whose gate and candidate do not see the old state, of

Feng, Tung, Ahmed, Bengio & Hajimirsadeghi, Were RNNs All We Needed?, arXiv 2024, https://arxiv.org/abs/2410.01201.
The paper itself could not be had. The equations are Algorithm 1 (vanilla, sequential) as a reader's Korean rendering of
January 2025 gives it. The authors' code (https://github.com/BorealisAI/minRNNs, models/minRNNs.py) has the same update.
One state h, no cell state; z weighs the new candidate, 1 - z the old state. Linear has a bias in the authors' code.
The candidate is linear (section 3.1, step 2, drops the tanh of the GRU). Algorithm 5 (log-space) and the authors' code
have h~_t = g(Linear(x_t)), g(x) = x + 0.5 for x >= 0 and sigma(x) below, which keeps h positive: not in CASES.
Left open: initial values (the discussion says that PyTorch's defaults do) and h_0, which the authors' code leaves out
(as if 0) unless it is learned. Not the paper's: activation="tanh", use_bias=False. The authors' code projects h down
after the cell; not here.
"""

import numpy as np

CASES = [{}, {"activation": "tanh"}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, activation="linear", use_bias=True):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    W_z, W_h = np.split(np.asarray(weights["kernel"], np.float64), 2, axis=-1)  # order z, h
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(2 * h.shape[-1])
    b_z, b_h = np.split(bias, 2)
    z = sigma(x @ W_z + b_z)  # Algorithm 1, update gate
    h_tilde = x @ W_h + b_h  # Algorithm 1, candidate
    h_tilde = {"linear": h_tilde, "tanh": np.tanh(h_tilde)}[activation]
    h = (1.0 - z) * h + z * h_tilde  # Algorithm 1, state and output
    return (h,)
