"""The loops of a sequence layer on TensorFlow: run as they stand, in parts, traced for eager calls, compiled by XLA."""

import keras
import tensorflow as tf
from keras import ops

from archs._core import calls, compiling, external_memory
from archs._core.cell import Cell
from archs._core.fused_loop import FusedLoop, floats
from archs._core.policy import InPolicyOf


def is_fused(cell):
    """Tells whether the gradient of a built cell's loop is the fused one; otherwise it is left to autodiff."""
    memory = None
    if cell.reads_memory:
        nothing = tf.zeros((1, cell.memory_entries or 1, cell.memory_size), cell.compute_dtype)
        memory = external_memory.prepared(cell, nothing)
    loop = FusedLoop(cell, False, False, False)
    inputs = tf.zeros((1, cell.input_spec.axes[-1]), cell.compute_dtype)
    x = InPolicyOf(cell)([inputs], function=cell.project)
    with calls.within(cell, calls.Call(memory=memory)):
        states = [tf.convert_to_tensor(s) for s in cell.get_initial_state(1)]
    loop.examine(x[None], states, _weights(cell, memory), {"mask": None})
    return loop.is_fused


def _weights(cell, memory):
    return [tf.convert_to_tensor(v) for v in (*cell.variables, *(memory or []))]


class Loops:
    """The loops of a sequence layer that were traced for eager calls. They keep nothing of a call."""

    def __init__(self):
        self._loops = {}

    def run(self, cell, sequences, states, mask, call, training, keep_outputs, jit_compile):
        """Runs `recur` over time: in a graph, many rows in two parts, for two cores, in inference or if compiled.

        Args:
            cell: of the catalog.
            sequences: its inputs after dropout, (batch, time, features).
            states: list of the initial states.
            mask: bool tensor (batch, time), or None.
            call: `Call`: the dropout masks that were drawn for it, and the memory that the cell prepared.
            training: whether it is training; if so, what the gradient needs is kept, otherwise it is computed again.
            keep_outputs: whether the outputs of all steps are wanted.
            jit_compile: whether XLA compiles the loop in a graph; `"auto"` where it pays.

        Returns:
            The first state after each step, (batch, time, size), or None, and the list of the final states. Gradients
            of any order can be taken; those of the first are the fused ones.
        """
        # A pass over all of x is saved where the loop adds the bias; in training one sum over x gives its gradient.
        add_bias = not training and type(cell).project is Cell.project
        loop = FusedLoop(cell, training, keep_outputs, add_bias)
        states, weights = [tf.convert_to_tensor(s) for s in states], _weights(cell, call.memory)
        arrays = sequences, states, mask, call.masks
        if tf.executing_eagerly():
            return self._run_eagerly(loop, *arrays, weights)
        if call.memory is not None or compiling.is_within_xla():
            return _run(loop, *arrays, weights)
        is_traceable, is_compiled = _is_traceable(cell), self.is_compiled(cell, training, jit_compile)
        if is_traceable:
            loop = self._latest(loop)  # Keras traces a training step twice
        (rows, steps, _), count = sequences.shape, tf.shape(sequences)[0]
        counts, room = compiling.parts(rows, count)
        if (training or len(counts) == 1) and not is_compiled:  # in training, halves that are not compiled gain nothing
            return _run(loop, *arrays, weights, functions=loop.within_a_graph if training and is_traceable else None)
        if mask is not None:
            arrays = sequences, states, tf.broadcast_to(mask, tf.shape(sequences)[:2]), call.masks
        by_part = []
        for number, of_part in enumerate(counts):
            if is_compiled:
                part = _split(arrays, counts, number)
                by_part.append(_run_compiled(loop, *part, weights, of_part, room))
            elif rows is not None:
                by_part.append(_run(loop, *_split(arrays, counts, number), weights))
            else:
                by_part.append(_run_some(loop, arrays, weights, sum(counts[:number]), of_part))
        outputs = None
        if keep_outputs:
            outputs = tf.concat([outputs for outputs, _ in by_part], 0)
            outputs.set_shape((rows, steps, states[0].shape[-1]))
        finals = [tf.concat(of_parts, 0) for of_parts in zip(*[finals for _, finals in by_part], strict=True)]
        for final, start in zip(finals, states, strict=True):
            final.set_shape(start.shape)
        return outputs, finals

    @staticmethod
    def is_compiled(cell, training, jit_compile):
        """Tells whether the loop would be compiled, apart from the graph that is being built."""
        # A memory may have another number of entries in each call, for each of which XLA would compile.
        if tf.executing_eagerly() or cell.reads_memory or compiling.is_within_xla():
            return False
        return compiling.pays(cell.units, training) if jit_compile == "auto" else jit_compile

    def _run_eagerly(self, loop, sequences, states, mask, masks, weights):
        steps = sequences.shape[1]
        is_traced = steps >= _TRACED and _is_traceable(loop.cell)
        if is_traced:
            loop = self._latest(loop)
        functions = loop.as_a_graph if is_traced else (loop.forward, loop.backward)
        return _run(loop, sequences, states, mask, masks, weights, functions=functions)

    def _latest(self, loop):
        """The loop like this one that was traced before, unless its cell was changed since, or this one."""
        key = id(loop.cell), loop.training, loop.keep_outputs, loop.add_bias
        settings = [loop.dtype, *_settings(loop.cell)]
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


def _projected(loop, sequences):
    """Returns what the cell's `project` does, (time, batch, m), without the bias if the loop is to add it."""
    cell = loop.cell

    def project(sequences):
        sequences = ops.transpose(sequences, (1, 0, 2))
        time, batch, features = ops.shape(sequences)
        sequences = ops.reshape(sequences, (-1, features))
        x = ops.matmul(sequences, cell.kernel) if loop.add_bias else cell.project(sequences)
        return ops.reshape(x, (time, batch, x.shape[-1]))

    return InPolicyOf(cell)([sequences], function=project)


def _held(mask, masks):
    return {"mask": mask if mask is None else tf.transpose(mask)[..., None], **masks}


def _by_batch(outputs):
    return outputs if outputs is None else tf.transpose(outputs, (1, 0, 2))


def _run(loop, sequences, states, mask, masks, weights, time=None, functions=None):
    x, held = _projected(loop, sequences), _held(mask, masks)
    is_short = tf.executing_eagerly() and sequences.shape[1] < _TRACED and loop.dtype == loop.wide
    if not is_short:
        loop.examine(x, states, weights, held)
    if is_short or not loop.is_fused:
        outputs, finals, _ = loop.forward(x, states, weights, held, time, by_autodiff=True)
    else:
        functions = functions or (loop.forward, loop.backward)
        outputs, finals = _with_gradient(loop, functions, x, states, weights, held, time)
    return _by_batch(outputs), finals


def _run_some(loop, arrays, weights, start, count):
    """Runs the loop for `count` rows from `start` on.

    For none it runs one step of the last row: ONNX has no empty array, and one of a loop has its shape from a step.
    """
    is_empty = count == 0
    first = start - tf.cast(is_empty, tf.int32)
    time = tf.where(is_empty, 1, tf.shape(arrays[0])[1])
    part = tf.nest.map_structure(_or_none(lambda a: a[first : start + count]), arrays)
    outputs, finals = _run(loop, *part, weights, time)
    return _or_none(lambda a: a[start - first :])(outputs), [final[start - first :] for final in finals]


def _split(arrays, counts, number):
    if len(counts) == 1:
        return arrays
    # Of slices, the gradient is many times as slow.
    return tf.nest.map_structure(_or_none(lambda a: tf.split(a, counts)[number]), arrays)


def _run_compiled(loop, sequences, states, mask, masks, weights, rows, room):
    """Runs the loop, compiled apart from the graph around it, with room for so many rows.

    Where the graph does not know the time, there is room for more, so that XLA compiles for few. What is filled up is
    zero: x is filled up after `project`, so that `backward` may count on it.
    """
    x, held = _projected(loop, sequences), _held(mask, masks)
    loop.examine(x, states, weights, held)
    if not loop.is_fused:
        outputs, finals, _ = loop.forward(x, states, weights, held, by_autodiff=True)
        return _by_batch(outputs), finals
    steps, time = x.shape[0], tf.shape(x)[0]
    more_steps = compiling.room(time) - time if steps is None else 0
    more_rows = room - rows
    arrays = x, states, held
    if steps is None or not isinstance(more_rows, int) or more_rows:

        def filled(a):
            after = [[0, more_steps], [0, more_rows], [0, 0]]
            return tf.pad(a, after if len(a.shape) == 3 else after[1:])

        is_full = tf.equal(more_steps + more_rows, 0)
        arrays = tf.cond(is_full, lambda: arrays, lambda: tf.nest.map_structure(_or_none(filled), arrays))
    x, starts, held = arrays
    until = None if steps is not None else time
    outputs, finals = _with_gradient(loop, loop.compiled, x, starts, weights, held, until)
    if outputs is not None:
        outputs = _by_batch(tf.slice(outputs, [0, 0, 0], [time, rows, -1]))
    return outputs, [final[:rows] for final in finals]


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
