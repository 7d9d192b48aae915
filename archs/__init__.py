"""Recurrent architectures and cells for Keras 3.

`archs.list_archs()`, `archs.list_cells()` and, of trees, `archs.list_nodes()` name what there is,
`archs.create(name, ...)` builds one, and every factory and class stands in this namespace: `archs.vanilla_lstm(...)`,
`archs.LSTMCell(...)`, `archs.RNTNNode(...)`.
"""

from archs._core import decoding, drawing, exchange, generation, latents, losses, registry as _registry, tracing
from archs._core.cell import Cell
from archs._core.chrono import ChronoInitializer
from archs._core.node import Node
from archs._core.recurrent import Recurrent
from archs._core.trees import Tree

__version__ = "0.1.0"

_registry.discover("archs.cells")
_registry.discover("archs.nodes")
_registry.discover("archs")
_members = {entry.target.__name__: entry.target for entry in _registry.entries()}
# A factory has the name of its module: from here on `archs.vanilla_lstm` is the factory.
globals().update(_members)

__all__ = [
    "Cell",
    "ChronoInitializer",
    "Node",
    "Recurrent",
    "Tree",
    "create",
    "decoding",
    "drawing",
    "exchange",
    "generation",
    "get",
    "latents",
    "list_archs",
    "list_cells",
    "list_nodes",
    "losses",
    "tracing",
    *sorted(_members),
]


def list_archs(pattern="*"):
    """The catalog names of the architectures that match a shell pattern such as `"*lstm*"`, sorted."""
    return [entry.name for entry in _registry.entries("arch", pattern)]


def list_cells(pattern="*"):
    """The catalog names of the cells that match a shell pattern such as `"*lstm*"`, sorted."""
    return [entry.name for entry in _registry.entries("cell", pattern)]


def list_nodes(pattern="*"):
    """The catalog names of the node cells, for trees, that match a shell pattern such as `"*lstm*"`, sorted."""
    return [entry.name for entry in _registry.entries("node", pattern)]


def get(name, kind=None):
    """The factory, or the class of cells or node cells, that the catalog calls `name`.

    Args:
        name: catalog name.
        kind: `"cell"`, `"node"` or `"arch"`; needed where two of them share the name.

    Raises:
        ValueError: there is none, and the message gives the nearest names; or a `kind` is needed.
    """
    return _registry.entry(name, kind).target


def create(name, /, *args, kind=None, **kwargs):
    """Calls the factory or the class `name` with the arguments that follow, but for `kind`, see `get`.

    >>> import archs
    >>> archs.create("vanilla_lstm", features=4, units=6, outputs=2).name
    'vanilla_lstm'
    """
    return get(name, kind)(*args, **kwargs)
