"""What `Recurrent` does beyond what the catalog-wide tests hold it to for every cell."""

import keras
import numpy as np
import pytest

import archs


def test_it_wraps_the_cells_of_keras_too():
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    cell = keras.layers.GRUCell(6)
    ours, plain = archs.Recurrent(cell, return_sequences=True), keras.layers.RNN(cell, return_sequences=True)
    np.testing.assert_array_equal(ours(x), plain(x))


def test_config_round_trip_with_every_option():
    options = {
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "dtype": "mixed_bfloat16",
    }
    layer = archs.Recurrent([archs.LSTMCell(3), archs.LSTMCell(2)], **options)
    copy = archs.Recurrent.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert {name: getattr(copy, name) for name in options if name != "dtype"} == dict.fromkeys([*options][:-1], True)


def test_another_feature_size_is_refused():
    layer = archs.Recurrent(archs.LSTMCell(3))
    layer(np.zeros((2, 5, 4)))
    with pytest.raises(ValueError, match="value 4, but received input with shape"):
        layer(np.zeros((2, 5, 3)))


def test_zero_output_for_mask():
    layer = archs.Recurrent(archs.LSTMCell(3), return_sequences=True, zero_output_for_mask=True)
    outputs = np.asarray(layer(np.ones((1, 3, 4)), mask=np.array([[True, False, True]])))
    assert np.all(outputs[0, 1] == 0)
    assert np.all(outputs[0, [0, 2]] != 0)
