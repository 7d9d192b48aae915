"""The cells that Keras has, too, equal its layers with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

MASKS = [None, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], [[0, 1, 1, 0, 1], [1, 0, 1, 1, 1], [0, 0, 0, 0, 1]]]
PAIRS = {
    "lstm": (archs.LSTMCell, keras.layers.LSTM, {}),
    "gru": (archs.GRUCell, keras.layers.GRU, {"reset_after": False}),
    "gru, reset after": (archs.GRUCell, keras.layers.GRU, {"reset_after": True}),
    "simple_rnn": (archs.SimpleRNNCell, keras.layers.SimpleRNN, {}),
}
each_pair = pytest.mark.parametrize(("cell", "layer", "options"), PAIRS.values(), ids=PAIRS)


@pytest.mark.sampled(3)
@each_pair
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
def test_outputs_and_gradients_are_equal(cell, layer, options, mask, use_bias, dtype, tolerance):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(3, 5, 4)), dtype)
    ours = archs.Recurrent(cell(6, use_bias=use_bias, dtype=dtype, **options), return_sequences=True)
    theirs = layer(6, use_bias=use_bias, return_sequences=True, dtype=dtype, **options)
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights([rng.normal(size=w.shape) for w in theirs.weights])
    ours.set_weights(theirs.get_weights())
    results = []
    for built in (ours, theirs):
        with tf.GradientTape() as tape:
            outputs = built(x, mask=None if mask is None else tf.constant(mask) == 1)
            loss = tf.reduce_mean(outputs**2)
        results.append([outputs, *tape.gradient(loss, [w.value for w in built.trainable_weights])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@each_pair
def test_weights_start_with_the_names_shapes_and_biases_of_keras(cell, layer, options):
    ours, theirs = cell(6, **options), layer(6, **options).cell
    ours.build((None, 4))
    theirs.build((None, 4))
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in theirs.weights]
    np.testing.assert_array_equal(ours.bias, theirs.bias)
