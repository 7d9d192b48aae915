"""`recipes bench --fit`: whole steps of `fit`."""

import statistics

from recipes._core.bench import loads, peers
from recipes._core.bench.layers import SIZES
from recipes._core.bench.session import figures, ratio

MEAN_TIME = statistics.mean(loads.TIMES[:: len(loads.TIMES) - 1])


def measure(session, cell, size, lengths, varying):
    """The rows of whole training steps of one cell at one size: by the default of `compile`, and with XLA."""
    names = [name for name in ("archs", "keras.layers", "torch") if name in peers.implementations(cell, "fit")]
    kinds = {"lengths": lengths, "varying": varying}
    opened = {}
    for name in names:
        for mode in ["default"] if name == "torch" or varying or lengths else ["default", "XLA"]:
            subject = {"implementation": name, "cell": cell, "size": size, "phase": "fit", "mode": mode} | kinds
            session.open(opened, (name, mode), peers.library_of(name), subject)
    times = session.times(opened)
    medians = {mode: statistics.median(values) for mode, values in times.items()}
    rows = []
    for (name, mode), (_, _, answer) in opened.items():
        row = {"implementation": name, "cell": cell, "phase": "fit", "size": size, "mode": mode, **kinds}
        if "error" in answer:
            row["error"] = answer["error"]
        else:
            ms = medians[name, mode]
            row |= {**figures(times[name, mode]), "compile_s": answer["compile_s"]}
            row["to_keras"] = ratio(ms, medians.get(("keras.layers", "default")))
            row["to_torch"] = ratio(ms, medians.get(("torch", "default")))
        rows.append(row)
    session.rows += rows
    return rows


def show(session, cells):
    """Measures and prints."""
    sizes = session.options.size or SIZES
    for size in sizes:
        batch, _, features, units = size
        for lengths, varying in ((False, False), (True, False), (False, True)):
            kinds = [(False, (batch, round(MEAN_TIME), features, units)), (True, size)] if varying else [(False, size)]
            means = {}
            for varies, of_size in kinds:
                times = f"{loads.TIMES[0]} to {loads.TIMES[-1]}" if varies else of_size[1]
                print(
                    f"\na step of fit, batch {batch}, time {times}, features {features}, units {units}"
                    f"{', with lengths' if lengths else ''}\n{_HEAD}"
                )
                for cell in cells:
                    for row in measure(session, cell, of_size, lengths, varies):
                        key = row["implementation"], cell, row["mode"]
                        if "ms" in row and varies and key in means:
                            row["to_fixed"] = means[key] / row["ms"]
                        means[key] = row.get("ms")
                        print(_line(row), flush=True)
    print(_LEGEND)


_HEAD = f"{'':<38} {'ms':>8} {'+-':>6} {'mode':>8} {'/keras':>7} {'/torch':>7} {'to fixed':>8} {'first s':>8}"

_LEGEND = f"""
ms: of one step, the median over the rounds of an epoch of {loads.BATCHES} steps, and the distance of the
quartiles; with data, loss, optimizer and metrics. mode: the default of compile(), or jit_compile=True.
Ratios, smaller is better: to the same model of keras.layers by default, and to a training loop of torch. to fixed:
steps a second where the time varies, to those where it is the mean of these; larger is better. first s: by how much the
first epoch takes longer."""


def _line(row):
    title = f"{peers.TITLES[row['implementation']](row['cell']):<38}"
    if "error" in row:
        return f"{title} {row['error']}"
    low, high = row["quartiles_ms"]
    mode = "" if row["implementation"] == "torch" else row["mode"]
    ratios = [row.get(key) for key in ("to_keras", "to_torch", "to_fixed")]
    shown = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
    return (
        f"{title} {row['ms']:>8.2f} {high - low:>6.2f} {mode:>8} {shown[0]:>7} {shown[1]:>7} {shown[2]:>8} "
        f"{row['compile_s']:>8.1f}"
    )
