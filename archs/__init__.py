"""Recurrent architectures and cells for Keras 3.

`archs.list_archs()` and `archs.list_cells()` name what there is, `archs.create(name, ...)` builds one, and every
factory and cell class stands in this namespace: `archs.vanilla_lstm(...)`, `archs.LSTMCell(...)`.
"""

from archs._core import decoding, drawing, exchange, generation, latents, losses, registry as _registry, tracing
from archs._core.cell import Cell
from archs._core.chrono import ChronoInitializer
from archs._core.recurrent import Recurrent

__version__ = "0.1.0"

_registry.discover("archs.cells")
_registry.discover("archs")
_members = {entry.target.__name__: entry.target for entry in _registry.entries()}
# A factory has the name of its module: from here on `archs.vanilla_lstm` is the factory.
globals().update(_members)

__all__ = [
    "Cell",
    "ChronoInitializer",
    "Recurrent",
    "create",
    "decoding",
    "drawing",
    "exchange",
    "generation",
    "get",
    "latents",
    "list_archs",
    "list_cells",
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


def get(name, kind=None):
    """The factory or the cell class that the catalog calls `name`.

    Args:
        name: catalog name.
        kind: `"cell"` or `"arch"`; needed where a cell and an architecture share the name.

    Raises:
        ValueError: there is none, and the message gives the nearest names; or a `kind` is needed.
    """
    return _registry.entry(name, kind).target


def create(name, /, *args, kind=None, **kwargs):
    """Calls the factory or the cell class `name` with the arguments that follow, but for `kind`, see `get`.

    >>> import archs
    >>> archs.create("vanilla_lstm", features=4, units=6, outputs=2).name
    'vanilla_lstm'
    """
    return get(name, kind)(*args, **kwargs)
