"""`lstm` is `keras.layers.LSTM`, with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

MASKS = [None, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], [[0, 1, 1, 0, 1], [1, 0, 1, 1, 1], [0, 0, 0, 0, 1]]]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_weights_interchange_with_keras(mask, use_bias):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(3, 5, 4)), tf.float32)
    ours = archs.Recurrent(archs.LSTMCell(6, use_bias=use_bias), return_sequences=True)
    theirs = keras.layers.LSTM(6, use_bias=use_bias, return_sequences=True)
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights([rng.normal(size=w.shape) for w in theirs.weights])
    ours.set_weights(theirs.get_weights())
    results = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            outputs = layer(x, mask=None if mask is None else tf.constant(mask) == 1)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, *tape.gradient(loss, [w.value for w in layer.trainable_weights])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_weights_have_the_names_and_order_of_keras():
    ours, theirs = archs.LSTMCell(6), keras.layers.LSTMCell(6)
    ours.build((None, 4))
    theirs.build((None, 4))
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in theirs.weights]
    np.testing.assert_array_equal(ours.bias, theirs.bias)


def test_forget_bias():
    cell = archs.LSTMCell(2, bias_initializer=keras.initializers.Constant(0.5))
    cell.build((None, 4))
    np.testing.assert_array_equal(cell.bias, [0.5, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5])
    cell = archs.LSTMCell(2, unit_forget_bias=False)
    cell.build((None, 4))
    np.testing.assert_array_equal(cell.bias, np.zeros(8))
