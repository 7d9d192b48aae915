"""Pooling over time, and models without a dense layer."""

import keras
import numpy as np
import pytest

import archs
from archs._core.head import Pooling

BATCH, TIME, FEATURES, UNITS = 3, 5, 4, 6
LENGTHS = np.array([5, 2, 0])
POOLED = {"vanilla_lstm": UNITS, "stacked_lstm": [UNITS, UNITS], "bidirectional_lstm": [UNITS], "cnn_lstm": UNITS}
INPUTS = np.random.default_rng(0).normal(size=(BATCH, TIME, FEATURES)).astype("float32")


def reference(pooling, row, layer):
    """The pooled vector of one row without padding."""
    if not len(row):
        return np.zeros(row.shape[1])
    if pooling != "attention":
        return getattr(row, pooling)(axis=0)
    kernel, bias, query = (np.asarray(weight, np.float64) for weight in layer.weights)
    scores = np.tanh(row @ kernel + bias) @ query
    weights = np.exp(scores) / np.exp(scores).sum()
    return (weights * row).sum(axis=0)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_pooling_is_over_what_the_mask_leaves(pooling):
    layer = Pooling(pooling)
    layer.build((None, None, FEATURES))
    for weight in layer.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    x = np.where(np.arange(TIME)[None, :, None] < LENGTHS[:, None, None], INPUTS, np.nan)
    answer = np.asarray(layer(x, mask=np.arange(TIME) < LENGTHS[:, None]))
    expected = [reference(pooling, row[:n].astype(np.float64), layer) for row, n in zip(INPUTS, LENGTHS, strict=True)]
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        np.asarray(layer(INPUTS)), [reference(pooling, row.astype(np.float64), layer) for row in INPUTS], rtol=1e-5
    )


@pytest.mark.sampled(4)
@pytest.mark.parametrize("pooling", [None, "mean", "max", "attention"])
@pytest.mark.parametrize("name", POOLED)
def test_every_factory_pools_and_may_have_no_dense_layer(name, pooling, tmp_path):
    more = {} if name == "vanilla_lstm" else {"return_sequences": False}
    model = archs.create(name, FEATURES, POOLED[name], None, pooling=pooling, lengths=True, **more)
    inputs = {"inputs": INPUTS, "lengths": LENGTHS}
    answer = np.asarray(model(inputs))
    assert answer.shape == (BATCH, UNITS * (1 + (name == "bidirectional_lstm")))
    longer = {"inputs": np.pad(INPUTS, [[0, 0], [0, 3], [0, 0]], constant_values=9.0), "lengths": LENGTHS}
    np.testing.assert_allclose(np.asarray(model(longer)), answer, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(keras.saving.load_model(tmp_path / "model.keras")(inputs)), answer)
    dense = archs.create(name, FEATURES, POOLED[name], 2, pooling=pooling, activation="softmax", **more)
    assert dense(INPUTS).shape == (BATCH, 2)


@pytest.mark.parametrize("name", POOLED)
def test_a_mask_that_arrives_is_pooled_over(name):
    model = archs.create(name, FEATURES, POOLED[name], 2, pooling="mean")
    masked = keras.Sequential([keras.Input((None, FEATURES)), keras.layers.Masking(), model])
    padded = np.pad(INPUTS, [[0, 0], [0, 4], [0, 0]])
    np.testing.assert_allclose(np.asarray(masked(padded)), np.asarray(model(INPUTS)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", POOLED)
def test_what_a_head_cannot_be_is_refused(name):
    with pytest.raises(ValueError, match="`pooling` to be one of 'mean', 'max', 'attention', received 'sum'"):
        archs.create(name, FEATURES, POOLED[name], 2, pooling="sum")
    with pytest.raises(ValueError, match="no `activation` without `outputs`, received 'tanh'"):
        archs.create(name, FEATURES, POOLED[name], None, activation="tanh")
