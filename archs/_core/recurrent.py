"""The sequence layer: `keras.layers.RNN` with the promises that a catalog of cells needs."""

import contextlib

import keras
from keras import ops, tree

from archs._core.cell import Cell
from archs._core.linear import linear_scan


@keras.saving.register_keras_serializable(package="archs")
class Recurrent(keras.layers.RNN):
    """Runs a cell over time: `keras.layers.RNN`, with the same arguments, weights and numbers.

    What it adds: it computes in its cell's dtype policy; it hands its mask on to the next layer in every Keras
    version; `reset_state` restores the cell's own initial state; a cell that is linear in its state (`min_gru`,
    `min_lstm`) runs as a parallel scan over time, the others, on TensorFlow, in a loop whose gradient is fast, unless a
    mask is to be drawn in each step; within a call, states that count steps count exactly in half precision, too; the
    dropout masks of a cell of the catalog, or of a stack of them, are drawn in training only, so that an exported model
    holds no random state.

    Args:
        cell: a cell, or a list of cells to stack.
        return_sequences: whether to return the output of every time step or of the last.
        return_state: whether to return the final states, too.
        go_backwards: whether to run from the last time step to the first.
        stateful: whether a batch starts from the final states of the one before.
        unroll: whether to write the loop out in the graph; needs a static time dimension.
        zero_output_for_mask: whether a masked step's output is zero, not the last one's.
        **kwargs: of `keras.layers.Layer`. `dtype` defaults to the cell's.

    Call arguments:
        sequences: float tensor (batch, time, features).
        initial_state: list of tensors (batch, size), one per state. Default: the cell's `get_initial_state`.
        mask: bool tensor (batch, time); where it is False the state stays as it is.
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

    def __init__(self, cell, return_sequences=False, return_state=False, **kwargs):
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

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

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
        if initial_state is not None and isinstance(self.cell, Cell):
            initial_state = list(self.cell.checked_states(initial_state))
        if starts is not None:
            if not self.stateful:
                raise ValueError("Expected `starts` for a layer with `stateful=True` only.")
            fresh = self.get_initial_state(tree.flatten(self.states)[0].shape[0])
            pairs = zip(tree.flatten(fresh), tree.flatten(self.states), strict=True)
            states = [ops.where(starts[:, None], ops.cast(new, old.dtype), old) for new, old in pairs]
            initial_state = tree.pack_sequence_as(fresh, states)
        with self._dropout_masks(training), self._memory(memory, memory_mask):
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    @contextlib.contextmanager
    def _memory(self, memory, mask):
        """Within it the cells that read a memory have it, prepared."""
        readers = [c for c in getattr(self.cell, "cells", [self.cell]) if getattr(c, "reads_memory", False)]
        if memory is not None and not readers:
            raise ValueError(f"Expected no `memory` for {type(self.cell).__name__}, which reads none.")
        before = [cell.memory for cell in readers]
        with contextlib.ExitStack() as stack:
            for cell in readers:
                if memory is not None:
                    cell.memorize(memory, mask)
                stack.enter_context(cell.reading(cell.prepared_memory()))
            try:
                yield
            finally:
                for cell, old in zip(readers, before, strict=True):
                    cell.memory = old

    def inner_loop(self, sequences, initial_state, mask, training=False):
        cells = getattr(self.cell, "cells", [self.cell])
        if self.unroll or not all(_can_be_scanned(cell, training) for cell in cells):
            if self.compute_dtype in ("bfloat16", "float16"):
                initial_state = _exact_clocks(self.cell, initial_state)
            return super().inner_loop(sequences, initial_state, mask, training)
        if self.go_backwards:
            sequences = ops.flip(sequences, 1)
            mask = mask if mask is None else ops.flip(mask, 1)
        stacked = hasattr(self.cell, "cells")
        outputs, finals = sequences, []
        for cell, states in zip(cells, initial_state if stacked else [initial_state], strict=True):
            keep_outputs = self.return_sequences or cell is not cells[-1]
            outputs, states = _scan(cell, outputs, states, mask, bool(training), keep_outputs)
            finals.append(states)
        last = finals[-1][0]
        if mask is not None:
            # As Keras has it: zeros until the first step that is not masked.
            shown = mask if self.zero_output_for_mask else ops.cumsum(ops.cast(mask, "int32"), axis=1) > 0
            last = ops.where(shown[:, -1:], last, 0)
            outputs = outputs if outputs is None else ops.where(shown[..., None], outputs, 0)
        return last, last if outputs is None else outputs, finals if stacked else finals[0]

    @contextlib.contextmanager
    def _dropout_masks(self, training):
        cells = [c for c in getattr(self.cell, "cells", [self.cell]) if isinstance(c, Cell)]
        for cell in cells:
            cell._draws_masks = bool(training)
        try:
            yield
        finally:
            for cell in cells:
                cell._draws_masks = True
                cell.reset_dropout_mask()
                cell.reset_recurrent_dropout_mask()

    def reset_state(self):
        """Sets the states of a stateful layer to the cell's initial state. Keras' own writes zeros."""
        if self.states is not None:
            variables = tree.flatten(self.states)
            initial = tree.flatten(self.get_initial_state(variables[0].shape[0]))
            for variable, value in zip(variables, initial, strict=True):
                variable.assign(ops.cast(value, variable.dtype))


def _can_be_scanned(cell, training):
    """Whether the loop over time is ours: not for other cells, nor for noise that is drawn within the loop."""
    if not isinstance(cell, Cell):
        return False
    zoneout = any(cell.zoneout) if isinstance(cell.zoneout, list) else cell.zoneout
    noisy = zoneout and (training or cell.zoneout_expectation)
    drawn = cell.recurrent_dropout or (cell.dropout and cell.inner_sizes)
    noisy = noisy or (training and drawn and cell.dropout_method != "gal")
    return not noisy and (_is_linear(cell) or keras.backend.backend() == "tensorflow")


def _is_linear(cell):
    return cell.coefficients is not None and type(cell).recur is Cell.recur


def loop_of(cell):
    """How `Recurrent` runs a built cell on TensorFlow: `"parallel scan"`, `"fused"` or, on its own, `"autodiff"`."""
    if _is_linear(cell):
        return "parallel scan"
    from archs._core.scan import is_fused  # imports tensorflow

    return "fused" if is_fused(cell) else "autodiff"


def _scan(cell, sequences, states, mask, training, keep_outputs):
    """The outputs (batch, time, size) of one cell, or None, and its final states; masked steps keep the states."""
    if _is_linear(cell):
        return _parallel_scan(cell, sequences, states, mask, training)
    from archs._core.scan import fused_loop  # imports tensorflow

    if cell.compute_dtype in ("bfloat16", "float16"):
        states = _exact_clocks(cell, states)
    with cell.dropping(training):
        sequences = ops.transpose(cell.drop_input(sequences), (1, 0, 2))
        time, batch, features = ops.shape(sequences)
        # A pass over all of x is saved where the loop adds the bias; in training one sum over x gives its gradient.
        bias_in_step = not training and type(cell).project is Cell.project
        sequences = ops.reshape(sequences, (-1, features))
        x = ops.matmul(sequences, cell.kernel) if bias_in_step else cell.project(sequences)
    x = ops.reshape(x, (time, batch, x.shape[-1]))
    mask = mask if mask is None else ops.transpose(mask)
    outputs, states = fused_loop(cell, x, states, mask, training, keep_outputs, bias_in_step)
    return outputs if outputs is None else ops.transpose(outputs, (1, 0, 2)), states


def _parallel_scan(cell, sequences, states, mask, training):
    with cell.dropping(training):
        a, b = cell.coefficients(cell.project(cell.drop_input(sequences)))
    if mask is not None:
        a, b = ops.where(mask[..., None], a, 1), ops.where(mask[..., None], b, 0)
    b = ops.concatenate([b[:, :1] + a[:, :1] * states[0][:, None], b[:, 1:]], axis=1)
    wide = keras.backend.result_type(b.dtype, "float32")
    outputs = ops.cast(linear_scan(ops.cast(a, wide), ops.cast(b, wide)), b.dtype)
    return outputs, [outputs[:, -1]]


def _exact_clocks(cell, states):
    """The states, with integers where they count: floats are cast to the compute dtype, and bfloat16 counts to 256."""
    if hasattr(cell, "cells"):
        return [_exact_clocks(*pair) for pair in zip(cell.cells, states, strict=True)]
    clocks = [name in cell.clocks for name in cell.states] if isinstance(cell, Cell) else [False] * len(states)
    return [ops.cast(s, "int32") if clock else s for s, clock in zip(states, clocks, strict=True)]
