"""The external memory of a cell, such as the outputs of an encoder: how it is given, checked and prepared."""

import weakref

from keras import ops

from archs._core import calls
from archs._core.policy import InPolicyOf

_latest = weakref.WeakKeyDictionary()


def memorize(cell, memory, mask):
    """Gives a cell a memory for the calls of this context, and of those that have given it none."""
    check(cell, memory)
    calls.memorized.set(cell, (memory, mask))
    _latest[cell] = memory, mask


def check(cell, memory):
    """Refuses a memory, or None, that the cell cannot read."""
    if not cell.reads_memory:
        raise ValueError(f"Expected no memory for {type(cell).__name__}, which reads none.")
    if memory is None:
        return
    shape, entries = tuple(memory.shape), cell.memory_entries
    if len(shape) != 3 or shape[-1] != cell.memory_size or (entries and shape[1] not in (None, entries)):
        raise ValueError(
            f"Expected a memory of shape (batch, {entries or 'time'}, {cell.memory_size}), received {shape}."
        )


def prepared(cell, memory=None, mask=None):
    """A memory, by default the memorized one, as `cell.prepare` makes it ready to be read."""
    if memory is None:
        memory, mask = calls.memorized.get(cell) or _latest.get(cell) or (None, None)
    if memory is None:
        raise ValueError(
            f"Expected a memory for {type(cell).__name__}: `cell.memorize(memory, mask)`, or `memory=` in the call of "
            "`archs.Recurrent`. Received none."
        )
    check(cell, memory)
    memory = ops.cast(memory, cell.compute_dtype)
    if mask is None:
        mask = ops.ones_like(memory[..., 0])
    else:
        mask = ops.cast(mask, "bool")
        memory, mask = ops.where(mask[..., None], memory, 0), ops.cast(mask, cell.compute_dtype)
    return list(InPolicyOf(cell)([memory, mask], function=cell.prepare))
