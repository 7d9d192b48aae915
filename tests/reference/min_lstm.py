"""minLSTM, an LSTM whose gates and candidate do not see the old state, without output gate, of

Feng, Tung, Ahmed, Bengio & Hajimirsadeghi, Were RNNs All We Needed?, arXiv 2024, https://arxiv.org/abs/2410.01201.
The paper itself could not be had. The equations are Algorithm 3 (vanilla, sequential, length independence scaling) as a
reader's Korean rendering of January 2025 gives it. The authors' code (https://github.com/BorealisAI/minRNNs,
models/minRNNs.py) has the same update, and normalize as its option use_coeff_norm: without it f' = f and i' = i.
One state h, no cell state; f weighs the old state, i the candidate. Linear has a bias in the authors' code, which packs
h, f, i; here f, i, h. f and i are kept as logarithms, so that f + i = 0 in floating point does no harm.
The candidate is linear (section 3.2, step 2, drops the tanh of the LSTM). Algorithm 7 (log-space) and the authors' code
have h~_t = g(Linear(x_t)), g(x) = x + 0.5 for x >= 0 and sigma(x) below, which keeps h positive: not in CASES.
Left open: h_0, and initial values (the discussion says that PyTorch's defaults do; appendix D.4 finds that a raised
forget bias helps, the text that could be had gives no number). Not the paper's: activation="tanh", use_bias=False.
The authors' code projects h down after the cell; not here.
"""

import numpy as np

CASES = [{}, {"normalize": False}, {"activation": "tanh"}, {"use_bias": False}]


def log_sigma(a):
    return -np.logaddexp(0.0, -a)  # log of 1 / (1 + exp(-a)), exact where the sigmoid itself would be 0


def step(weights, x, states, activation="linear", normalize=True, use_bias=True):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    W_f, W_i, W_h = np.split(np.asarray(weights["kernel"], np.float64), 3, axis=-1)  # order f, i, h
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(3 * h.shape[-1])
    b_f, b_i, b_h = np.split(bias, 3)
    log_f = log_sigma(x @ W_f + b_f)  # Algorithm 3, forget gate
    log_i = log_sigma(x @ W_i + b_i)  # Algorithm 3, input gate
    total = np.logaddexp(log_f, log_i) if normalize else 0.0  # log of f + i
    f, i = np.exp(log_f - total), np.exp(log_i - total)  # Algorithm 3, f' = f / (f + i), i' = i / (f + i)
    h_tilde = x @ W_h + b_h  # Algorithm 3, candidate
    h_tilde = {"linear": h_tilde, "tanh": np.tanh(h_tilde)}[activation]
    h = f * h + i * h_tilde  # Algorithm 3, state and output
    return (h,)
