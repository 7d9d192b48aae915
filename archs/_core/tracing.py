"""Traces of a trained cell: its states in each time step, or what it makes of them, such as where it looked."""

import keras
import numpy as np
from keras import ops

from archs._core import calls, external_memory
from archs._core.model import SequenceModel
from archs._core.recurrent import Recurrent
from archs._core.registry import initial_states


def trace(model, inputs, layer=None):
    """Runs a recurrent layer of a model step by step and returns what its cell did in each step, for pictures.

    It begins from the initial states that the model gives the layer, else the cell's, also in a stateful layer, and
    leaves the layer as it is. In half precision it rounds the states after each step, which the layer does not.

    Args:
        model: of a factory, or another functional model with an `archs.Recurrent` in it.
        inputs: as the model takes them.
        layer: None, or the name of the layer; needed where there are several.

    Returns:
        A dict of float32 NumPy arrays (batch, time, ...), in the order of time in which the layer reads: what the
        `observed` of the cell returns (see `archs.NTMCell`), of other cells the states by their names. Where a mask
        leaves a step out, all is as in the step before.

    Raises:
        ValueError: the model has no such layer, or several and no `layer` is named; or its cell attends to an external
            memory, see `archs.decoding.attention`; or the inputs have no time steps.

    Example:

    >>> import keras, archs
    >>> model = archs.ntm(features=4, units=6, outputs=2, memory_locations=16, memory_width=3)
    >>> archs.tracing.trace(model, keras.ops.ones((3, 5, 4)))["read_weightings"].shape
    (3, 5, 1, 16)
    """
    layer = _layer_of(model, layer)
    takes = layer.input if isinstance(layer.input, list) else [layer.input]
    cell = layer.cell
    reads = getattr(cell, "reads_memory", False)
    if reads and not hasattr(cell, "observed"):
        raise ValueError(
            f"Expected a layer without an external memory, received {layer.name!r}; `archs.decoding.attention` tells "
            "where a decoder looked."
        )
    given = SequenceModel(model.input, takes)(inputs)
    sequences, *more = given if isinstance(given, (list, tuple)) else [given]
    memories = [more.pop(place) for place in reversed(range(len(more))) if len(more[place].shape) == 3]
    masks = [tensor for tensor in more if keras.backend.standardize_dtype(tensor.dtype) == "bool"]
    mask = masks[0] if masks else getattr(sequences, "_keras_mask", None)
    starts = [tensor for tensor in more if keras.backend.standardize_dtype(tensor.dtype) != "bool"]
    states, seen = starts or initial_states(cell, sequences.shape[0]), []
    times = range(sequences.shape[1])
    if not times:
        raise ValueError(f"Expected inputs with a time step at least, received shape {tuple(sequences.shape)}.")
    memory = external_memory.prepared(cell, *memories) if reads else None
    with calls.within(cell, calls.Call(draws=False, memory=memory)):
        for t in reversed(times) if layer.go_backwards else times:
            _, new = cell(sequences[:, t], states)
            if mask is not None:
                new = [ops.where(mask[:, t, None], a, b) for a, b in zip(new, states, strict=True)]
            states = new
            seen.append(states)
    states = [ops.stack(of_steps, axis=1) for of_steps in zip(*seen, strict=True)]
    found = cell.observed(states) if hasattr(cell, "observed") else dict(zip(cell.states, states, strict=True))
    return {name: np.asarray(ops.convert_to_numpy(ops.cast(value, "float32"))) for name, value in found.items()}


def _layer_of(model, name):
    layers = {layer.name: layer for layer in model.layers if isinstance(layer, Recurrent)}
    if name in layers:
        return layers[name]
    if name is None and len(layers) == 1:
        return next(iter(layers.values()))
    raise ValueError(
        f"Expected a model with one `archs.Recurrent`, or `layer` to name one of {list(layers)}, received {name!r}. "
        "Those within other layers, such as `keras.layers.Bidirectional`, are not among them."
    )
