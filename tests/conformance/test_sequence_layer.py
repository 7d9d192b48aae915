"""Every cell in `archs.Recurrent`: masks, states, directions, stacks, graphs, and Keras' own layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance.catalog import (
    FEATURES,
    MASKS,
    TIME,
    UNITS,
    cases_of,
    each_cell,
    give,
    gradients,
    initial,
    inputs,
    make,
    numpy,
    random,
    randomize,
    recurrent,
    run_reference,
)


@each_cell
@pytest.mark.parametrize("pattern", MASKS)
def test_mask_keeps_the_states(name, pattern):
    mask = np.array(MASKS[pattern], bool)
    layer = recurrent(name, return_sequences=True, return_state=True)
    sequence, states = inputs(), initial(layer)
    sequence[~mask] = 99.0
    outputs, *finals = numpy(layer(sequence, initial_state=states, mask=tf.constant(mask)))
    expected, expected_finals = run_reference(name, randomize(layer), sequence, states, cases_of(name)[0], mask)
    np.testing.assert_allclose(outputs[mask], expected[mask], rtol=0, atol=1e-12)
    for final, expected_final in zip(finals, expected_finals, strict=True):
        np.testing.assert_allclose(final, expected_final, rtol=0, atol=1e-12)


@each_cell
def test_masked_steps_have_no_gradient(name):
    mask = np.array(MASKS["holes"], bool)
    layer = recurrent(name)
    by_inputs = gradients(layer, inputs(), initial(layer), tf.constant(mask))[len(layer.trainable_weights)]
    assert np.all(by_inputs[~mask] == 0)
    assert np.all(np.abs(by_inputs[mask]).max(axis=-1) > 0)


@each_cell
def test_mask_is_handed_on(name):
    mask = np.array(MASKS["right"], bool)
    sequence = inputs() * mask[..., None]
    lower, upper = recurrent(name, return_sequences=True), archs.Recurrent(make(name, 3, dtype="float64"))
    masked = keras.layers.Masking(dtype="float64")(sequence)
    upper(lower(masked))
    randomize(upper)  # of weights drawn anew, rectified units may all be off
    implicit = upper(lower(masked))
    explicit = upper(lower(sequence, mask=tf.constant(mask)), mask=tf.constant(mask))
    np.testing.assert_array_equal(implicit, explicit)
    assert np.abs(implicit - upper(lower(sequence))).max() > 1e-4


@each_cell
def test_initial_state_joins_two_halves(name):
    layer = recurrent(name, return_sequences=True, return_state=True)
    sequence = inputs(time=7)
    whole, *finals = layer(sequence)
    first, *between = layer(sequence[:, :3])
    second, *last = layer(sequence[:, 3:], initial_state=between)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-14)
    for a, b in zip(finals, last, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


@each_cell
def test_stateful_joins_two_batches(name):
    layer = recurrent(name, return_sequences=True, stateful=True)
    sequence = inputs(time=6)
    whole = layer(sequence)
    layer.reset_state()
    halves = [layer(sequence[:, :3]), layer(sequence[:, 3:])]
    np.testing.assert_allclose(np.concatenate(halves, axis=1), whole, atol=1e-14)
    assert np.abs(layer(sequence) - whole).max() > 1e-3


@each_cell
def test_reset_state_restores_the_initial_state_of_the_cell(name, monkeypatch):
    def halves(self, batch_size):
        return [keras.ops.full((batch_size, size), 0.5, dtype=self.compute_dtype) for size in self.state_size]

    monkeypatch.setattr(archs.get(name, "cell"), "get_initial_state", halves)
    layer = recurrent(name, stateful=True)
    first = layer(inputs())
    layer.reset_state()
    assert all(np.all(np.asarray(state) == 0.5) for state in layer.states)
    np.testing.assert_array_equal(layer(inputs()), first)


@each_cell
def test_go_backwards(name):
    forward = recurrent(name, return_sequences=True)
    backward = recurrent(name, return_sequences=True, go_backwards=True)
    np.testing.assert_allclose(backward(inputs()), forward(inputs()[:, ::-1]), atol=1e-14)


@each_cell
@pytest.mark.parametrize("pattern", ["right", "left"])
def test_bidirectional(name, pattern):
    layer = keras.layers.Bidirectional(recurrent(name, return_sequences=True), dtype="float64")
    give(layer.forward_layer.cell), give(layer.backward_layer.cell)
    mask = np.array(MASKS[pattern], bool)
    outputs = layer(inputs(), mask=tf.constant(mask))
    forward = layer.forward_layer(inputs(), mask=tf.constant(mask))
    turned = inputs()[:, ::-1], tf.constant(mask[:, ::-1].copy())
    backward = recurrent(name, return_sequences=True)
    backward.set_weights(layer.backward_layer.get_weights())
    expected = np.concatenate([forward, backward(turned[0], mask=turned[1])[:, ::-1]], axis=-1)
    np.testing.assert_allclose(np.asarray(outputs)[mask], expected[mask], atol=1e-14)


@each_cell
def test_stacked(name):
    cells = [make(name, units, dtype="float64") for units in (UNITS, 3)]
    stack = archs.Recurrent(cells, return_sequences=True)
    layers = [archs.Recurrent(cell, return_sequences=True) for cell in cells]
    np.testing.assert_allclose(stack(inputs()), layers[1](layers[0](inputs())), atol=1e-14)
    plain = keras.layers.RNN(
        keras.layers.StackedRNNCells(cells, dtype="float64"), return_sequences=True, dtype="float64"
    )
    np.testing.assert_allclose(plain(inputs()), stack(inputs()), atol=1e-14)


@each_cell
def test_one_time_step_is_one_call_of_the_cell(name):
    layer = recurrent(name)
    states = initial(layer)
    output, _ = layer.cell(inputs()[:, 0], [tf.constant(s) for s in states])
    np.testing.assert_allclose(layer(inputs(time=TIME)[:, :1], initial_state=states), output, atol=1e-14)


@each_cell
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_graph_equals_eager_for_any_batch_and_time(name, jit_compile):
    layer = recurrent(name, return_sequences=True)
    graph = tf.function(layer, jit_compile=jit_compile)
    if not jit_compile:
        graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, FEATURES), tf.float64)])
    for batch, time in ((3, 5), (2, 9), (4, 1)):
        sequence = random(batch, time, FEATURES)
        np.testing.assert_allclose(graph(tf.constant(sequence)), layer(sequence), atol=1e-13)


@each_cell
def test_unrolled_equals_looped(name):
    np.testing.assert_allclose(recurrent(name, unroll=True)(inputs()), recurrent(name)(inputs()), atol=1e-14)


@pytest.mark.sampled(6)
@each_cell
@pytest.mark.parametrize("pattern", [None, *MASKS])
def test_recurrent_equals_keras_rnn(name, pattern):
    mask = None if pattern is None else tf.constant(np.array(MASKS[pattern], bool))
    ours, plain = recurrent(name, return_sequences=True), recurrent(name, keras.layers.RNN, return_sequences=True)
    states = initial(ours)
    np.testing.assert_allclose(
        ours(inputs(), initial_state=states, mask=mask), plain(inputs(), initial_state=states, mask=mask), atol=1e-12
    )
    for a, b in zip(gradients(ours, inputs(), states, mask), gradients(plain, inputs(), states, mask), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
