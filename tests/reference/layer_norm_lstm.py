"""LSTM with layer normalisation of

Ba, Kiros & Hinton, Layer Normalization, arXiv 2016, https://arxiv.org/abs/1607.06450, supplementary material, eq. (15),
(16) and (20) to (22). Numbers and equations are from the paper's text (stored conversions of its PDF).
Letters: LN(z; alpha, beta) with gain alpha and bias beta, W_x, W_h, b, gates f, i, o and g before their nonlinearity.
One LN goes over the whole stacked vector of 4n (20), as in the authors' code too (ryankiros/layer-norm). Only h sees
LN(c) (22), the cell that is carried on is not normalised.
Left open: (16) has no epsilon, though at h = 0 the product W_h h is constant and sigma is 0; the authors' Theano code
adds 1e-5 to the variance under the root. The text below (22) starts alpha at 0 and beta at 1, which can only be meant
the other way round (section 6 and the code: gains 1, biases 0).
Differs: epsilon is 1e-3 by default; order i, f, g, o; use_bias=False (b = 0) is not the paper's. The authors' code adds
its b twice, inside LN(W_x x) and outside; here outside only, as in (20).
"""

import numpy as np

CASES = [{}, {"epsilon": 0.1}, {"use_bias": False}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def LN(z, alpha, beta, epsilon):
    mu = np.mean(z, axis=-1, keepdims=True)  # (16)
    variance = np.mean((z - mu) ** 2, axis=-1, keepdims=True)  # (16), divided by D
    return (z - mu) / np.sqrt(variance + epsilon) * alpha + beta  # (15), epsilon is not the paper's


def step(weights, x, states, epsilon=1e-3, use_bias=True):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, h, c = (np.asarray(a, np.float64) for a in (x, *states))
    b = w["bias"] if use_bias else 0.0
    W_x, W_h = w["kernel"], w["recurrent_kernel"]
    recurrent = LN(h @ W_h, w["recurrent_gamma"], w["recurrent_beta"], epsilon)  # (20), alpha_1, beta_1
    inputs = LN(x @ W_x, w["input_gamma"], w["input_beta"], epsilon)  # (20), alpha_2, beta_2
    i, f, g, o = np.split(recurrent + inputs + b, 4, axis=-1)  # (20)
    c = sigma(f) * c + sigma(i) * np.tanh(g)  # (21)
    h = sigma(o) * np.tanh(LN(c, w["output_gamma"], w["output_beta"], epsilon))  # (22), alpha_3, beta_3
    return h, c
