"""The catalog: what `@cell`, `@node` and `@arch` register, and how it is looked up by name."""

import dataclasses
import fnmatch
import importlib
import inspect
import pkgutil

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell
from archs._core.names import nearest
from archs._core.node import Node


@dataclasses.dataclass(frozen=True)
class Entry:
    """One member of the catalog.

    Attributes:
        name: catalog name, equal to the name of the file that defines it; an architecture may share it with a cell.
        kind: `"cell"`, `"node"` or `"arch"`.
        target: the class of a cell or node, or the factory.
        paper: authors and year of the source.
        url: where to read it.
        year: of publication.
    """

    name: str
    kind: str
    target: object
    paper: str
    url: str
    year: int

    @property
    def summary(self):
        """First line of the target's docstring."""
        return inspect.getdoc(self.target).splitlines()[0]


_KINDS = {"cell": "a cell", "node": "a node", "arch": "an architecture"}
_entries = {}


def cell(*, paper, url, year):
    """Class decorator: enters a cell into the catalog and registers it for Keras serialization as `archs>Name`."""

    def decorate(cls):
        cls = keras.saving.register_keras_serializable(package="archs")(cls)
        return _enter(cls, "cell", paper, url, year)

    return decorate


def node(*, paper, url, year):
    """Class decorator: enters a node cell into the catalog, likewise."""

    def decorate(cls):
        cls = keras.saving.register_keras_serializable(package="archs")(cls)
        return _enter(cls, "node", paper, url, year)

    return decorate


def arch(*, paper, url, year):
    """Function decorator: enters an architecture's factory into the catalog."""
    return lambda factory: _enter(factory, "arch", paper, url, year)


def _enter(target, kind, paper, url, year):
    name = target.__module__.rpartition(".")[2]
    if kind == "arch" and target.__name__ != name:
        raise ValueError(f"A factory has the name of its file: expected {name!r}, received {target.__name__!r}.")
    taken = _entries.get((name, kind))
    if taken and taken.target.__module__ != target.__module__:
        raise ValueError(f"{name!r} is in the catalog already, from {taken.target.__module__}.")
    _entries[name, kind] = Entry(name, kind, target, paper, url, year)
    return target


def discover(package):
    """Imports every public module directly in `package` (a package name), so that its members register."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_") and not module.ispkg:
            importlib.import_module(f"{package}.{module.name}")


def entries(kind=None, pattern="*"):
    """The entries of one kind (or all) whose names match a shell pattern, sorted by name."""
    return [e for (name, _), e in sorted(_entries.items()) if kind in (None, e.kind) and fnmatch.fnmatch(name, pattern)]


def entry(name, kind=None):
    """The entry called `name`.

    Raises:
        ValueError: there is none, and the message gives the nearest names; or there are several kinds of it.
    """
    checks.one_of("kind", kind, (None, *_KINDS))
    kinds = [one for one in _KINDS if (name, one) in _entries]
    if kind is None and len(kinds) > 1:
        which = " or ".join(map(repr, kinds))
        raise ValueError(f"Expected `kind` to be {which} with {name!r}, which is both, received None.")
    known = {e.name: e for e in entries(kind)}
    if name not in known:
        what = _KINDS.get(kind, "a cell, a node or an architecture")
        raise ValueError(f"Expected {what} of the catalog, received {name!r}. {nearest(name, known)}")
    return known[name]


def make_cell(cell, units, **arguments):
    """A cell from what a factory's `cell=` takes.

    Args:
        cell: a catalog name, a cell class, or a function `units -> cell`.
        units: positive integer.
        **arguments: further constructor arguments, for a name or a class. A function sets its own.

    Raises:
        ValueError: an unknown name, something that is none of the three, arguments for a function,
            something that does not make a cell of them, or a cell that reads an external memory or noise.
    """
    if isinstance(cell, str):
        cell = entry(cell, "cell").target
    if not callable(cell) or isinstance(cell, keras.layers.Layer):
        raise ValueError(f"Expected `cell` to be a name, a class or a function units -> cell, received {cell!r}.")
    if cell is Cell:
        raise ValueError("Expected `cell` to have a recurrence, received archs.Cell, of which cells are made.")
    if arguments and not isinstance(cell, type):
        raise ValueError(f"Expected the function given as `cell` to set {', '.join(sorted(arguments))} itself.")
    try:
        made = cell(units, **arguments)
    except TypeError as error:
        given = ", ".join([str(units), *(f"{name}={value!r}" for name, value in arguments.items())])
        raise ValueError(f"Expected what is given as `cell` to take ({given}), received from it: {error}") from error
    is_cell = isinstance(made, keras.layers.Layer) and hasattr(made, "state_size")
    if not is_cell or isinstance(made, keras.layers.RNN):
        raise ValueError(f"Expected what is given as `cell` to make a cell, received {made!r} from {cell!r}.")
    for kind in ("memory", "noise"):
        if getattr(made, f"reads_{kind}", False):
            raise ValueError(f"Expected a `cell` that reads no {kind}, received {made!r}.")
    return made


def make_node(node, units, **arguments):
    """A node cell from what a factory's `node=` takes.

    Args:
        node: a catalog name, a class of node cells, or a function `units -> node`.
        units: positive integer.
        **arguments: further constructor arguments, for a name or a class. A function sets its own.

    Raises:
        ValueError: an unknown name, something that is none of the three, arguments for a function, or something that
            makes no node of them.
    """
    units = checks.positive_integer("units", units)
    if isinstance(node, str):
        node = entry(node, "node").target
    if not callable(node) or isinstance(node, keras.layers.Layer):
        raise ValueError(f"Expected `node` to be a name, a class or a function units -> node, received {node!r}.")
    given = {name: value for name, value in arguments.items() if value is not None}
    if given and not isinstance(node, type):
        raise ValueError(f"Expected the function given as `node` to set {', '.join(sorted(given))} itself.")
    try:
        made = node(units, **given)
    except TypeError as error:
        raise ValueError(f"Expected what is given as `node` to take units, received from it: {error}") from error
    if not isinstance(made, Node) or type(made) is Node:
        raise ValueError(f"Expected what is given as `node` to make a node, received {made!r} from {node!r}.")
    return made


def state_sizes(cell):
    """The sizes of the states of any cell, as a list: Keras takes an integer for one state, too."""
    return keras.tree.flatten(cell.state_size)


def output_size(cell):
    """The size of the output of any cell, which by default is that of its first state."""
    size = getattr(cell, "output_size", None)
    return state_sizes(cell)[0] if size is None else size


def initial_states(cell, batch_size):
    """The states of any cell before the first step, a flat list: zeros, if it does not say otherwise."""
    if hasattr(cell, "get_initial_state"):
        return keras.tree.flatten(cell.get_initial_state(batch_size=batch_size))
    return [ops.zeros((batch_size, size), dtype=cell.compute_dtype) for size in state_sizes(cell)]
