"""Simple recurrent network: hidden units that see the input and a copy of their own last activations.

[E90] Elman, Finding Structure in Time, Cognitive Science 14(2), 1990, doi:10.1207/s15516709cog1402_1. The text could
not be had; as far as known it gives no recurrence as a numbered equation, only words and a figure (context units,
filled one for one from the hidden units with fixed weight 1, feed the hidden units at the next step). That wiring was
confirmed in second-hand accounts (e.g. https://dailyneuron.com/simple-recurrent-networks-learn-structure-in-time).
The letters below are therefore not the paper's.
Not as in the paper: its units are, from memory, logistic, in 0..1 (activation "sigmoid"); the default tanh is later
usage. Its context units start, also from memory, at 0.5; here a start is the caller's. No output layer.
"""

import numpy as np

CASES = [{}, {"activation": "sigmoid"}, {"use_bias": False}, {"activation": "sigmoid", "use_bias": False}]


def logistic(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, activation="tanh", use_bias=True):
    x, context = (np.asarray(a, np.float64) for a in (x, *states))  # context(t) = hidden(t-1)
    W, U = (np.asarray(weights[k], np.float64) for k in ("kernel", "recurrent_kernel"))  # from input, from context
    b = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(context.shape[-1])
    f = {"tanh": np.tanh, "sigmoid": logistic}[activation]
    hidden = f(x @ W + context @ U + b)  # E90, in words and figure only
    return (hidden,)
