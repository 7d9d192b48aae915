"""`recipes bench --exports`: what an exported model costs in the programs that run it, beside torch.

A model of one recurrent layer is asked for one request of a sequence, and for one streaming step, whose states come
back in the next; a model of tokens writes a text. All but torch run the same weights.
"""

import importlib.util
import pathlib
import statistics
import tempfile

from recipes._core.bench import loads, peers
from recipes._core.bench.session import figures, ratio

SIZES = [(1, 100, 64, 64), (1, 100, 256, 256)]
_ENDINGS, _MODULES = {"litert": "tflite", "onnx": "onnx"}, {"litert": "ai_edge_litert"}
PHASES = {"logits": "one request", "step": "one streaming step", "text": "a token of a text that is written"}
# By name of the program: its library, what it reads, and what it can be asked for.
RUNTIMES = {
    "SavedModel": ("tensorflow", "saved_model", PHASES),
    "SavedModel, --xla": ("tensorflow", "xla", ["logits"]),
    "LiteRT": ("litert", "litert", ["logits", "step"]),
    "ONNX Runtime": ("onnxruntime", "onnx", ["logits", "step"]),
    "torch": ("torch", None, PHASES),
    "torch.export": ("torch", None, ["logits", "step"]),
}


def measure(session, cell, size):
    """Yields the rows of the exports of one cell at one size."""
    with tempfile.TemporaryDirectory() as folder:
        failed = session.worker("tensorflow").ask("export", cell=cell, size=size, folder=folder)
        if "error" in failed:
            failed = {form: failed["error"] for _, form, _ in RUNTIMES.values() if form}
        for phase in PHASES:
            yield from _rows(session, cell, size, phase, pathlib.Path(folder), failed)


def _rows(session, cell, size, phase, folder, failed):
    opened = {}
    for name, (library, form, phases) in RUNTIMES.items():
        if phase not in phases or (library == "torch" and cell not in peers.TORCH):
            continue
        path = folder / form / f"{phase}.{_ENDINGS[form]}" if form in _ENDINGS else folder / (form or "")
        subject = {"implementation": name, "cell": cell, "size": size, "phase": phase, "mode": "", "path": str(path)}
        if form in failed:
            opened[name,] = None, "", {"error": failed[form]}
        elif importlib.util.find_spec(_MODULES.get(library, library)):
            session.open(opened, (name,), library, subject)
    times = session.times(opened)
    medians = {name: statistics.median(values) for (name,), values in times.items()}
    for (name,), (_, _, answer) in opened.items():
        row = {"implementation": name, "cell": cell, "phase": phase, "size": size}
        if "error" in answer:
            row["error"] = answer["error"]
        else:
            row |= figures(times[name,]) | {"compile_s": answer["compile_s"]}
            row["to_onnx"] = ratio(medians[name], medians.get("ONNX Runtime"))
            row["to_torch"] = ratio(medians[name], medians.get("torch"))
        session.rows.append(row)
        yield row


def show(session, cells):
    """Measures and prints."""
    for cell in cells:
        for size in session.options.size or SIZES:
            phase = None
            for row in measure(session, cell, size):
                if row["phase"] != phase:
                    phase = row["phase"]
                    batch, time, features, units = size
                    print(f"\n{PHASES[phase]}, {cell}, batch {batch}, time {time}, features {features}, units {units}")
                    print(f"{'':<20} {'ms':>8} {'+-':>6} {'/ONNX':>7} {'/torch':>7} {'first s':>8}")
                print(_line(row), flush=True)
    print(_LEGEND)


_LEGEND = f"""
ms: median, and the distance of the quartiles; of {loads.STEPS} steps, each called from Python, and of {loads.TOKENS}
tokens after a prompt of {loads.PROMPT}, the time of one. SavedModel: as `export` writes it, called by its signature.
torch: as it is, and exported for one shape. Ratios, smaller is better: to ONNX Runtime, and to torch as it is."""


def _line(row):
    if "error" in row:
        return f"{row['implementation']:<20} {row['error']}"
    low, high = row["quartiles_ms"]
    ratios = [f"{'' if row[key] is None else format(row[key], '.2f'):>7}" for key in ("to_onnx", "to_torch")]
    return (
        f"{row['implementation']:<20} {row['ms']:>8.3f} {high - low:>6.3f} {' '.join(ratios)} {row['compile_s']:>8.1f}"
    )
