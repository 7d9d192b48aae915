"""The catalog is complete, and each member has a page, a source and a registered name."""

import ast
import inspect

import keras
import pytest

import archs
from archs._core import registry
from tests.conformance.catalog import ARCHS, CELLS, NODES, ROOT, TREE_ARCHS

FOLDERS = {
    "archs/cells": CELLS,
    "archs/nodes": NODES,
    "archs": sorted(ARCHS + TREE_ARCHS),
    "tests/reference": CELLS,
    "tests/reference/nodes": NODES,
}
PAGES = [(name, "cell") for name in CELLS] + [(name, "node") for name in NODES]
each_page = pytest.mark.parametrize(("name", "kind"), PAGES, ids=[name for name, _ in PAGES])


@pytest.mark.parametrize(("folder", "names"), FOLDERS.items(), ids=FOLDERS)
def test_catalog_is_complete_and_not_empty(folder, names):
    files = sorted(p.stem for p in (ROOT / folder).glob("*.py") if not p.stem.startswith("_"))
    assert files
    assert files == names


@each_page
def test_cell_is_exported_and_registered(name, kind):
    cls = archs.get(name, kind)
    assert getattr(archs, cls.__name__) is cls
    assert keras.saving.get_registered_name(cls) == f"archs>{cls.__name__}"
    assert cls.__name__.lower() == name.replace("_", "") + kind


@each_page
def test_cell_page_has_all_its_sections(name, kind):
    page = inspect.getdoc(archs.get(name, kind))
    sections = ["Equations:", "Weights", "Departures", "Args:", "Call arguments:", "Returns:", "Raises:", "Example:"]
    assert [s for s in sections if s not in page] == []
    assert [page.index(s) for s in sections] == sorted(page.index(s) for s in sections)


@each_page
def test_reference_imports_numpy_only(name, kind):
    folder = ROOT / "tests/reference" / ("nodes" if kind == "node" else "")
    tree = ast.parse((folder / f"{name}.py").read_text())
    imported = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(n) for n in imported] == ["import numpy as np"]


def test_every_entry_has_a_source_and_a_summary():
    for entry in registry.entries():
        assert entry.url.startswith("https://"), entry.name
        assert str(entry.year) in entry.paper, entry.name
        assert entry.summary.endswith("."), entry.name
