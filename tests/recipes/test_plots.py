"""Pictures of a training: nothing is cut off, and axes say what they show."""

import numpy as np
import pytest

from recipes._core.evaluate import plots


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, in place of their files."""
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize(
    "labels",
    [["neg", "pos"], ["a", "b", "c"], ["a long label", "$x"], ["x" * 1000, "y"], [str(n) for n in range(300)]],
)
def test_all_of_a_confusion_matrix_is_in_the_picture(labels, drawn):
    truth = np.random.default_rng(0).integers(len(labels), size=25_000)
    plots.confusion_matrix(truth, np.where(truth == 0, 1, truth), labels, "matrix.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    (panel,) = figure.axes
    texts = [figure._suptitle, panel.xaxis.label, panel.yaxis.label, *panel.get_xticklabels(), *panel.get_yticklabels()]
    for text in texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= width, text.get_text()
        assert 0 <= box.y0 <= box.y1 <= height, text.get_text()
    assert panel.get_window_extent().width / figure.dpi > 0.4 * min(len(labels), 16)
    assert max(width, height) < 40 * figure.dpi


@pytest.mark.parametrize("epochs", [1, 2, 20])
def test_the_epochs_of_curves_are_whole_numbers(epochs, drawn):
    plots.curves([{"epoch": n, "loss": 1 / n, "val_loss": 2 / n} for n in range(1, epochs + 1)], "curves.png")
    (panel,) = drawn[0].axes
    low, high = panel.get_xlim()
    ticks = [tick for tick in panel.get_xticks() if low <= tick <= high]
    assert ticks
    assert ticks == [round(tick) for tick in ticks]
    assert low < 1
    assert high > epochs
    if epochs == 1:
        assert ticks == [1]
        assert (low, high) == (0.5, 1.5)
