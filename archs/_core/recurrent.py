"""The sequence layer: `keras.layers.RNN` with the promises that a catalog of cells needs."""

import contextlib

import keras
from keras import ops, tree

from archs._core import calls, checks, external_memory, noise
from archs._core.cell import Cell
from archs._core.parallel_scan import linear_scan
from archs._core.policy import InPolicyOf
from archs._core.registry import state_sizes
from archs._core.step import Step

_HALVES = ("bfloat16", "float16")
_BACK = 1 << 16  # to the seed of a cell that reads backwards; further than cells are numbered


@keras.saving.register_keras_serializable(package="archs")
class Recurrent(keras.layers.RNN):
    """Runs a cell over time: `keras.layers.RNN`, with the same arguments, weights and numbers.

    In half precision it rounds less: states are of float32 from step to step, and are rounded when they are returned.

    It adds:

    - Speed, for the cells of the catalog. One that is linear in its state (`min_gru`, `min_lstm`) runs as a parallel
      scan over time; `min_gru` not where its loop is compiled, which is faster. The others run, on TensorFlow, in a
      loop whose gradient is fast, unless noise is drawn in each step. On a CPU, with `training=True` in a graph, XLA
      compiles it, see `jit_compile`; so compiled, and in inference, it runs in two halves of the batch, one for each
      core. Called eagerly, the loop of a cell of the catalog is traced as a graph from 64 steps on.
    - Its dtype policy is the cell's, unless it is given one.
    - Its mask reaches the next layer in every Keras version.
    - `reset_state` restores the cell's own initial state.
    - States that count steps are exact in half precision, within a call.
    - Dropout masks are drawn in training only, so that an exported model holds no random state.
    - With `go_backwards` a cell with a seed draws other masks than forwards, so that the two ways of a `Bidirectional`
      layer do not drop the same inputs.

    Weights pass between the two layers by `get_weights` and `set_weights`.

    Args:
        cell: a cell, or a list of cells to stack.
        return_sequences: whether to return the output of every time step or of the last.
        return_state: whether to return the final states, too.
        go_backwards: whether to run from the last time step to the first.
        stateful: whether a batch starts from the final states of the one before.
        unroll: whether to write the loop out in the graph; needs a static time dimension.
        zero_output_for_mask: whether a masked step's output is zero, not the last one's.
        jit_compile: whether XLA compiles the loop over time in a TensorFlow graph that is not compiled as a whole, also
            in an export. `"auto"`: in training on a CPU, for 32 to 511 units, so that an export has no XLA in it.
        **kwargs: of `keras.layers.Layer`. `dtype` defaults to the cell's.

    Call arguments:
        sequences: float tensor (batch, time, features).
        initial_state: list of tensors (batch, size), one per state; of a stack a flat list, or a list of lists.
            Default: the cell's `get_initial_state`.
        mask: bool tensor (batch, time); where it is False the state stays as it is. Also of another dtype, where zero
            is False, or of shape (batch, time, 1).
        training: whether dropout is active.
        memory: float tensor (batch, memory time, memory_size), for a cell that reads one, in place of what its
            `memorize` was given.
        memory_mask: bool tensor (batch, memory time).
        starts: bool tensor (batch,), for a stateful layer: rows that begin from the initial state again.

    Returns:
        Float tensor (batch, time, units) or (batch, units); with `return_state`, a tuple of it and each state.

    Raises:
        ValueError: inputs that are not of rank 3, or of another feature size than the first time; states of a wrong
            number or size; a memory for a cell that reads none, or none for one that does.
    """

    def __init__(self, cell, return_sequences=False, return_state=False, *, jit_compile="auto", **kwargs):
        # Neither RNN nor StackedRNNCells takes the policy of its cells, so that they would compute in float32.
        if isinstance(cell, (list, tuple)):
            if not cell:
                raise ValueError("Expected `cell` to be a cell or a list of at least one, received an empty list.")
            cell = keras.layers.StackedRNNCells(cell, dtype=getattr(cell[0], "dtype_policy", None))
        kwargs.setdefault("dtype", getattr(cell, "dtype_policy", None))
        super().__init__(cell, return_sequences=return_sequences, return_state=return_state, **kwargs)
        # Off in RNN from Keras 3.16 on, which drops the mask. https://github.com/keras-team/keras/pull/23235
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.jit_compile = checks.one_of("jit_compile", jit_compile, ("auto", True, False))
        self._loops = None
        if keras.backend.backend() == "tensorflow":
            from archs._core.loops import Loops  # imports tensorflow

            self._loops = Loops()
        # Keras' Bidirectional clones a layer with its seeds: without others the way back would drop the same inputs.
        seeded = [isinstance(c, Cell) and c.seed is not None and self.go_backwards for c in _cells(self.cell)]
        self._seeds_back = [
            keras.random.SeedGenerator(c.seed + _BACK) if is_seeded else None
            for c, is_seeded in zip(_cells(self.cell), seeded, strict=True)
        ]

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        shape = super().compute_output_shape(sequences_shape, initial_state_shape)
        if not self.return_state or None not in self.state_size:
            return shape
        output, *sized = shape  # Keras leaves out states without a size
        sized = iter(sized)
        return output, *((sequences_shape[0], None) if size is None else next(sized) for size in self.state_size)

    def compute_mask(self, inputs, mask):
        mask = tree.flatten(mask)[0] if self.return_sequences else None
        return [mask] + [None] * len(tree.flatten(self.state_size)) if self.return_state else mask

    def call(
        self,
        sequences,
        initial_state=None,
        mask=None,
        training=False,
        memory=None,
        memory_mask=None,
        starts=None,
    ):
        if initial_state is not None:
            initial_state = _checked_states(self.cell, initial_state)
            initial_state = tree.map_structure(lambda state: _broadcast(state, sequences), initial_state)
        if starts is not None:
            if not self.stateful:
                raise ValueError("Expected `starts` for a layer with `stateful=True` only.")
            fresh = self.get_initial_state(tree.flatten(self.states)[0].shape[0])
            olds = [ops.convert_to_tensor(state) for state in tree.flatten(self.states)]
            pairs = zip(tree.flatten(fresh), olds, strict=True)
            states = [ops.where(starts[:, None], ops.cast(new, old.dtype), old) for new, old in pairs]
            initial_state = tree.pack_sequence_as(fresh, states)
        if mask is not None:
            mask = _checked_mask(mask, sequences)
        with contextlib.ExitStack() as stack:
            for cell, call in self._calls(training, memory, memory_mask):
                stack.enter_context(calls.within(cell, call))
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def _calls(self, training, memory, memory_mask):
        """Each cell of the catalog, and what this call lets its steps use; dropout masks are to be drawn yet."""
        found = []
        for cell, seeds in zip(_cells(self.cell), self._seeds_back, strict=True):
            if isinstance(cell, Cell):
                prepared = external_memory.prepared(cell, memory, memory_mask) if cell.reads_memory else None
                found.append((cell, calls.Call(draws=bool(training), memory=prepared, seeds=seeds)))
        if memory is not None and not any(cell.reads_memory for cell, _ in found):
            raise ValueError(f"Expected no `memory` for {type(self.cell).__name__}, which reads none.")
        return found

    def inner_loop(self, sequences, initial_state, mask, training=False):
        cells = _cells(self.cell)
        if self.unroll or not all(_can_be_scanned(cell, training) for cell in cells):
            if self.compute_dtype in _HALVES:
                initial_state = _exact_clocks(self.cell, initial_state)
            return super().inner_loop(sequences, initial_state, mask, training)
        if self.go_backwards:
            sequences = ops.flip(sequences, 1)
            mask = mask if mask is None else ops.flip(mask, 1)
        stacked = hasattr(self.cell, "cells")
        outputs, finals = sequences, []
        for cell, states in zip(cells, initial_state if stacked else [initial_state], strict=True):
            keep_outputs = self.return_sequences or cell is not cells[-1]
            options = keep_outputs, self._loops, self.jit_compile
            outputs, states = _scan(cell, outputs, states, mask, bool(training), *options)
            finals.append(states)
        last = finals[-1][0]
        if mask is not None:
            # As Keras has it: zeros until the first step that is not masked.
            shown = mask if self.zero_output_for_mask else ops.cumsum(ops.cast(mask, "int32"), axis=1) > 0
            last = ops.where(shown[:, -1:], last, 0)
            outputs = outputs if outputs is None else ops.where(shown[..., None], outputs, 0)
        return last, last if outputs is None else outputs, finals if stacked else finals[0]

    def get_config(self):
        return super().get_config() | {"jit_compile": self.jit_compile}

    def reset_state(self):
        """Sets the states of a stateful layer to the cell's initial state. Keras' own writes zeros."""
        if self.states is not None:
            variables = tree.flatten(self.states)
            initial = tree.flatten(self.get_initial_state(variables[0].shape[0]))
            for variable, value in zip(variables, initial, strict=True):
                variable.assign(ops.cast(value, variable.dtype))


def _cells(cell):
    """The cells of a stack, lowest first, or the one cell."""
    return getattr(cell, "cells", [cell])


def _checked_states(cell, states):
    """The initial states of a cell, or of each cell of a stack, where they may also stand in one flat list."""
    if not hasattr(cell, "cells"):
        if not isinstance(cell, Cell):
            return states
        states = states if isinstance(states, (list, tuple)) else [states]
        states = [ops.convert_to_tensor(s) if isinstance(s, (list, tuple)) else s for s in states]
        return list(cell.checked_states(states))
    counts, flat = [len(state_sizes(c)) for c in cell.cells], tree.flatten(states)
    if len(flat) != sum(counts):
        raise ValueError(
            f"Expected {sum(counts)} initial states for a stack of {len(counts)} cells, of sizes "
            f"{[c.state_size for c in cell.cells]}, received {len(flat)}."
        )
    parts = [[flat.pop(0) for _ in range(count)] for count in counts]
    return [_checked_states(*pair) for pair in zip(cell.cells, parts, strict=True)]


def _broadcast(state, sequences):
    """The initial state, of batch 1 for all rows, too."""
    if not getattr(state, "shape", ()) or state.shape[0] != 1 or sequences.shape[0] == 1:
        return state
    return ops.broadcast_to(state, (ops.shape(sequences)[0], *state.shape[1:]))


def _checked_mask(mask, sequences):
    """The mask as bool (batch, time), from any dtype, also from (batch, time, 1)."""
    mask = ops.cast(mask, "bool")
    mask = ops.squeeze(mask, -1) if mask.shape[2:] == (1,) else mask
    sizes = zip(mask.shape, sequences.shape[:2], strict=False)
    fits = [a is None or b is None or a == b or (axis == 0 and a == 1) for axis, (a, b) in enumerate(sizes)]
    if len(mask.shape) != 2 or not all(fits):
        raise ValueError(
            f"Expected a mask of shape {tuple(sequences.shape[:2])}, as the sequences have it, received "
            f"{tuple(mask.shape)}."
        )
    return mask


def _can_be_scanned(cell, training):
    """True if the loop over time is ours: not where a call of the cell does more than its equations."""
    if not isinstance(cell, Cell) or noise.is_drawn_in_each_step(cell, training) or cell.activity_regularizer:
        return False
    if (type(cell).call, type(cell).__call__) != (Cell.call, Cell.__call__):
        return False
    return _is_linear(cell) or keras.backend.backend() == "tensorflow"


def _is_linear(cell):
    return cell.coefficients is not None and type(cell).recur is Cell.recur


def loop_of(cell):
    """Names the loop of a built cell on TensorFlow: `"parallel scan"`, `"fused"` or, on its own, `"autodiff"`."""
    if _is_linear(cell):
        return "parallel scan"
    from archs._core.loops import is_fused  # imports tensorflow

    return "fused" if is_fused(cell) else "autodiff"


def _scan(cell, sequences, states, mask, training, keep_outputs, loops, jit_compile):
    """The outputs (batch, time, size) of one cell, or None, and its final states; masked steps keep the states."""
    call, policy = calls.get(cell), InPolicyOf(cell)
    step = Step(cell, training, masks=call.masks)
    if _is_linear(cell) and not (loops and _is_fast_in(loops, cell, training, jit_compile)):
        return policy([sequences, states[0]], function=lambda x, start: _parallel_scan(cell, x, start, mask, step))
    if cell.compute_dtype in _HALVES:
        states = _exact_clocks(cell, states)
    return loops.run(cell, step.drop_input(sequences), states, mask, call, training, keep_outputs, jit_compile)


def _is_fast_in(loops, cell, training, jit_compile):
    """Tells whether a compiled loop beats the scan, on a CPU: if it keeps the gates for the way back."""
    return hasattr(cell, "recurrent_activation") and loops.is_compiled(cell, training, jit_compile)


def _parallel_scan(cell, sequences, start, mask, step):
    a, b = cell.coefficients(cell.project(step.drop_input(sequences)), step)
    if mask is not None:
        a, b = ops.where(mask[..., None], a, 1), ops.where(mask[..., None], b, 0)
    b = ops.concatenate([b[:, :1] + a[:, :1] * start[:, None], b[:, 1:]], axis=1)
    wide = keras.backend.result_type(b.dtype, "float32")
    outputs = ops.cast(linear_scan(ops.cast(a, wide), ops.cast(b, wide)), b.dtype)
    return outputs, [outputs[:, -1]]


def _exact_clocks(cell, states):
    """The states, with integers where they count: floats are cast to the compute dtype, and bfloat16 counts to 256."""
    if hasattr(cell, "cells"):
        return [_exact_clocks(*pair) for pair in zip(cell.cells, states, strict=True)]
    if not isinstance(cell, Cell) or not cell.clocks:
        return states
    pairs = zip(cell.states, states, strict=True)
    return [ops.cast(state, "int32") if name in cell.clocks else state for name, state in pairs]
