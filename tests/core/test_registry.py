"""Lookup by name, and the table of `python -m archs`."""

import pathlib
import subprocess
import sys
import tomllib

import pytest

import archs
from archs.__main__ import page
from archs._core import registry


def test_lists_take_a_pattern():
    assert "lstm" in archs.list_cells()
    assert archs.list_cells("ls*") == [name for name in archs.list_cells() if name.startswith("ls")]
    assert archs.list_archs("nothing*") == []
    assert archs.list_nodes("*lstm") == ["child_sum_lstm", "nary_lstm"]


def test_get_and_create():
    assert archs.get("lstm") is archs.LSTMCell
    assert archs.get("vanilla_lstm") is archs.vanilla_lstm
    assert archs.create("lstm", 3).units == 3
    assert archs.get("rntn", "node") is archs.RNTNNode


def test_a_cell_and_an_architecture_may_share_a_name(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    def lstm():
        """An architecture."""

    lstm.__module__ = "somewhere.lstm"
    registry.arch(paper="", url="", year=0)(lstm)
    assert archs.get("lstm", "cell") is archs.LSTMCell
    assert archs.get("lstm", kind="arch") is lstm
    assert archs.create("lstm", 3, kind="cell").units == 3
    assert [entry.kind for entry in registry.entries(pattern="lstm")] == ["arch", "cell"]
    assert page("lstm").count("lstm: archs.") == 2
    with pytest.raises(ValueError, match="`kind` to be 'cell' or 'arch' with 'lstm', which is both, received None"):
        archs.get("lstm")
    with pytest.raises(ValueError, match="`kind` to be one of None, 'cell', 'node', 'arch', received 'layer'"):
        archs.create("lstm", 3, kind="layer")
    with pytest.raises(ValueError, match="Expected an architecture of the catalog, received 'gru'"):
        archs.get("gru", "arch")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("lstn", "Did you mean lstm"),
        ("LSTM", "Did you mean lstm "),
        ("vanila_lstm", "vanilla_lstm"),
        ("", "There are: "),
    ],
)
def test_unknown_name_names_the_nearest(word, hint):
    with pytest.raises(ValueError, match=f"received '{word}'.*{hint}"):
        archs.get(word)


def test_the_version_is_the_one_of_the_package():
    project = tomllib.loads((pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert archs.__version__ == project["project"]["version"]


def test_a_name_is_taken_once():
    class Other:
        """Other."""

    Other.__module__ = "somewhere.lstm"
    with pytest.raises(ValueError, match="'lstm' is in the catalog already"):
        registry._enter(Other, "cell", paper="", url="", year=0)


def test_a_factory_has_the_name_of_its_file():
    def other():
        """Other."""

    with pytest.raises(ValueError, match="expected 'test_registry', received 'other'"):
        registry.arch(paper="", url="", year=0)(other)


def test_archs_imports_nothing_of_the_recipes():
    code = "import sys, archs; print([m for m in ('tensorflow_datasets', 'recipes') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
