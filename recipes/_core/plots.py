"""Pictures of a training, as PNG."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def curves(history, path):
    """Draws each metric over the epochs, training and validation in one panel.

    Args:
        history: list of dicts, one per epoch, with the metrics of the validation under `val_<name>`.
        path: of the PNG.
    """
    names = [name.removeprefix("val_") for name in history[0] if name.startswith("val_")]
    epochs = [row["epoch"] for row in history]
    figure, panels = _figure(len(names), width=5.2, height=3.6)
    for panel, name in zip(panels, names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            values = [row[key] for row in history]
            panel.plot(epochs, values, marker="o", markersize=3, label=f"{label}, last {values[-1]:.3g}")
        panel.set_title(name)
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    _save(figure, path)


def confusion_matrix(truth, answers, labels, path):
    """Draws how often each class (row) was answered as each class (column).

    Args:
        truth, answers: int arrays (examples,) of class numbers.
        labels: names of the classes.
        path: of the PNG.
    """
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(counts, (truth, answers), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 1.6 + 0.5 * len(labels)
    figure, (panel,) = _figure(1, width=size, height=size)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    panel.set_xticks(range(len(labels)), labels, rotation=0 if max(map(len, labels)) < 3 else 90)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_xlabel("answered")
    panel.set_ylabel("is")
    panel.set_title(f"{(truth == answers).mean():.2%} of {len(truth):,} right")
    _save(figure, path)


def _figure(panels, width, height):
    figure = Figure(figsize=(width * panels, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _save(figure, path):
    figure.savefig(path, dpi=120)
