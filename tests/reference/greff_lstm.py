"""The vanilla LSTM (forget gate, peepholes) and its eight variants of

Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber, LSTM: A Search Space Odyssey, arXiv 2015 and IEEE TNNLS 28(10),
2017, https://arxiv.org/abs/1503.04069: forward pass (section II) and the list of variants.
The text could not be had; the equations are from memory of it and are cited by the unit they define, since no number
could be checked. Readers' notes confirm the variants' names, f = 1 - i, and FGR's nine matrices between the gates.
Letters: z block input, i, f, o gates, c cell, y block output, W, R, p, b weights; g = h = tanh unless NIAF, NOAF.
Not settled: whether FGR's output gate looks at the old or the new c; here the new one, as in the vanilla LSTM.
R_ab leads from gate a at the step before to gate b. use_bias=False (b = 0) is not the paper's.
"""

import numpy as np

VARIANTS = (None, "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "NP", "FGR")
CASES = [{}] + [{"variant": variant} for variant in VARIANTS[1:]]
MISSING = {"NIG": "i", "NFG": "f", "CIFG": "f", "NOG": "o"}  # the gate without weights


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def step(weights, x, states, variant=None, use_bias=True):
    if variant not in VARIANTS:
        raise ValueError(variant)
    x, y, c, *gates = (np.asarray(a, np.float64) for a in (x, *states))  # y is h; gates only with FGR
    n = c.shape[-1]
    blocks = [u for u in "ifzo" if u != MISSING.get(variant)]  # order i, f, g, o
    peeps = [u for u in "ifo" if u != MISSING.get(variant)]
    W = dict(zip(blocks, np.split(np.asarray(weights["kernel"], np.float64), len(blocks), axis=-1), strict=True))
    R = dict(
        zip(blocks, np.split(np.asarray(weights["recurrent_kernel"], np.float64), len(blocks), axis=-1), strict=True)
    )
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(len(blocks) * n)
    b = dict(zip(blocks, np.split(bias, len(blocks)), strict=True))
    p = dict.fromkeys("ifo", 0.0)
    if variant != "NP":
        p.update(zip(peeps, np.asarray(weights["peephole_kernel"], np.float64), strict=True))
    q = dict.fromkeys("ifo", 0.0)  # what the gates of the step before send to i, f, o
    if variant == "FGR":
        i, f, o = gates
        (R_ii, R_if, R_io), (R_fi, R_ff, R_fo), (R_oi, R_of, R_oo) = (
            np.split(a, 3, axis=1) for a in np.split(np.asarray(weights["gate_recurrent_kernel"], np.float64), 3)
        )
        q["i"] = i @ R_ii + f @ R_fi + o @ R_oi
        q["f"] = i @ R_if + f @ R_ff + o @ R_of
        q["o"] = i @ R_io + f @ R_fo + o @ R_oo
    z = x @ W["z"] + y @ R["z"] + b["z"]  # block input, g(x) = x with NIAF
    z = z if variant == "NIAF" else np.tanh(z)
    i = 1.0 if variant == "NIG" else sigma(x @ W["i"] + y @ R["i"] + p["i"] * c + b["i"] + q["i"])  # old c
    if variant == "NFG":
        f = 1.0
    elif variant == "CIFG":
        f = 1.0 - i
    else:
        f = sigma(x @ W["f"] + y @ R["f"] + p["f"] * c + b["f"] + q["f"])  # forget gate, old c
    c = z * i + c * f  # cell
    o = 1.0 if variant == "NOG" else sigma(x @ W["o"] + y @ R["o"] + p["o"] * c + b["o"] + q["o"])  # new c
    y = (c if variant == "NOAF" else np.tanh(c)) * o  # block output, h(x) = x with NOAF
    return (y, c, i, f, o) if variant == "FGR" else (y, c)
