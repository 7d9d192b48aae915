"""The convolutions: along time with the right lengths, over frames each on its own."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_a_signal_is_answered_as_if_it_were_alone(kernel_size, strides):
    model = archs.cnn_lstm(
        4, 6, 2, filters=[3, 5], kernel_size=kernel_size, strides=strides, return_sequences=True, lengths=True
    )
    lengths = np.array([13, 1, 6, 7])
    x = DRAW.normal(size=(4, 13, 4)).astype("float32")
    together = np.asarray(model({"inputs": x, "lengths": lengths}))
    for row, length in enumerate(lengths):
        alone = model({"inputs": x[row : row + 1, :length], "lengths": lengths[row : row + 1]})
        steps = math.ceil(math.ceil(length / strides) / strides)
        assert alone.shape == (1, steps, 2)
        np.testing.assert_allclose(together[row, :steps], alone[0], atol=1e-6)


def test_without_lengths_the_answers_are_those_of_full_lengths():
    model = archs.cnn_lstm(4, 6, 2, lengths=True)
    other = archs.cnn_lstm(4, 6, 2)
    other.set_weights(model.get_weights())
    x = DRAW.normal(size=(3, 9, 4)).astype("float32")
    np.testing.assert_allclose(model({"inputs": x, "lengths": np.full(3, 9)}), other(x), atol=1e-6)


def test_each_frame_is_seen_on_its_own(tmp_path):
    model = archs.cnn_lstm((8, 9, 2), [6, 5], 3, filters=[4, 5], lengths=True)
    x = DRAW.normal(size=(3, 5, 8, 9, 2)).astype("float32")
    seen = keras.Model(model.input, model.get_layer("frames").output)
    lengths = np.array([5, 2, 3])
    frames = np.asarray(seen({"inputs": x, "lengths": lengths}))
    assert frames.shape == (3, 5, 2 * 3 * 5)
    layers = model.get_layer("frames").layer
    np.testing.assert_allclose(frames[1, 1], layers(x[1:2, 1])[0], atol=1e-5)
    answer = model({"inputs": x, "lengths": lengths})
    alone = model({"inputs": x[2:, :3], "lengths": lengths[2:]})
    np.testing.assert_allclose(answer[2:], alone, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded({"inputs": x, "lengths": lengths}), answer, atol=1e-6)


@pytest.mark.parametrize("examples", [1, 3, 7])
def test_frames_of_a_number_that_the_graph_does_not_know(examples):
    model = archs.cnn_lstm((8, 9, 2), 6, 3, filters=4)
    x = DRAW.normal(size=(examples, 5, 8, 9, 2)).astype("float32")
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, 8, 9, 2))])
    np.testing.assert_allclose(graph(tf.constant(x)), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": [4, 0]}, "`filters` to be a positive integer, received 0"),
        ({"kernel_size": 0}, "`kernel_size` to be a positive integer, received 0"),
        ({"strides": 0}, "`strides` to be a positive integer, received 0"),
        ({"features": (8, 0, 1)}, "`features` to be a positive integer, received 0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        archs.cnn_lstm(**{"features": 4, "units": 6, "outputs": 2} | options)
