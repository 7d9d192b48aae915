"""The loop that is compiled apart from its graph, and the one that is traced when it is called eagerly."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core import compiling
from archs._core.fused_loop import FusedLoop
from tests.conformance import catalog
from tests.conformance.catalog import FEATURES

UNITS = compiling.UNITS[0]
# Cells whose loops differ: gates or none, products within a step, clocks, normalisation, a memory, reads, a stabiliser.
FUSED = ["lstm", "attention_decoder", "clockwork_rnn", "grid_lstm", "layer_norm_gru", "ntm", "phased_lstm", "slstm"]
SHAPES = [(20, 23), (17, 40), (1, 5)]


@pytest.fixture
def not_compiled(monkeypatch):
    """A function that turns the compiled loop off."""
    return lambda: monkeypatch.setattr(compiling, "UNITS", range(0))


def layer_of(name, dtype="float64", jit_compile="auto", **arguments):
    keras.utils.set_random_seed(1)
    cell = archs.create(name, UNITS, kind="cell", dtype=dtype, **catalog.cases_of(name)[0], **arguments)
    layer = archs.Recurrent(cell, return_sequences=True, return_state=True, jit_compile=jit_compile)
    layer.build((None, None, FEATURES))
    return layer


def step_of(layer, batch=None, time=None):
    """A function of inputs and of a mask: outputs, final states, and gradients by the inputs and the weights."""
    dtype, options = layer.compute_dtype, {"training": True}
    if layer.cell.reads_memory:
        options["memory"] = tf.constant(catalog.memory_of(layer.cell), dtype)

    @tf.function(input_signature=[tf.TensorSpec((batch, time, FEATURES), dtype), tf.TensorSpec((batch, time), tf.bool)])
    def step(x, mask):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs, *states = layer(x, mask=mask, **options)
            loss = tf.reduce_mean(outputs**2) + sum(tf.reduce_mean(tf.tanh(tf.cast(s, dtype))) for s in states)
        return [outputs, *states, *tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])]

    return step


def batch_of(rows, time, dtype="float64"):
    draw = np.random.default_rng(0)
    mask = tf.sequence_mask(draw.integers(0, time + 1, size=rows), time)
    return tf.constant(draw.normal(size=(rows, time, FEATURES)), dtype), mask


def is_compiled(function, *arguments, **options):
    definition = function.get_concrete_function(*arguments, **options).graph.as_graph_def()
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    return any(node.attr["_XlaMustCompile"].b for node in nodes)


def expect_equal(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        a, b = (np.asarray(tf.cast(v, tf.float64)) for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", [*FUSED, "min_gru"])
def test_it_equals_the_loop_of_the_graph_for_any_batch_and_time(name, not_compiled):
    noise = {
        "dropout": 0.1,
        "recurrent_dropout": 0.5,
        "seed": 3,
    }  # no row without inputs, whose gradient is ill-conditioned
    results = []
    for compiled in (True, False):
        if not compiled:
            not_compiled()
        step = step_of(layer_of(name, **noise))
        results.append([step(*batch_of(*shape)) for shape in SHAPES])
        assert is_compiled(step) == (compiled and not archs.get(name, "cell").reads_memory)
    for ours, theirs in zip(*results, strict=True):
        expect_equal(ours, theirs, 1e-12)


@pytest.mark.parametrize(("rows", "time"), [(32, 6), (33, 6), (3, 6)])
def test_static_shapes_survive(rows, time, not_compiled):
    layer, (x, mask) = layer_of("lstm"), batch_of(rows, time)
    step = step_of(layer, rows, time)
    outputs, *states = step.get_concrete_function().structured_outputs[:3]
    assert is_compiled(step)
    assert tuple(outputs.shape) == (rows, time, UNITS)
    assert {tuple(s.shape) for s in states} == {(rows, UNITS)}
    ours = step(x, mask)
    not_compiled()
    expect_equal(ours, step_of(layer, rows, time)(x, mask), 1e-12)


def test_the_size_of_the_outputs_is_known_where_rows_and_steps_are_not():
    step = step_of(layer_of("lstm"))
    outputs = step.get_concrete_function().structured_outputs[0]
    assert is_compiled(step)
    assert tuple(outputs.shape) == (None, None, UNITS)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("jit_compile", ["auto", True])
@pytest.mark.parametrize("name", ["lstm", "layer_norm_gru", "clockwork_rnn", "attention_decoder"])
def test_answers_are_the_same_in_parts(name, jit_compile):
    layer = layer_of(name, jit_compile=jit_compile)
    options = {}
    if layer.cell.reads_memory:
        options = {"memory": tf.constant(catalog.memory_of(layer.cell))}
    in_graph = tf.function(
        lambda x, mask: layer(x, mask=mask, **options),
        input_signature=[tf.TensorSpec((None, None, FEATURES), tf.float64), tf.TensorSpec((None, None), tf.bool)],
    )
    for rows, time in [*SHAPES, (8, 1), (9, 3)]:
        x, mask = batch_of(rows, time)
        expect_equal(in_graph(x, mask), layer(x, mask=mask, **options), 1e-12)
    assert is_compiled(in_graph) == (jit_compile is True and not layer.cell.reads_memory)


def test_gradients_of_answers_are_the_same_in_parts():
    layer = layer_of("lstm")
    weights = [w.value for w in layer.trainable_weights]

    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x)[0] ** 2)
        return tape.gradient(loss, weights)

    in_graph = tf.function(gradients, input_signature=[tf.TensorSpec((None, None, FEATURES), tf.float64)])
    for shape in SHAPES:
        x, _ = batch_of(*shape)
        expect_equal(in_graph(x), gradients(x), 1e-12)


def test_a_layer_is_compiled_as_it_is_asked_to():
    x, mask = batch_of(20, 6)
    assert not is_compiled(step_of(layer_of("lstm", jit_compile=False)))
    asked = archs.Recurrent.from_config(layer_of("lstm", jit_compile=True).get_config())
    assert is_compiled(tf.function(asked), x, mask=mask)
    with pytest.raises(ValueError, match="Expected `jit_compile` to be one of 'auto', True, False, received 'yes'"):
        archs.Recurrent(archs.LSTMCell(3), jit_compile="yes")


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(dtype, not_compiled):
    (x, mask), results = batch_of(20, 23, dtype.removeprefix("mixed_")), []
    for compiled in (True, False):
        if not compiled:
            not_compiled()
        results.append(step_of(layer_of("gru", dtype))(x, mask))
    expect_equal(*results, 0.02)


def test_lengths_of_all_kinds_share_few_rooms():
    rooms = {int(compiling.room(time)) for time in range(20, 101)}
    assert rooms == {32, 64, 128}
    assert int(compiling.room(2**30)) == 2**30


def test_second_order_gradients():
    layer, (x, _) = layer_of("lstm"), batch_of(4, 7)

    @tf.function
    def penalty(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(layer(x, training=True)[0] ** 3)
            norm = tf.reduce_sum(inner.gradient(loss, x) ** 2)
        return outer.gradient(norm, x)

    compiled = penalty(x)
    assert is_compiled(penalty, x)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            loss = tf.reduce_sum(layer(x, training=False)[0] ** 3)
        norm = tf.reduce_sum(inner.gradient(loss, x) ** 2)
    expect_equal([compiled], [outer.gradient(norm, x)], 1e-9)


def test_a_model_is_trained_by_it_and_exported_without_it(tmp_path):
    model = archs.vanilla_lstm(FEATURES, UNITS, 2, lengths=True)
    model.compile("adam", "mse")
    batch = {"inputs": np.ones((20, 6, FEATURES), "float32"), "lengths": np.full(20, 4)}
    model.fit(batch, np.ones((20, 2)), batch_size=16, verbose=0)
    model.export(tmp_path / "model", verbose=False)
    assert b"_XlaMustCompile" not in (tmp_path / "model" / "saved_model.pb").read_bytes()
    loaded = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.serve(batch), model(batch), atol=1e-6)


def test_within_a_model_that_is_compiled_as_a_whole_it_is_not_compiled_apart(monkeypatch):
    asked, pays = [], compiling.pays
    monkeypatch.setattr(compiling, "pays", lambda *of: asked.append(pays(*of)) or asked[-1])
    layer, (x, mask) = layer_of("lstm"), batch_of(20, 6)
    step = step_of(layer)
    step(x, mask)
    tf.function(step.python_function, jit_compile=True)(x, mask)
    assert asked == [True]


def test_a_compiled_loop_is_traced_once_for_all_graphs(monkeypatch):
    traced, backward = [], FusedLoop.backward
    monkeypatch.setattr(FusedLoop, "backward", lambda *arguments: traced.append(True) or backward(*arguments))
    layer, batch = layer_of("lstm"), batch_of(20, 6)
    expect_equal(*(step_of(layer)(*batch) for _ in range(2)), 0)
    assert len(traced) == 1
    before = step_of(layer)(*batch)[0]
    layer.cell.activation = keras.activations.relu
    assert np.abs(step_of(layer)(*batch)[0] - before).max() > 1e-3
    assert len(traced) == 2


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", FUSED)
def test_long_sequences_are_traced_when_called_eagerly(name):
    layer = layer_of(name)
    step = step_of(layer)
    for rows, time in ((2, 70), (3, 65)):
        x, mask = batch_of(rows, time)
        expect_equal(step.python_function(x, mask), step(x, mask), 1e-12)
    assert layer._loops._loops


@pytest.mark.parametrize("name", ["lstm", "attention_decoder"])
def test_a_loop_is_made_anew_where_its_cell_is_changed(name):
    layer, (x, _) = layer_of(name), batch_of(2, 70)
    options = {"memory": tf.ones((1, 3, UNITS), tf.float64)} if layer.cell.reads_memory else {}
    before = layer(x, **options)[0]
    getattr(layer.cell, "cell", layer.cell).activation = keras.activations.relu
    after = layer(x, **options)[0]
    assert np.abs(after - before).max() > 1e-3
    expect_equal([after], [tf.function(layer)(x, **options)[0]], 1e-12)
    assert len(layer._loops._loops) == 1


def test_a_loop_is_made_anew_in_another_precision():
    layer, (x, _) = layer_of("lstm", "float32"), batch_of(2, 5, "float32")
    before = tf.function(layer)(x)[0]
    for one in (layer, layer.cell):
        one.dtype_policy = "mixed_bfloat16"
    after = tf.function(layer)(x)[0]
    assert [loop.dtype for _, loop in layer._loops._loops.values()] == [tf.bfloat16]
    expect_equal([after], [before], 0.02)


def test_a_cell_of_others_that_looks_at_values_runs_eagerly():
    class Looking(archs.LSTMCell):
        def recur(self, x, states, step):
            return super().recur(x * 2 if tf.reduce_max(x) > 1e9 else x, states, step)

    layers = archs.Recurrent(Looking(4)), archs.Recurrent(archs.LSTMCell(4))
    x, _ = batch_of(2, 70, "float32")
    layers[0].build(x.shape)
    layers[1].build(x.shape)
    layers[1].set_weights(layers[0].get_weights())
    expect_equal([layers[0](x)], [layers[1](x)], 1e-6)


@pytest.mark.parametrize("time", [20, 70])
def test_forward_mode_gradients(time):
    layer, (x, _) = layer_of("lstm"), batch_of(2, time)
    with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
        outputs = layer(x)[0]
    eps = 1e-6
    expected = (layer(x + eps)[0] - layer(x - eps)[0]) / (2 * eps)
    expect_equal([accumulator.jvp(outputs)], [expected], 1e-6)
