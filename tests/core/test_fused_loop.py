"""The fused time loop against Keras' own: gradients of any order, random lengths, shapes that change, its fallback."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core.recurrent import loop_of
from archs._core.step import Step
from tests.conformance import catalog

SOME = ["lstm", "gru", "depth_gated_lstm", "slstm", "indrnn"]


def pair(name, **options):
    layers = [archs.Recurrent(catalog.make(name, dtype="float64"), **options)]
    layers.append(keras.layers.RNN(layers[0].cell, dtype="float64", **options))
    for layer in layers:
        layer.build((None, None, 4))
    catalog.randomize(layers[0])
    return layers


def values(tensors):
    return [np.asarray(t, "float64") for t in tensors]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", archs.list_cells())
def test_gradients_of_random_lengths_equal_autodiffs(name):
    draw = np.random.default_rng(0)
    x = tf.constant(draw.normal(size=(5, 23, 4)))
    mask = tf.sequence_mask(draw.integers(0, 24, size=5), 23)
    results = []
    for layer in pair(name, return_sequences=True, return_state=True):

        @tf.function
        def gradients(layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs, *states = layer(x, mask=mask, training=True)
                loss = tf.reduce_mean(outputs**2) + sum(tf.reduce_mean(tf.tanh(s)) for s in states)
            return tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])

        results.append(values(gradients()))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * max(1.0, np.abs(theirs).max()))


@pytest.mark.parametrize("name", SOME)
def test_second_order_gradients_equal_autodiffs(name):
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 4)))
    results = []
    for layer in pair(name, return_sequences=True):
        weights = [w.value for w in layer.trainable_weights]
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(layer(x) ** 3)
            penalty = sum(tf.reduce_sum(g**2) for g in inner.gradient(loss, [x, *weights]))
        results.append(values(outer.gradient(penalty, [x, *weights])))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_one_graph_serves_every_shape(training):
    (layer, _) = pair("lstm")
    traces = []

    @tf.function(input_signature=[tf.TensorSpec((None, None, 4), tf.float64)])
    def gradient(x):
        traces.append(x)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=training) ** 2)
        return tape.gradient(loss, layer.trainable_weights[0].value)

    for batch, time in ((3, 5), (1, 1), (2, 40)):
        assert np.all(np.isfinite(gradient(tf.ones((batch, time, 4), tf.float64))))
    assert len(traces) == 1


def test_the_graph_does_not_grow_with_time():
    (layer, _) = pair("gru")

    def size(time):
        @tf.function
        def gradient(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x, training=True))
            return tape.gradient(loss, [w.value for w in layer.trainable_weights])

        graph = gradient.get_concrete_function(tf.ones((2, time, 4), tf.float64)).graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    assert size(100) == size(1000)


def test_weight_gradients_are_summed_in_single_precision():
    """1,024 equal small contributions: summed in bfloat16 they would stop growing at 256."""
    cell = archs.SimpleRNNCell(1, activation="linear", recurrent_initializer="zeros", dtype="mixed_bfloat16")
    layer = archs.Recurrent(cell, return_sequences=True)
    layer.build((None, None, 1))
    cell.kernel.assign([[1.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(layer(tf.ones((1, 1025, 1)), training=True), tf.float32))
    assert float(tape.gradient(loss, cell.recurrent_kernel.value)[0, 0]) == 1024


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_a_cell_that_reads_a_memory_is_fused_in_half_precision_too(attention):
    cell = archs.AttentionDecoderCell(6, attention=attention, dtype="mixed_bfloat16")
    cell.build((None, 4))
    assert loop_of(cell) == "fused"


def test_a_kernel_that_differs_between_steps_is_left_to_autodiff():
    class Fast(archs.SimpleRNNCell):
        def recur(self, x, states, step):
            (h,) = states
            kernel = self.recurrent_kernel * keras.ops.mean(x)
            return (keras.ops.tanh(x + step.recurrent_product(h, kernel)),)

    cell = Fast(6, dtype="float64")
    cell.build((None, 4))
    assert loop_of(cell) == "autodiff"
    layers = [
        archs.Recurrent(cell, return_sequences=True),
        keras.layers.RNN(cell, return_sequences=True, dtype="float64"),
    ]
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 4)))
    results = []
    for layer in layers:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, *tape.gradient(loss, [x, *(w.value for w in cell.weights)])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "compiled"),
    [(n, True) if n in SOME else pytest.param(n, True, marks=pytest.mark.slow) for n in archs.list_cells()]
    + [pytest.param(n, False, marks=pytest.mark.slow) for n in SOME],
)
def test_gradients_see_the_dropout_masks_of_the_outputs(name, compiled):
    results, x = [], tf.constant(np.random.default_rng(0).normal(size=(3, 5, 4)))
    for kind in (archs.Recurrent, keras.layers.RNN):
        cell = catalog.make(name, dtype="float64", dropout=0.5, recurrent_dropout=0.5, seed=3)
        layer = kind(cell, return_sequences=True, dtype="float64")
        layer.build((None, None, 4))
        catalog.randomize(layer)

        def gradients(layer=layer):
            with tf.GradientTape() as tape:
                outputs = layer(x, training=True)
                loss = tf.reduce_sum(outputs**2)
            return [outputs, *tape.gradient(loss, [w.value for w in layer.trainable_weights])]

        results.append(values(tf.function(gradients)() if compiled else gradients()))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * max(1.0, np.abs(theirs).max()))


def test_dropout_within_batches_of_changing_shape():
    model = archs.vanilla_lstm(4, 6, 1, cell=lambda units: archs.LSTMCell(units, dropout=0.5, recurrent_dropout=0.5))
    model.compile("adam", "mse")
    for batch, time in ((4, 5), (3, 5), (3, 7)):
        model.fit(np.ones((batch + 2, time, 4)), np.ones((batch + 2, 1)), batch_size=batch, verbose=0)


@pytest.mark.parametrize("method", ["zaremba", "semeniuta"])
def test_inner_layers_draw_a_fresh_mask_in_each_step(method, monkeypatch):
    cell = archs.DepthGatedLSTMCell(40, depth=2, dropout=0.5, dropout_method=method, use_bias=False, seed=1)
    seen, drop = [], Step.drop_input

    def dropped(step, a, site=0):
        a = drop(step, a, site)
        if site:
            tf.py_function(lambda b: seen.append(tuple(b.numpy()[0] == 0)), [a], [])
        return a

    monkeypatch.setattr(Step, "drop_input", dropped)
    layer = archs.Recurrent(cell)
    layer.build((None, None, 50))
    tf.function(lambda x: layer(x, training=True))(tf.ones((1, 4, 50)))
    assert len(set(seen[-4:])) == 4


def test_within_a_distribution_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = keras.Sequential([keras.Input((None, 4)), archs.Recurrent(archs.LSTMCell(6)), keras.layers.Dense(1)])
        model.compile("adam", "mse", jit_compile=False)
    history = model.fit(np.ones((8, 5, 4)), np.ones((8, 1)), epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
