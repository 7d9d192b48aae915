"""Grid LSTM: blocks in a grid of N dimensions, depth among them; a block has a hidden and a memory vector in each.

Kalchbrenner, Danihelka & Graves, Grid Long Short-Term Memory, arXiv 2015, ICLR 2016, https://arxiv.org/abs/1507.01526.
Of the text only the beginning could be had. LSTM(H, m, W) of section 2 and its use along each dimension, 3.1, are from
pictures of the paper's formulas in a reader's review (https://github.com/andrewliao11/homework1, Grid-LSTM.md), tied
weights from the words it quotes. That a prioritized dimension reads H with the others' h' in it, 3.2, is from a report
(https://github.com/davidbuniat/GridLSTM, docs/src/Model and Method.docx), alpha(V H) of a plain dimension, 3.3, from a
page of notes that follows the sections. Numbers could not be checked, so equations are cited by section.
Letters: H all incoming hidden vectors, h, m hidden and memory vector of one dimension, h', m' the new ones, g^u, g^f,
g^o, g^c update (input), forget and output gate and content (candidate), W_i weights of dimension i, V of a plain one.
A data point enters as an h and an m, each projected, on the side of depth: so in the paper's figure of grids, too.
Tied: "along" all dimensions, depth included, all blocks have the same weights; W_i and W_j stay apart.
Not the paper's: biases (use_bias=False undoes them) and sigma(g^o) tanh(m') (gate_first=False). Open in what could be
read: a bias of the projection (none here); the sides where nothing enters (zeros here; along time, the first states);
and what an output layer reads, which in that figure is m' as well as h' of the upper side (the output is h' here).
"""

import numpy as np

CASES = [
    {},
    {"depth": 3, "tied": False},
    {"time": False},
    {"extents": (2,)},
    {"transforms": {"depth": "softplus"}},
    {"priority": None},
    {"gate_first": False},
    {"priority": "time", "transforms": {"time": "linear"}},
    {"transforms": "linear", "tied": False, "depth": 1},
    {"extents": (2, 2), "priority": "axis_1", "transforms": {"axis_2": "softplus"}},
    {"use_bias": False},
]
PLAIN = {  # alpha of 3.3
    "linear": lambda a: a,
    "relu": lambda a: np.maximum(a, 0.0),
    "softplus": lambda a: np.logaddexp(0.0, a),
    "tanh": np.tanh,
}


def sigma(a):
    return np.exp(-np.logaddexp(0.0, -a))  # 1 / (1 + exp(-a)) without overflow


def lstm(H, m, W, b, gate_first):
    """h', m' of section 2."""
    u, f, c, o = np.split(H @ W + b, 4, axis=-1)  # order i, f, g, o: i of u, g of c
    m = sigma(f) * m + sigma(u) * np.tanh(c)
    return (np.tanh(sigma(o) * m) if gate_first else sigma(o) * np.tanh(m)), m


def block(sides, kinds, W, b, priority, gate_first):
    """The outgoing sides, (h', m') of each dimension by name, of the incoming ones; m is None in a plain dimension."""

    def transform(name, H):
        if kinds[name] == "lstm":
            return lstm(H, sides[name][1], W[name], b[name], gate_first)  # 3.1
        return PLAIN[kinds[name]](H @ W[name] + b[name]), None  # 3.3

    H = np.concatenate([h for h, _ in sides.values()], axis=-1)
    new = {name: transform(name, H) for name in sides if name != priority}
    if priority:
        H = np.concatenate([(new | {priority: sides[priority]})[name][0] for name in sides], axis=-1)
        new[priority] = transform(priority, H)  # 3.2
    return new


def step(
    weights,
    x,
    states,
    depth=2,
    tied=True,
    time=True,
    extents=(),
    transforms="lstm",
    priority="depth",
    gate_first=True,
    use_bias=True,
):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, _, *carried = (np.asarray(a, np.float64) for a in (x, *states))  # the output is not fed back
    axes = [f"axis_{a}" for a in range(1, len(extents) + 1)]
    names = ["depth", *["time"] * time, *axes]
    kinds = dict.fromkeys(names, "lstm") | (transforms if isinstance(transforms, dict) else {})
    if isinstance(transforms, str):
        kinds = dict.fromkeys(names, transforms)
    layers, places = range(1, depth + 1), list(np.ndindex(*extents))

    def apart(a):
        """Splits an array by place; in a row of features, or of a state, place follows place, the last axis first."""
        return dict(zip(places, np.split(a, len(places), axis=-1), strict=True))

    data, carried = apart(x), iter(carried)
    past = {}  # (layer, place) -> incoming (h, m) of the time dimension
    for ell in layers if time else ():
        h, m = apart(next(carried)), apart(next(carried)) if kinds["time"] == "lstm" else {}
        past |= {(ell, place): (h[place], m.get(place)) for place in places}

    out = {}  # (layer, place) -> outgoing sides
    for place in places:
        entry = data[place] @ w["kernel"]
        below = tuple(np.split(entry, 2, axis=-1)) if kinds["depth"] == "lstm" else (entry, None)
        for ell in layers:
            end = "" if tied else f"_{ell}"
            W = {name: w[f"{name}_kernel{end}"] for name in names}
            b = {name: w[f"{name}_bias{end}"] if use_bias else 0.0 for name in names}
            sides = {"depth": below} | ({"time": past[ell, place]} if time else {})
            for a, axis in enumerate(axes):
                before = (*place[:a], place[a] - 1, *place[a + 1 :])
                nothing = np.zeros_like(below[0])
                sides[axis] = out[ell, before][axis] if place[a] > 0 else (nothing, nothing)
            out[ell, place] = block(sides, kinds, W, b, priority, gate_first)
            below = out[ell, place]["depth"]

    def together(ell, name, i):
        return np.concatenate([out[ell, place][name][i] for place in places], axis=-1)

    parts = (0, 1) if kinds.get("time") == "lstm" else (0,)
    return together(depth, "depth", 0), *(together(ell, "time", i) for ell in layers if time for i in parts)
