"""`recipes bench`: layers of cells, a training step, an inference or a streaming step each."""

import statistics

from recipes._core.bench import loads, peers
from recipes._core.bench.session import Worker, figures, ratio

SIZES = [(32, 100, 128, 128), (64, 100, 128, 256), (20, 35, 650, 650)]
PHASES = {"train": "training step", "inference": "inference", "step": "streaming step"}


def measure(session, cell, size, phase):
    """The rows of one cell at one size, ours first."""
    wanted = [(name, cell) for name in peers.implementations(cell, phase)]
    anchors = [("archs", "lstm"), ("torch", "lstm"), ("matrix product", "lstm")]
    anchors = [a for a in anchors if a[0] != "torch" or "torch" in peers.installed()]
    opened = {}
    for name, of in dict.fromkeys([*wanted, *anchors]):
        for xla in _modes(name, phase):
            session.open(opened, (name, of, xla), peers.library_of(name), _subject(name, of, size, phase, xla))
    times = session.times(opened)
    medians = {mode: statistics.median(values) for mode, values in times.items()}

    def better(name, of):
        modes = [mode for mode in medians if mode[:2] == (name, of)]
        return min(modes, key=medians.get) if modes else None

    def ms(name, of):
        return medians.get(better(name, of))

    rows = []
    ours, lstm = (opened["archs", of, "XLA"][2] | opened["archs", of, "graph"][2] for of in (cell, "lstm"))
    product = ms("matrix product", "lstm")
    for name, _ in wanted:
        row = {"implementation": name, "cell": cell, "phase": phase, "size": size}
        mode = better(name, cell)
        if mode is None:
            rows.append(row | {"error": opened[name, cell, "graph"][2]["error"]})
            continue
        row |= {
            "mode": mode[2] if name.startswith(("archs", "keras")) else None,
            **figures(times[mode]),
            "modes_ms": {m[2]: t for m, t in medians.items() if m[:2] == (name, cell)},
            "compile_s": opened[mode][2]["compile_s"],
            "to_plain": ratio(medians[mode], ms("keras.layers.RNN", cell)),
            "to_torch": ratio(medians[mode], ms("torch", cell if cell == "gru" else "lstm")),
        }
        if phase != "step" and product and "weights" in ours and "weights" in lstm:
            share = ours["weights"] / lstm["weights"]
            floor = product * share * (3 if phase == "train" else 1)
            row |= {
                "floor_ms": floor,
                "to_floor": ratio(medians[mode], floor),
                "to_lstm_per_operation": ratio(medians[mode] / share, ms("archs", "lstm")),
            }
        if name == "archs" and "gated" in ours:
            row |= {"gated": ours["gated"], "graph_nodes": opened[mode][2]["graph_nodes"]}
        if phase == "train" and session.options.memory:
            row["memory_mib"] = memory(session, name, cell, size, mode[2])
        rows.append(row)
    session.rows += rows
    return rows


def _modes(name, phase):
    """Ways in which TensorFlow runs it: compiled as a whole, as a graph, or with its loop compiled."""
    ways = ["XLA", "graph"] if name in ("archs", "keras.layers.RNN", "keras.layers") else ["graph"]
    return [*ways, "loop"] if name == "archs" and phase == "inference" else ways


def _subject(name, cell, size, phase, mode):
    return {"implementation": name, "cell": cell, "size": size, "phase": phase, "mode": mode}


def memory(session, name, cell, size, mode):
    """By how much the first two training steps raise the peak memory of a fresh process, in MiB."""
    worker = Worker(peers.library_of(name), session.options.threads, session.options.device)
    subject = _subject(name, cell, size, "train", mode) | {"dtype": session.options.dtype}
    answer = worker.ask("open", key="", subject=subject)
    worker.stop()
    return answer.get("memory_mib")


def show(session, cells):
    """Measures and prints."""
    for phase in session.options.phase or ["train", "inference"]:
        sizes = session.options.size or SIZES
        for size in [(1, 1, size[2], size[3]) for size in sizes] if phase == "step" else sizes:
            print(f"\n{PHASES[phase]}, batch {size[0]}, time {size[1]}, features {size[2]}, units {size[3]}")
            print(_HEAD)
            for cell in cells:
                for row in measure(session, cell, size, phase):
                    print(line(row), flush=True)
    print(_LEGEND)


_LEGEND = f"""
ms: median, and the distance of the quartiles (of {loads.STEPS} streaming steps). mode: the fastest of
XLA, a graph, and for inference a graph whose loop is compiled (`jit_compile=True` of `archs.Recurrent`).
Ratios, smaller is better: to keras.layers.RNN of the same cell; to torch.nn.LSTM (of gru, to torch.nn.GRU); to the
time of the step's matrix products at the rate of one large product; per operation of those, to archs.Recurrent(lstm).
MiB: by how much two training steps raise the peak memory of a fresh process; on a GPU, its host's."""

_HEAD = (
    f"{'':<38} {'ms':>8} {'+-':>6} {'mode':>6} {'/plain':>7} {'/torch':>7} {'/floor':>7} {'/lstm':>6} "
    f"{'compile s':>9} {'MiB':>6}"
)


def line(row):
    title = f"{peers.TITLES[row['implementation']](row['cell']):<38}"
    if "error" in row:
        return f"{title} {row['error']}"
    low, high = row["quartiles_ms"]
    ratios = [row.get(key) for key in ("to_plain", "to_torch", "to_floor", "to_lstm_per_operation")]
    ratios = [f"{'' if ratio is None else format(ratio, '.2f'):>7}" for ratio in ratios]
    memory = row.get("memory_mib")
    return (
        f"{title} {row['ms']:>8.2f} {high - low:>6.2f} {row['mode'] or '':>6} {' '.join(ratios[:3])} {ratios[3][1:]} "
        f"{row['compile_s']:>9.1f} {'' if memory is None else format(memory, '.0f'):>6}"
    )
