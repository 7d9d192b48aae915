"""Clockwork RNN: a simple RNN whose units form modules, each of which runs at the steps that its period divides.

Koutnik, Greff, Gomez & Schmidhuber, A Clockwork RNN, ICML 2014, https://arxiv.org/abs/1402.3511.
Of the text only the opening could be had. (1), (4) and the mask are from theanets' manual (layers.recurrent.Clockwork),
readers' notes and a caption of the paper that they repeat; (1) and (4) are so numbered in quotations from the paper
(tensorflow/models pull request 198).
(1) y_H = f_H(W_H y_H' + W_I x), written without bias. (4) block row i of W_H and W_I counts if t MOD T_i = 0; the other
modules keep their y_H. W_H is block upper triangular, for column vectors and T in rising order: module i sees itself
and the modules j with T_i < T_j, so that information goes from the slow modules to the fast ones only.
Left open, as far as seen: where t starts. The authors' brainstorm counts from 0 (at the first step all modules run),
as here, their earlier pylstm from 1 (slow modules rest first). f_H = tanh is brainstorm's default.
Not the paper's: periods in any order, the mask then goes by period, and modules of equal period see each other.
"""

import numpy as np

CASES = [{}, {"periods": (1, 2, 4)}, {"periods": (4, 1)}, {"use_bias": False}]


def step(weights, x, states, periods=None, use_bias=True):
    x, y_H, t = (np.asarray(a, np.float64) for a in (x, *states))  # y_H is h, t counts the steps done
    W_I, W_H = (np.asarray(weights[name], np.float64) for name in ("kernel", "recurrent_kernel"))
    n = y_H.shape[-1]
    b = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(n)
    if periods is None:
        g = max(g for g in range(1, 9) if n % g == 0)  # modules
        periods = [2**i for i in range(g)]  # the exponential series of the paper, T_i = 2^(i - 1) from i = 1
    T = np.repeat(np.asarray(periods, np.float64), n // len(periods))  # period of each unit
    W_H = W_H * (T[:, None] >= T[None, :])  # rows send, columns receive (row vectors): from slower or equal only
    new = np.tanh(x @ W_I + y_H @ W_H + b)  # (1)
    y_H = np.where(np.mod(t, T) == 0.0, new, y_H)  # (4)
    return y_H, np.mod(t + 1.0, np.lcm.reduce(periods))  # counted modulo a common multiple, which changes no MOD T_i
