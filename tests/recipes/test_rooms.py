"""The rooms of the house: no module, and no room, needs itself by way of others."""

import ast
import graphlib
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def needs():
    """Name of each module -> names of the modules of the project that it imports, also within functions."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("archs", "recipes")
        for path in (ROOT / package).rglob("*.py")
    }
    found = {}
    for name, path in paths.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                asked = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {one if one in paths else node.module for one in asked} & paths.keys()
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & paths.keys()
        found[name] -= {name}
    return found


def room(module):
    """The folder of `recipes` or `recipes/_core` that a module is in; of one that is in none, its own name."""
    parts = module.split(".")
    depth = 3 if parts[:2] == ["recipes", "_core"] else 2
    return ".".join(parts[:depth])


def test_no_module_needs_itself_by_way_of_others():
    found = needs()
    assert len(found) > 100
    assert list(graphlib.TopologicalSorter(found).static_order())


def test_no_room_needs_itself_by_way_of_others():
    rooms = {}
    for module, others in needs().items():
        if module.startswith("recipes."):
            own = room(module)
            rooms.setdefault(own, set()).update({room(one) for one in others if one.startswith("recipes.")} - {own})
    assert {"recipes._core.export", "recipes._core.server", "recipes._core.train"} <= rooms.keys()
    assert list(graphlib.TopologicalSorter(rooms).static_order())


def test_the_catalog_never_imports_recipes():
    for name, others in needs().items():
        assert not (name.startswith("archs") and any(other.startswith("recipes") for other in others)), name
