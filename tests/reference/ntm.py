"""Neural Turing Machine: a controller that reads and writes a memory of N rows by the weightings of its heads.

Graves, Wayne & Danihelka, Neural Turing Machines, arXiv 2014, https://arxiv.org/abs/1410.5401: (2) read, (3) erase, (4)
add, (5) focus by content, (6) cosine, (7) interpolation, (8) shift, (9) sharpening, section 4 the first states. All
sections were read in a text conversion of the PDF. Letters are the paper's, but for the width of a row, its M: W here.
(2) and (5) have M_t, by (4) the memory after the writes of step t. To the letter, then, a reading head addresses and
reads what has just been written, read_memory="new"; with "old", the default, it takes M_(t-1). A writing head cannot
address what it is about to write, so it takes M_(t-1) in any case.
Open in the paper: how the parameters of a head come from the controller (here one linear layer, then the logistic
function, a softmax, or softplus where a value has a lower bound; k and a are squashed by choice); the reach of the
shifts; the first weightings; what the output layer reads (here h and the new reads, or h). The controller's input is x
and the reads of the step before: no equation says so, but section 4 gives "previous read vectors" first values.
Not as in the paper: parameters of heads are clipped (clip=None undoes it); small numbers keep (6) and (9) from a
division by zero; first reads and controller states, biases in the paper, are zeros (learn_first_states=True undoes it),
and the first memory is constant or random (first_memory="learned" undoes it). The other kind of shift, by one scalar,
is left out. The controllers of the paper are feed-forward and LSTM, without equations; LSTM and GRU are the catalog's.
"""

import numpy as np

SMALL = {"memory_locations": 7, "memory_width": 2}
CASES = [
    SMALL | case
    for case in (
        {},
        {"cell": "gru", "read_memory": "new"},
        {"cell": None, "read_heads": 2, "write_heads": 3},
        {"shift_range": 2, "first_weighting": "learned"},
        {"output_reads": False, "first_memory": "learned", "learn_first_states": True},
        {"first_memory": "random", "first_weighting": "uniform", "read_heads": 2},
        {"key_activation": "linear", "add_activation": "relu", "clip": 0.5},
        {"use_bias": False, "read_memory": "new", "write_heads": 2},
    )
]
FIXED = set()
SQUASH = {"tanh": np.tanh, "linear": lambda a: a, "relu": lambda a: np.maximum(a, 0.0)}
TINY = 1e-16


def sigma(a):
    return np.exp(-softplus(-a))  # 1 / (1 + exp(-a)) without overflow


def softplus(a):
    return np.logaddexp(0.0, a)


def softmax(a):
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def content(key, strength, memory):
    """w^c, (batch, N), of a key (batch, W), a strength (batch, 1) and a memory (batch, N, W)."""
    norm_k, norm_m = (np.sqrt(np.sum(a * a, axis=-1) + TINY) for a in (key, memory))
    K = np.einsum("bw,biw->bi", key, memory) / (norm_k[:, None] * norm_m)  # (6)
    return softmax(strength * K)  # (5)


def interpolate(content, before, gate):
    return gate * content + (1.0 - gate) * before  # (7)


def shift(weighting, s):
    """w~, (batch, N), of a weighting (batch, N) and s (batch, 2 q + 1), the shares of the shifts -q to q."""
    N, q = weighting.shape[-1], s.shape[-1] // 2
    places = np.arange(N)
    distance = places[:, None] - places  # i - j
    shares = sum(s[:, k, None, None] * ((distance - (k - q)) % N == 0) for k in range(2 * q + 1))  # s(i - j)
    return np.einsum("bj,bij->bi", weighting, shares)  # (8)


def sharpen(weighting, gamma):
    v = np.maximum(weighting, TINY)
    power = (v / v.max(axis=-1, keepdims=True)) ** gamma  # the largest is 1, so that the sum cannot be 0
    return power / power.sum(axis=-1, keepdims=True)  # (9)


def control(w, cell, u, states):
    """The controller: its output h and its new states from its input u, [x; r], and its states."""
    W, n = w["kernel"], w["heads_kernel"].shape[0]
    b = w.get("bias", np.zeros(W.shape[-1]))
    if cell is None:
        return np.tanh(u @ W + b), ()
    U = w["recurrent_kernel"]
    if cell == "lstm":
        h, c = states
        i, f, g, o = np.split(u @ W + h @ U + b, 4, axis=-1)
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        h = sigma(o) * np.tanh(c)
        return h, (h, c)
    if cell == "gru":
        (h,) = states
        x_z, x_r, x_h = np.split(u @ W + b, 3, axis=-1)
        z, r = sigma(x_z + h @ U[:, :n]), sigma(x_r + h @ U[:, n : 2 * n])
        h = z * h + (1.0 - z) * np.tanh(x_h + (r * h) @ U[:, 2 * n :])
        return h, (h,)
    raise ValueError(cell)


def sizes(memory_width, read_heads, write_heads, shift_range):
    """Columns of the blocks k, beta, g, s, gamma of all heads and e, a of the writing ones."""
    heads = read_heads + write_heads
    return [heads * memory_width, heads, heads, heads * (2 * shift_range + 1), heads, *[write_heads * memory_width] * 2]


def step(
    weights,
    x,
    states,
    cell="lstm",
    memory_locations=128,
    memory_width=20,
    read_heads=1,
    write_heads=1,
    shift_range=1,
    read_memory="old",
    first_weighting="one_hot",
    first_memory="constant",
    learn_first_states=False,
    output_reads=True,
    key_activation="tanh",
    add_activation="tanh",
    clip=20.0,
    use_bias=True,
):
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    x, output, *inner, M, before = (np.asarray(a, np.float64) for a in (x, *states))
    if use_bias != ("heads_bias" in w) or use_bias != ("bias" in w):
        raise ValueError(sorted(w))
    n, batch, heads = w["heads_kernel"].shape[0], len(x), read_heads + write_heads
    reads = output[:, n:] if output_reads else inner.pop()
    M, before = M.reshape(batch, memory_locations, memory_width), before.reshape(batch, heads, memory_locations)

    h, inner = control(w, cell, np.concatenate([x, reads], axis=-1), inner)
    z = h @ w["heads_kernel"] + w.get("heads_bias", 0.0)
    if clip is not None:
        z = np.clip(z, -clip, clip)
    blocks = np.split(z, np.cumsum(sizes(memory_width, read_heads, write_heads, shift_range)), axis=-1)
    if blocks.pop().size:
        raise ValueError(z.shape)
    k, beta, g, s, gamma = (a.reshape(batch, heads, -1) for a in blocks[:5])
    e, a = (a.reshape(batch, write_heads, memory_width) for a in blocks[5:])
    k, beta, g, s, gamma = SQUASH[key_activation](k), softplus(beta), sigma(g), softmax(s), 1.0 + softplus(gamma)
    e, a = sigma(e), SQUASH[add_activation](a)

    def weighting(head, memory):
        w_c = content(k[:, head], beta[:, head], memory)
        w_g = interpolate(w_c, before[:, head], g[:, head])
        return sharpen(shift(w_g, s[:, head]), gamma[:, head])

    writing = [weighting(read_heads + head, M) for head in range(write_heads)]
    written = M
    for head, w_t in enumerate(writing):
        written = written * (1.0 - w_t[:, :, None] * e[:, head, None])  # (3)
    for head, w_t in enumerate(writing):
        written = written + w_t[:, :, None] * a[:, head, None]  # (4)
    seen = {"old": M, "new": written}[read_memory]
    reading = [weighting(head, seen) for head in range(read_heads)]
    r = np.concatenate([np.einsum("bi,biw->bw", w_t, seen) for w_t in reading], axis=-1)  # (2)

    last = written.reshape(batch, -1), np.concatenate([*reading, *writing], axis=-1)
    return (np.concatenate([h, r], axis=-1), *inner, *last) if output_reads else (h, *inner, r, *last)


def first_states(
    weights,
    batch,
    units,
    cell="lstm",
    memory_locations=128,
    memory_width=20,
    read_heads=1,
    write_heads=1,
    first_weighting="one_hot",
    first_memory="constant",
    learn_first_states=False,
    output_reads=True,
    **others,
):
    """The states before the first step, the same for all rows of a batch."""
    inner_sizes = [units] * {"lstm": 2, "gru": 1, None: 0}[cell]
    total = sum(inner_sizes) + read_heads * memory_width
    values = np.asarray(weights["first_states"], np.float64) if learn_first_states else np.zeros(total)
    if values.shape != (total,):
        raise ValueError(values.shape)
    *inner, r = np.split(values, np.cumsum(inner_sizes))
    h = inner[0] if inner else np.zeros(units)
    if first_memory == "constant":
        M = np.full((memory_locations, memory_width), 1e-6)
    else:
        M = np.asarray(weights["first_memory"], np.float64)
    if first_weighting == "learned":
        rows = softmax(np.asarray(weights["first_weighting"], np.float64))
    else:
        row = {"one_hot": np.eye(memory_locations)[0], "uniform": np.full(memory_locations, 1.0 / memory_locations)}
        rows = np.tile(row[first_weighting], (read_heads + write_heads, 1))
    last = M.reshape(-1), rows.reshape(-1)
    states = (np.concatenate([h, r]), *inner, *last) if output_reads else (h, *inner, r, *last)
    return tuple(np.tile(state, (batch, 1)) for state in states)
