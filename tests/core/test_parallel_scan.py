"""The parallel scan against a loop in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core.parallel_scan import linear_scan

LENGTHS = pytest.mark.parametrize("time", [1, 2, 15, 16, 17, 50, 300])


def pair(time, dtype="float64"):
    draw = np.random.default_rng(time)
    return draw.uniform(size=(2, time, 3)).astype(dtype), draw.normal(size=(2, time, 3)).astype(dtype)


def looped(a, b):
    states, h = [], np.zeros_like(b[:, 0])
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return np.stack(states, axis=1)


@LENGTHS
@pytest.mark.parametrize("jit_compile", [False, True])
def test_states_equal_a_loops(time, jit_compile):
    a, b = pair(time)
    signature = None if jit_compile else [tf.TensorSpec((None, None, 3), tf.float64)] * 2
    scan = tf.function(linear_scan, input_signature=signature, jit_compile=jit_compile)
    np.testing.assert_allclose(scan(tf.constant(a), tf.constant(b)), looped(a, b), rtol=0, atol=1e-13)


@LENGTHS
def test_gradients_equal_a_loops(time):
    a, b = (tf.constant(x) for x in pair(time))
    weight = np.random.default_rng(0).normal(size=b.shape)

    def unrolled(a, b):
        states, h = [], tf.zeros_like(b[:, 0])
        for a_t, b_t in zip(tf.unstack(a, axis=1), tf.unstack(b, axis=1), strict=True):
            h = a_t * h + b_t
            states.append(h)
        return tf.stack(states, axis=1)

    def first_and_second(scan):
        with tf.GradientTape() as outer:
            outer.watch([a, b])
            with tf.GradientTape() as inner:
                inner.watch([a, b])
                loss = tf.reduce_sum(weight * scan(a, b) ** 2)
            first = inner.gradient(loss, [a, b])
            penalty = sum(tf.reduce_sum(g**2) for g in first)
        return first, outer.gradient(penalty, [a, b])

    for received, expected in zip(first_and_second(linear_scan), first_and_second(unrolled), strict=True):
        for x, y in zip(received, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-10)


def test_what_is_forgotten_and_what_is_kept_forever():
    a, b = pair(100, "float32")
    for constant in (0.0, 1.0):
        a[:] = constant
        np.testing.assert_allclose(linear_scan(tf.constant(a), tf.constant(b)), looped(a, b), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in archs.list_cells() if archs.get(name, "cell").coefficients])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
def test_recurrent_equals_the_loop_over_many_chunks_and_masks(name, backwards, zeros):
    draw = np.random.default_rng(0)
    x, mask = tf.constant(draw.normal(size=(3, 50, 4))), tf.constant(draw.uniform(size=(3, 50)) < 0.5)
    options = {"return_sequences": True, "return_state": True, "go_backwards": backwards, "zero_output_for_mask": zeros}
    cell = archs.create(name, 6, dtype="float64")
    scan = archs.Recurrent(cell, **options)
    loop = keras.layers.RNN(cell, dtype="float64", **options)
    for a, b in zip(scan(x, mask=mask), loop(x, mask=mask), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_a_subclass_with_another_recurrence_is_looped():
    class Doubled(archs.MinGRUCell):
        def recur(self, x, states, step):
            return (2 * super().recur(x, states, step)[0],)

    x = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 4)))
    cell = Doubled(6, dtype="float64")
    expected = keras.layers.RNN(cell, dtype="float64")(x)
    np.testing.assert_allclose(archs.Recurrent(cell)(x), expected, rtol=0, atol=1e-13)


def test_a_stack_is_scanned_layer_by_layer():
    cells = [archs.MinGRUCell(6, dtype="float64"), archs.LSTMCell(5, dtype="float64")]
    layer = archs.Recurrent(cells, return_sequences=True, return_state=True)
    plain = keras.layers.RNN(layer.cell, return_sequences=True, return_state=True, dtype="float64")
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 7, 4)))
    mask = tf.constant(np.random.default_rng(1).uniform(size=(3, 7)) < 0.5)
    for a, b in zip(tf.nest.flatten(layer(x, mask=mask)), tf.nest.flatten(plain(x, mask=mask)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_a_graph_of_the_scan_does_not_grow_with_time():
    layer = archs.Recurrent(archs.MinGRUCell(6))
    sizes = [
        len(tf.function(layer).get_concrete_function(tf.zeros((2, time, 4))).graph.as_graph_def().node)
        for time in (64, 1024)
    ]
    assert sizes[0] == sizes[1]
