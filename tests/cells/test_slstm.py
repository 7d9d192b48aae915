"""The sLSTM's memory in three parts: extreme gates, zero states, zoneout."""

import numpy as np
import pytest
import tensorflow as tf

import archs


@pytest.mark.parametrize("exponential_forget", [False, True])
@pytest.mark.parametrize("level", [-100.0, 100.0])
@pytest.mark.parametrize("zeros", [False, True])
def test_extreme_gates_are_finite(exponential_forget, level, zeros):
    cell = archs.SLSTMCell(6, exponential_forget=exponential_forget)
    layer = archs.Recurrent(cell, return_sequences=True)
    layer.build((None, None, 4))
    cell.bias.assign(np.full(24, level))
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 50, 4)), tf.float32)
    states = [tf.zeros((2, 6))] * 4 if zeros else None
    with tf.GradientTape() as tape:
        outputs = layer(x, initial_state=states)
        loss = tf.reduce_sum(outputs**2)
    assert np.all(np.isfinite(outputs))
    assert np.all(np.abs(outputs) <= 1)
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(loss, [w.value for w in layer.weights]))


def test_a_step_does_not_depend_on_how_its_memory_is_scaled():
    cell = archs.SLSTMCell(6, dtype="float64")
    cell.build((None, 4))
    draw = np.random.default_rng(0)
    h, c, n, m, x = (
        draw.normal(size=(2, 6)),
        draw.normal(size=(2, 6)),
        np.ones((2, 6)),
        np.zeros((2, 6)),
        np.ones((2, 4)),
    )
    scaled = [h, c * np.exp(-3), n * np.exp(-3), m + 3]
    outputs = [cell(x, [tf.constant(s) for s in states])[0] for states in ([h, c, n, m], scaled)]
    np.testing.assert_allclose(*outputs, atol=1e-14)


def test_zoneout_keeps_the_parts_together():
    cell = archs.SLSTMCell(50, zoneout=[0.0, 0.5, 0.5, 0.5])
    cell.build((None, 4))
    draw = np.random.default_rng(0)
    old = [tf.constant(draw.uniform(1, 2, size=(2, 50)), tf.float32) for _ in range(4)]
    new = cell(tf.ones((2, 4)), old, training=True)[1]
    kept = [np.asarray(a == b) for a, b in zip(new, old, strict=True)]
    assert 0.2 < kept[1].mean() < 0.8
    np.testing.assert_array_equal(kept[1], kept[2])
    np.testing.assert_array_equal(kept[1], kept[3])
    with pytest.raises(ValueError, match="one rate for c, n, m, which are one memory"):
        archs.SLSTMCell(6, zoneout=[0.0, 0.5, 0.0, 0.0]).build((None, 4))


def test_heads_divide_the_units():
    with pytest.raises(ValueError, match="`num_heads` to divide the 6 units, received 4"):
        archs.SLSTMCell(6, num_heads=4)
