"""GRU with layer normalisation of

Ba, Kiros & Hinton, Layer Normalization, arXiv 2016, https://arxiv.org/abs/1607.06450, supplementary material, eq. (15),
(16) and (26) to (28). Numbers and equations are from the paper's text (stored conversions of its PDF).
Letters: LN(a; alpha, beta) with gain alpha and bias beta, W_x, W_h for the gates z and r before their sigmoid, W, U for
the candidate h_hat. z and r are normalised together, as one vector of 2n (26), the candidate's two products each alone,
and r multiplies the recurrent one after its LN (27). An open gate z takes the candidate (28); the authors' code
(ryankiros/layer-norm) has it the other way round, h = u h + (1 - u) h_hat.
Left open: (16) has no epsilon; the authors' code adds 1e-5 to the variance under the root. The text below (28) starts
alpha at 0 and beta at 1, which can only be meant the other way round (section 6 and the code: gains 1, biases 0).
Differs: epsilon is 1e-3 by default. The paper has no b at all, the authors' code has one inside the LN of the input
products; the b of use_bias=True, outside every LN, is neither's.
"""

import numpy as np

CASES = [{}, {"epsilon": 0.1}, {"use_bias": True}]


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def LN(z, alpha, beta, epsilon):
    mu = np.mean(z, axis=-1, keepdims=True)  # (16)
    variance = np.mean((z - mu) ** 2, axis=-1, keepdims=True)  # (16), divided by D
    return (z - mu) / np.sqrt(variance + epsilon) * alpha + beta  # (15), epsilon is not the paper's


def step(weights, x, states, epsilon=1e-3, use_bias=False):
    x, h = (np.asarray(a, np.float64) for a in (x, *states))
    n = h.shape[-1]

    def parts(name):  # of the gates z, r and of the candidate
        return np.split(np.asarray(weights[name], np.float64), [2 * n], axis=-1)

    W_x, W = parts("kernel")
    W_h, U = parts("recurrent_kernel")
    alpha_1, alpha_4 = parts("recurrent_gamma")
    beta_1, beta_4 = parts("recurrent_beta")
    alpha_2, alpha_3 = parts("input_gamma")
    beta_2, beta_3 = parts("input_beta")
    b_zr, b_h = parts("bias") if use_bias else (0.0, 0.0)
    z_r = LN(h @ W_h, alpha_1, beta_1, epsilon) + LN(x @ W_x, alpha_2, beta_2, epsilon) + b_zr  # (26)
    z, r = np.split(z_r, 2, axis=-1)
    h_hat = np.tanh(LN(x @ W, alpha_3, beta_3, epsilon) + sigma(r) * LN(h @ U, alpha_4, beta_4, epsilon) + b_h)  # (27)
    return ((1.0 - sigma(z)) * h + sigma(z) * h_hat,)  # (28)
