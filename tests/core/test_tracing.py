"""Traces of a recurrent layer of a model, step by step."""

import keras
import numpy as np
import pytest

import archs

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0], [1, 1, 1, 0, 0]], bool)


def states_of(layer, sequences, steps, mask=None):
    mask = None if mask is None else keras.ops.convert_to_tensor(mask[:, :steps])
    return layer(sequences[:, :steps], mask=mask)[1:]


@pytest.mark.parametrize("how", ["plain", "lengths", "masked"])
def test_states_of_each_step(how):
    if how == "lengths":
        model, mask = archs.vanilla_lstm(4, 6, 2, lengths=True), np.arange(5) < np.array([5, 2, 3])[:, None]
        x = {"inputs": X, "lengths": mask.sum(axis=1)}
    else:
        masked = keras.layers.Masking() if how == "masked" else keras.layers.Identity()
        inputs = keras.Input((None, 4))
        model = keras.Model(inputs, archs.Recurrent(archs.LSTMCell(6))(masked(inputs)))
        mask = MASK if how == "masked" else None
        x = X if mask is None else X * mask[..., None]
    found = archs.tracing.trace(model, x)
    assert list(found) == ["h", "c"]
    (cell,) = (layer.cell for layer in model.layers if isinstance(layer, archs.Recurrent))
    layer = archs.Recurrent(cell, return_state=True)
    for t in range(5):
        for received, expected in zip(found.values(), states_of(layer, X, t + 1, mask), strict=True):
            np.testing.assert_allclose(received[:, t], expected, rtol=0, atol=1e-6)


def test_backwards_and_in_half_precision():
    inputs = keras.Input((None, 4))
    cell = archs.GRUCell(6, dtype="mixed_bfloat16")
    outputs = archs.Recurrent(cell, go_backwards=True, return_sequences=True)(inputs)
    model = keras.Model(inputs, outputs)
    found = archs.tracing.trace(model, X)["h"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, keras.ops.cast(model(X), "float32"), rtol=0, atol=0.05)


def test_a_decoder_begins_where_its_encoder_ends():
    model = archs.encoder_decoder_lstm(4, 6, 9, attention=None)
    x = {"inputs": X, "decoder_inputs": np.ones((3, 6), int)}  # as many steps as units: states are no mask
    says = keras.Model(model.input, model.get_layer("decoder_1").output[0])(x)
    found = archs.tracing.trace(model, x, "decoder_1")["h"]
    np.testing.assert_allclose(found, says, rtol=0, atol=1e-6)


def test_what_cannot_be_traced_is_refused():
    model = archs.vanilla_lstm(4, 6, 2)
    assert archs.tracing.trace(model, X.tolist())["h"].shape == (3, 5, 6)
    with pytest.raises(ValueError, match=r"with a time step at least, received shape \(3, 0, 4\)"):
        archs.tracing.trace(model, X[:, :0])
    attentive = archs.encoder_decoder_lstm(4, 6, 9)
    with pytest.raises(
        ValueError, match=r"without an external memory, received 'decoder_1'; `archs.decoding.attention`"
    ):
        archs.tracing.trace(attentive, {"inputs": X, "decoder_inputs": np.ones((3, 7), int)}, "decoder_1")
    with pytest.raises(ValueError, match=r"such as `keras.layers.Bidirectional`, are not among them"):
        archs.tracing.trace(archs.bidirectional_lstm(4, 6, 2), X)


def test_one_layer_is_named_or_the_only_one():
    model = archs.stacked_lstm(4, [6, 5], 2)
    assert archs.tracing.trace(model, X, layer="recurrent_2")["c"].shape == (3, 5, 5)
    with pytest.raises(ValueError, match=r"name one of \['recurrent_1', 'recurrent_2'\], received None"):
        archs.tracing.trace(model, X)
    with pytest.raises(ValueError, match="received 'recurrent_3'"):
        archs.tracing.trace(model, X, layer="recurrent_3")
