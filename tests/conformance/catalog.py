"""The members of the catalog, small ones of each, and requests to them, for the conformance tests.

Tests of one cell: `pytest tests/conformance -k NAME`. Sizes are odd, so that no transposed axis can pass.
"""

import importlib
import inspect
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

ROOT = pathlib.Path(__file__).resolve().parents[2]


CELLS, NODES = archs.list_cells(), archs.list_nodes()
# Of trees those that take a node; the others are of sequences, or of what makes one.
TREE_ARCHS = [name for name in archs.list_archs() if "node" in inspect.signature(archs.get(name, "arch")).parameters]
ARCHS = [name for name in archs.list_archs() if name not in TREE_ARCHS]


BATCH, TIME, FEATURES, UNITS = 3, 5, 4, 6


MASKS = {
    "right": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]],
    "left": [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]],
    "holes": [[1, 0, 1, 0, 1], [0, 1, 1, 0, 0], [1, 1, 0, 0, 1]],
    "all": [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]],
}


OF_INPUTS = [n for n in CELLS if not (archs.get(n, "cell").reads_memory or archs.get(n, "cell").reads_noise)]


each_cell = pytest.mark.parametrize("name", CELLS)


def reference_of(name):
    return importlib.import_module(f"tests.reference.{name}")


def cases_of(name):
    return getattr(reference_of(name), "CASES", [{}])


CASES = [(name, case) for name in CELLS for case in cases_of(name)]


each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{case}" for name, case in CASES])


def random(*shape, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def randomize(layer, seed=1):
    """Gives every weight, biases included, random values; returns them by name."""
    values = [random(*w.shape, seed=[seed, i], scale=0.5) for i, w in enumerate(layer.weights)]
    layer.set_weights(values)
    return {w.name: value for w, value in zip(layer.weights, values, strict=True)}


ENTRIES = 4  # of a memory that may have any number


def memory_of(cell, rows=1, seed=8):
    """A memory that a cell reads, by default one for all rows."""
    return random(rows, cell.memory_entries or ENTRIES, cell.memory_size, seed=seed)


def create(name, units, **arguments):
    """The cell, with a memory if it reads one."""
    return give(archs.create(name, units, kind="cell", **arguments))


def give(cell):
    if cell.reads_memory:
        cell.memorize(tf.constant(memory_of(cell)))
    return cell


def make(name, units=UNITS, **arguments):
    """The cell with the first of its cases, but for `arguments`."""
    return create(name, units, **cases_of(name)[0] | arguments)


def recurrent(name, layer=archs.Recurrent, dtype="float64", seed=1, case=None, arguments=(), **options):
    """A built layer around the cell, with random weights and the arguments of `case`, by default the first."""
    cell = create(name, UNITS, dtype=dtype, **(cases_of(name)[0] if case is None else case) | dict(arguments))
    built = layer(cell, dtype=cell.dtype_policy, **options)
    built.build((BATCH, TIME, FEATURES))
    randomize(built, seed)
    return built


def inputs(time=TIME, seed=2):
    return random(BATCH, time, FEATURES, seed=seed)


def initial(layer, seed=3):
    """Random states that can come up: clocks, which differ between the sequences of a batch, count whole steps, a
    memory in parts is positive, the weightings of heads are distributions, and a state without a size is as long as the
    external memory."""
    states = []
    for i, (name, size) in enumerate(zip(layer.cell.states, layer.cell.state_size, strict=True)):
        state = random(BATCH, size or ENTRIES, seed=[seed, i], scale=0.5)
        if name in layer.cell.clocks:
            state = np.arange(BATCH)[:, None] + 1.0
        if name == "weightings":
            of_heads = np.exp(state).reshape(BATCH, -1, layer.cell.memory_locations)
            state = (of_heads / of_heads.sum(axis=-1, keepdims=True)).reshape(state.shape)
        states.append(np.abs(state) + 0.5 if name in layer.cell.one_memory else state)
    return states


def run_reference(name, weights, sequence, states, case, mask=None):
    """Outputs (batch, time, units) and final states of the NumPy transcription; masked steps keep the states."""
    step, states, outputs = reference_of(name).step, tuple(states), []
    if archs.get(name, "cell").reads_memory:
        memory = memory_of(archs.create(name, UNITS, kind="cell", **case))
        case = case | {"memory": np.repeat(memory, len(sequence), axis=0)}
    for t in range(sequence.shape[1]):
        new = step(weights, sequence[:, t], states, **case)
        keep = np.ones((len(sequence), 1), bool) if mask is None else np.asarray(mask, bool)[:, t, None]
        states = tuple(np.where(keep, a, b) for a, b in zip(new, states, strict=True))
        outputs.append(states[0])
    return np.stack(outputs, axis=1), states


def numpy(tensors):
    return [np.asarray(tf.cast(t, tf.float64)) for t in tensors]


def gradients(layer, sequence, states, mask=None):
    """Gradients of a random projection of all outputs, by every weight, the inputs and the initial states."""
    sequence, states = tf.constant(sequence), [tf.constant(s) for s in states]
    with tf.GradientTape() as tape:
        tape.watch([sequence, states])
        outputs = layer(sequence, initial_state=states, mask=mask)
        loss = tf.reduce_sum(outputs * random(*outputs.shape, seed=9))
    places = [*(w.value for w in layer.trainable_weights), sequence, *states]
    return numpy(tape.gradient(loss, places, unconnected_gradients="zero"))


# Values for the arguments that factories require, by their name.
SMALL = {"features": FEATURES, "units": UNITS, "outputs": 2, "latents": FEATURES}


LENGTHS = np.array([5, 2, 3])


IMAGE = (7, 5, 1)


def takes(arch, argument):
    return argument in inspect.signature(archs.get(arch, "arch")).parameters


def taken(arch, **options):
    """The options that a factory takes."""
    return {name: value for name, value in options.items() if takes(arch, name)}


each_architecture = pytest.mark.parametrize("arch", ARCHS)
OF_LENGTHS = [arch for arch in ARCHS if takes(arch, "lengths")]
each_architecture_of_lengths = pytest.mark.parametrize("arch", OF_LENGTHS)
OF_IMAGES = [arch for arch in ARCHS if takes(arch, "read_size")]


def small(arch):
    """Values for the arguments that a factory requires."""
    parameters = inspect.signature(archs.get(arch, "arch")).parameters.values()
    given = {p.name: SMALL[p.name] for p in parameters if p.default is p.empty}
    given |= {"features": IMAGE} if arch in OF_IMAGES else {}
    given |= taken(arch, steps=2)
    return given | ({"units": [UNITS]} if arch == "stacked_lstm" else {})


def small_model(arch, **options):
    return archs.create(arch, kind="arch", **small(arch) | options)


# Arguments beside which an architecture keeps the same rules as without them: name -> architecture and options.
VARIANTS = {
    "pooling": ("vanilla_lstm", {"pooling": "attention", "dropout": 0.1}),
    "vocabulary": ("vanilla_lstm", {"vocabulary": 9}),
    "residual stack": ("stacked_lstm", {"units": [UNITS, UNITS], "residual": True}),
    "residual ways": ("bidirectional_lstm", {"units": [UNITS, UNITS], "residual": True}),
    "residual above convolutions": ("cnn_lstm", {"units": [UNITS, UNITS], "residual": True}),
    "convolutions of tokens": ("cnn_lstm", {"vocabulary": 9}),
    "batch normalization": ("cnn_lstm", {"normalization": "batch"}),
    "layer normalization": ("cnn_lstm", {"normalization": "layer"}),
    "decoder of vectors": ("encoder_decoder_lstm", {"decoder_features": FEATURES}),
    "decoder of several heads with coverage": ("encoder_decoder_lstm", {"heads": 2, "coverage": "score"}),
    "decoder of local attention": ("encoder_decoder_lstm", {"attention": "luong_dot", "local": "predictive"}),
    "hard attention": ("attention_captioner", {"hard": True, "units": [UNITS, UNITS], "token_features": UNITS - 1}),
    "mixture of densities": ("vrnn", {"density": "mixture", "components": 2}),
    "decoder of another size": ("encoder_decoder_lstm", {"decoder_units": [UNITS - 1, UNITS, UNITS + 1]}),
}


each_variant = pytest.mark.parametrize("variant", VARIANTS)


def variant_model(variant, **options):
    arch, own = VARIANTS[variant]
    return small_model(arch, **own | options)


def joined(outputs):
    """The outputs; of a dict all of them, side by side."""
    if not isinstance(outputs, dict):
        return outputs
    rank = max(len(output.shape) for output in outputs.values())
    parts = [output if len(output.shape) == rank else output[..., None] for _, output in sorted(outputs.items())]
    return tf.concat(parts, axis=-1)


def loss_of(model):
    """A loss; of a dict of outputs, of which one may have no axis but those of the mask, one for each."""
    if not isinstance(model.output, dict):
        return "mse"
    outputs = model.output.items()
    return {name: "mse" if len(output.shape) > 2 else archs.losses.Divergence() for name, output in outputs}


def zeros_like(outputs):
    return keras.tree.map_structure(np.zeros_like, outputs)


def answers(outputs, x):
    """The outputs; of one for each time step, those before the lengths, in a row."""
    outputs = joined(outputs)
    lengths = x.get("decoder_lengths", x["lengths"])
    rows = [row[:n] for row, n in zip(outputs, lengths, strict=True)]
    return tf.concat(rows, axis=0) if len(outputs.shape) == 3 else outputs


def request(model, time=TIME):
    """A request to a small model: random vectors or tokens of `time` steps, and their lengths; or what has no other
    size, such as an image."""
    takes = model.input if isinstance(model.input, dict) else {"inputs": model.input}
    tokens = np.random.default_rng(5).integers(0, SMALL["outputs"], (BATCH, time))

    def given(shape):
        values = random(BATCH, *shape, seed=2)
        return 1 / (1 + np.exp(-values)) if len(shape) == 3 else values  # pixels are from 0 to 1

    return {
        name: LENGTHS * time // TIME
        if name.endswith("lengths")
        else tokens
        if tensor.dtype == "int32"
        else (inputs(time) if tensor.shape[1] is None else given(tensor.shape[1:])).astype("float32")
        for name, tensor in takes.items()
    }


def call(model, x, **options):
    return model(x if isinstance(model.input, dict) else x["inputs"], **options)


def after_lengths(x, fill, more=0):
    """The request with other values after the lengths, and `more` time steps of them."""
    changed = {}
    for name, value in x.items():
        if value.ndim > 1:
            sides = [(0, 0), (0, more)] + [(0, 0)] * (value.ndim - 2)
            value = np.pad(value, sides)
            lengths = x[name.replace("inputs", "lengths").replace("noise", "lengths")]
            value[np.arange(value.shape[1]) >= lengths[:, None]] = fill if value.dtype == "float32" else 0
        changed[name] = value
    return changed
