"""Dropout and zoneout of cells: how their settings are checked, where masks are drawn, how old states are kept."""

import keras
from keras import ops

from archs._core import calls, checks

METHODS = ("gal", "zaremba", "semeniuta")


def check_method(cell, method):
    """The dropout method, if it fits the cell and its rates."""
    checks.one_of("dropout_method", method, METHODS)
    if cell.recurrent_dropout and method == "zaremba":
        raise ValueError(
            "Expected no `recurrent_dropout` with `dropout_method='zaremba'`, which has none, received "
            f"{cell.recurrent_dropout}."
        )
    if cell.recurrent_dropout and method == "semeniuta" and cell.candidate is None:
        raise ValueError(
            f"Expected `recurrent_dropout` of {type(cell).__name__} with `dropout_method='gal'`, received 'semeniuta', "
            "which drops the candidate of a memory; this cell has none."
        )
    return method


def check_zoneout(cell, zoneout, expectation):
    """The rate of zoneout, or the list of one for each state."""
    if expectation and cell.one_memory:
        raise ValueError(
            f"Expected no `zoneout_expectation` for {type(cell).__name__}, whose states {', '.join(cell.one_memory)} "
            "are one memory and have no mean each on its own."
        )
    if isinstance(zoneout, (list, tuple)):
        return [checks.rate("zoneout", rate) for rate in zoneout]
    return checks.rate("zoneout", zoneout)


def rates(cell):
    """The rate of zoneout of each state.

    Raises:
        ValueError: there are not as many as states, or states that are one memory have several.
    """
    if not isinstance(cell.zoneout, list):
        return [cell.zoneout] * len(cell.states)
    if len(cell.zoneout) != len(cell.states):
        raise ValueError(
            f"Expected `zoneout` to be a rate, or one for each state ({', '.join(cell.states)}), "
            f"received {cell.zoneout}."
        )
    if len({rate for name, rate in zip(cell.states, cell.zoneout, strict=True) if name in cell.one_memory}) > 1:
        raise ValueError(
            f"Expected `zoneout` to have one rate for {', '.join(cell.one_memory)}, which are one memory, "
            f"received {cell.zoneout}."
        )
    return cell.zoneout


def is_drawn_in_each_step(cell, training):
    """True if a loop over time has to draw: zoneout, and all dropout but Gal's, except on the inputs of the cell."""
    if any(rates(cell)) and (training or cell.zoneout_expectation):
        return True
    drops = cell.recurrent_dropout or (cell.dropout and cell.inner_sizes)
    return bool(training and drops and cell.dropout_method != "gal")


def draw_mask(cell, place, batch):
    """A mask of Gal's dropout, (batch, size), for all steps of a sequence; None where the cell has no such dropout.

    Args:
        cell: whose rates and seed it is of.
        place: `"input"` or `"recurrent"`.
        batch: number of rows.
    """
    rate = cell.dropout if place == "input" else cell.recurrent_dropout
    if not rate or cell.dropout_method != "gal":
        return None
    ones = ops.ones((batch, sum(sizes(cell, place))), cell.compute_dtype)
    return keras.random.dropout(ones, rate, seed=_seeds(cell))


def announce(cell, place, batch):
    """Draws the mask of a sequence that begins: `keras.layers.RNN` asks for it before its loop, inputs first."""
    call = calls.get(cell)
    if call is None or (place in call.masks and call.draws):  # a call that failed may have left its masks
        call = calls.Call()
        calls.put(cell, call)
    if call.draws:
        call.masks[place] = draw_mask(cell, place, batch)
    return call.masks.get(place)


def sizes(cell, place):
    """The sizes of what the parts of a mask are for, one per site of `Step.drop_input` or `Step.drop_recurrent`."""
    return [cell.input_spec.axes[-1], *cell.inner_sizes] if place == "input" else cell.product_sizes


def masked(cell, place, a, mask, site):
    """`a` (batch, n) or (batch, time, n) times the part of a mask that is for `site`."""
    start = sum(sizes(cell, place)[:site])
    mask = mask[:, start : start + sizes(cell, place)[site]]
    return a * ops.cast(mask[:, None] if len(a.shape) == 3 else mask, a.dtype)


def drop_afresh(cell, a, rate):
    """`a` under dropout of a mask of its own."""
    return keras.random.dropout(a, rate, seed=_seed_of_a_step(cell))


def zone_out(cell, old, new, training):
    """The new states, with what zoneout keeps of the old ones."""
    chances = rates(cell)
    if not any(chances) or not (training or cell.zoneout_expectation):
        return new
    kept, states = {}, []
    for name, rate, a, b in zip(cell.states, chances, old, new, strict=True):
        memory = "".join(cell.one_memory) if name in cell.one_memory else name
        if name in cell.clocks or not rate:
            a = b
        elif not training:
            a = rate * a + (1 - rate) * b
        else:
            if memory not in kept:
                kept[memory] = keras.random.uniform(ops.shape(b), seed=_seed_of_a_step(cell)) < rate
            a = ops.where(kept[memory], a, b)
        states.append(a)
    return tuple(states)


def _seeds(cell):
    call = calls.get(cell)
    return cell.seed_generator if call is None or call.seeds is None else call.seeds


def _seed_of_a_step(cell):
    if keras.backend.backend() == "jax":
        raise NotImplementedError(
            "Expected `dropout_method='gal'` and no zoneout for training on JAX, whose loop over time cannot draw a "
            f"fresh mask in each step, received {cell.dropout_method!r} and a zoneout of {cell.zoneout}."
        )
    return _seeds(cell)
