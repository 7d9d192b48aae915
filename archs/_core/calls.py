"""State of one call of a cell, masks and a memory, which `keras.layers.RNN` cannot hand to the steps.

That layer hands a step its inputs, its states and `training`, nothing else. What else a step may use is kept here, by
context: that of a thread or an asyncio task. Nothing stands on the cell, so that calls never meet.
"""

import contextlib
import contextvars
import dataclasses
import weakref


@dataclasses.dataclass
class Call:
    """One call of a sequence layer, as one of its cells sees it.

    Attributes:
        draws: whether dropout masks are drawn at all.
        masks: of `"input"` and `"recurrent"` dropout, once they are drawn: a tensor, or None for no dropout.
        memory: None, or what the cell prepared of its external memory.
        seeds: None, or a seed generator to draw from in place of the cell's.
    """

    draws: bool = True
    masks: dict = dataclasses.field(default_factory=dict)
    memory: list | None = None
    seeds: object = None


class _ByCell:
    """A value for each cell, for this context. Cells that are gone are forgotten."""

    def __init__(self, name):
        self._values = contextvars.ContextVar(name)

    def get(self, cell):
        return self._values.get({}).get(cell)

    def set(self, cell, value):
        values = weakref.WeakKeyDictionary(self._values.get({}))
        values.pop(cell, None)
        if value is not None:
            values[cell] = value
        self._values.set(values)


_calls = _ByCell("calls")
get = _calls.get
put = _calls.set
memorized = _ByCell("memorized")


@contextlib.contextmanager
def within(cell, call):
    """Lets the steps of `cell` find `call` until the end of the block."""
    before = get(cell)
    put(cell, call)
    try:
        yield
    finally:
        put(cell, before)
