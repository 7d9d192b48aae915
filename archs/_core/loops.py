"""The loops of a sequence layer on TensorFlow: run as they stand, traced for eager calls, or compiled by XLA."""

import keras
import tensorflow as tf

from archs._core import compiling, external_memory
from archs._core.fused_loop import FusedLoop, floats
from archs._core.policy import InPolicyOf


def is_fused(cell):
    """Tells whether the gradient of a built cell's loop is the fused one; otherwise it is left to autodiff."""
    memory = None
    if cell.reads_memory:
        nothing = tf.zeros((1, 1, cell.memory_size), cell.compute_dtype)
        memory = external_memory.prepared(cell, nothing)
    loop = FusedLoop(cell, False, False, False)
    inputs = tf.zeros((1, cell.input_spec.axes[-1]), cell.compute_dtype)
    x = InPolicyOf(cell)([inputs], function=cell.project)
    states = [tf.convert_to_tensor(s) for s in cell.get_initial_state(1)]
    loop.examine(x[None], states, _weights(cell, memory), {"mask": None})
    return loop.is_fused


def _weights(cell, memory):
    return [tf.convert_to_tensor(v) for v in (*cell.variables, *(memory or []))]


class Loops:
    """The loops of a sequence layer that were traced for eager calls. They keep nothing of a call."""

    def __init__(self):
        self._loops = {}

    def run(self, cell, x, states, mask, call, training, keep_outputs, add_bias=False):
        """Runs `recur` over time.

        Args:
            cell: of the catalog.
            x: what its `project` returned, (time, batch, m).
            states: list of the initial states.
            mask: bool tensor (time, batch), or None.
            call: `Call`: the dropout masks that were drawn for it, and the memory that the cell prepared.
            training: whether it is training; if so, what the gradient needs is kept, otherwise it is computed again.
            keep_outputs: whether the outputs of all steps are wanted.
            add_bias: whether x lacks the bias, which each step is to add.

        Returns:
            The first state after each step, (time, batch, size), or None, and the list of the final states. Gradients
            of any order can be taken; those of the first are the fused ones.
        """
        loop = FusedLoop(cell, training, keep_outputs, add_bias)
        states, weights = [tf.convert_to_tensor(s) for s in states], _weights(cell, call.memory)
        held = {"mask": mask if mask is None else mask[..., None], **call.masks}
        is_eager = tf.executing_eagerly()
        if is_eager and x.shape[0] < _TRACED and loop.dtype == loop.wide:
            return loop.forward(x, states, weights, held, by_autodiff=True)[:2]
        is_traced = is_eager and x.shape[0] >= _TRACED and _is_traceable(cell)
        loop = self._latest(loop) if is_traced else loop
        loop.examine(x, states, weights, held)
        if not loop.is_fused:
            return loop.forward(x, states, weights, held, by_autodiff=True)[:2]
        if is_traced:
            return _with_gradient(loop, loop.as_a_graph, x, states, weights, held)
        # A memory may have another number of entries in each call, for each of which XLA would compile.
        if not is_eager and training and call.memory is None and compiling.pays(cell.units):
            return _compiled(loop, x, states, weights, held)
        return _with_gradient(loop, (loop.forward, loop.backward), x, states, weights, held)

    def _latest(self, loop):
        """The loop like this one that was traced before, unless its cell was changed since, or this one."""
        key, settings = (id(loop.cell), loop.training, loop.keep_outputs, loop.add_bias), _settings(loop.cell)
        before = self._loops.get(key)
        if before is None or before[0] != settings:
            before = self._loops[key] = settings, loop
        return before[1]


_TRACED = 64  # steps; to trace the loop takes about as long as so many, one operation after the other


def _layers(cell):
    return [cell, *(value for value in list(vars(cell).values()) if isinstance(value, keras.layers.Layer))]


def _is_traceable(cell):
    """Tells whether the cell, and one within it, is the catalog's: others may look at the values of an eager call."""
    return all(type(layer).__module__.startswith("archs.cells.") for layer in _layers(cell))


def _settings(cell):
    """All that a user may set anew on a cell, to be compared: numbers by value, objects by identity."""
    return [
        (name, _comparable(value))
        for layer in _layers(cell)
        for name, value in list(vars(layer).items())
        if not name.startswith("_")
    ]


def _comparable(value):
    if isinstance(value, (list, tuple)):
        return [_comparable(v) for v in value]
    return (type(value), value) if isinstance(value, (bool, int, float, str)) else _Same(value)


class _Same:
    """An object that equals itself alone."""

    def __init__(self, value):
        self._value = value

    def __eq__(self, other):
        return isinstance(other, _Same) and self._value is other._value


def _compiled(loop, x, states, weights, held):
    """Runs the loop, compiled apart from the graph around it, in parts of the batch.

    Where the graph does not know the time or the rows, there is room for more of them, so that XLA compiles for few.
    What is filled up is zero: x is filled up after `project`, so that `backward` may count on it.
    """
    steps, rows = x.shape[:2]
    time, count = (tf.shape(x)[axis] for axis in (0, 1))
    more_steps = compiling.room(time) - time if steps is None else 0
    more_rows = -count % compiling.ROWS_MORE if rows is None else 0
    if held["mask"] is not None:
        held = held | {"mask": tf.broadcast_to(held["mask"], [time, count, 1])}
    arrays = x, held["mask"], states, [held[place] for place in held if place != "mask"]
    if steps is None or rows is None:

        def filled(a):
            after = [[0, more_steps], [0, more_rows], [0, 0]]
            return tf.pad(a, after if len(a.shape) == 3 else after[1:])

        is_full = tf.equal(more_steps + more_rows, 0)
        arrays = tf.cond(is_full, lambda: arrays, lambda: tf.nest.map_structure(_or_none(filled), arrays))
    counts = compiling.parts(arrays[0])

    def part(a, number):
        return tf.split(a, counts, len(a.shape) - 2)[number]  # of slices, the gradient is many times as slow

    by_part = []
    for number in range(len(counts)):
        of_part = tf.nest.map_structure(_or_none(lambda a, number=number: part(a, number)), arrays)
        x_of_part, mask, starts, masks = of_part
        masks = dict(zip([place for place in held if place != "mask"], masks, strict=True))
        given = {"mask": mask, **masks}
        until = None if steps is not None else time
        by_part.append(_with_gradient(loop, loop.compiled, x_of_part, starts, weights, given, until))
    outputs = None
    if loop.keep_outputs:
        outputs = tf.slice(tf.concat([outputs for outputs, _ in by_part], 1), [0, 0, 0], [time, count, -1])
        outputs.set_shape((steps, rows, None))
    finals = [tf.concat(of_parts, 0)[:count] for of_parts in zip(*[finals for _, finals in by_part], strict=True)]
    for final, start in zip(finals, states, strict=True):
        final.set_shape(start.shape)
    return outputs, finals


def _or_none(function):
    return lambda a: None if a is None else function(a)


def _unwatched(tensors):
    """The tensors, hidden from tapes: in a graph a tape that sees them would build the function's gradient, too."""
    return list(tensors) if tf.executing_eagerly() else [tf.stop_gradient(a) for a in tensors]


def _with_gradient(loop, functions, x, states, weights, held, time=None):
    """Returns outputs and final states by the first of two functions, with the gradient by the second."""
    (forward, backward), count = functions, len(states)

    def unpacked(tensors):
        return tensors[0], list(tensors[1 : 1 + count]), list(tensors[1 + count :])

    @tf.custom_gradient
    def run(*tensors):
        outputs, finals, saved = forward(*unpacked(_unwatched(tensors)), held, time, keep_all=loop.training)

        def gradient(*upstream):
            return first(*tensors, *upstream)

        @tf.custom_gradient
        def first(*arguments):
            upstream = arguments[len(tensors) :]
            x, states, weights = unpacked(_unwatched(arguments[: len(tensors)]))
            by_results = _unwatched(upstream)
            by_outputs = by_results.pop(0) if loop.keep_outputs else None
            kept = saved if loop.training else None
            by_x, by_states, by_weights = backward(x, states, weights, held, time, kept, by_outputs, by_results)
            by_weights = [tf.zeros_like(w) if by is None else by for w, by in zip(weights, by_weights, strict=True)]

            def second(*by_firsts):
                with tf.GradientTape() as outer:
                    outer.watch(floats(arguments))
                    with tf.GradientTape() as inner:
                        inner.watch(floats(arguments))
                        given = unpacked(arguments[: len(tensors)])
                        outputs, finals, _ = loop.forward(*given, held, time, by_autodiff=True)
                        results = [outputs, *finals] if loop.keep_outputs else finals
                    firsts = inner.gradient(results, arguments[: len(tensors)], upstream, unconnected_gradients="zero")
                return outer.gradient(firsts, arguments, by_firsts, unconnected_gradients="zero")

            return [by_x, *by_states, *by_weights], second

        return [outputs, *finals] if loop.keep_outputs else list(finals), gradient

    results = run(x, *states, *weights)
    return (results[0], results[1:]) if loop.keep_outputs else (None, results)
