"""One layer is a stack of one: the same dropout, tokens and carried states."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
TOKENS = np.random.default_rng(0).integers(0, 9, size=(3, 5))


@pytest.mark.parametrize("pooling", [None, "mean"])
def test_dropout_is_that_of_a_stack_of_one(pooling):
    given = {"features": 4, "outputs": 2, "dropout": 0.5, "pooling": pooling}
    one, stack = archs.vanilla_lstm(units=6, **given), archs.stacked_lstm(units=[6], **given)
    for model in (one, stack):
        names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        assert names == ["dropout_1", "dropout_out"]
    assert one.get_layer("recurrent").cell.dropout == 0
    stack.set_weights(one.get_weights())
    answers = []
    for model in (one, stack):
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([1, 2])
        answers.append(np.asarray(model(X, training=True)))
    np.testing.assert_array_equal(*answers)
    assert np.abs(answers[0] - np.asarray(one(X))).max() > 1e-3


def test_tokens_are_embedded_as_in_a_stack():
    given = {"features": 4, "outputs": 2, "vocabulary": 9, "mask_zero": True}
    one, stack = archs.vanilla_lstm(units=6, **given), archs.stacked_lstm(units=[6], **given)
    stack.set_weights(one.get_weights())
    np.testing.assert_allclose(one(TOKENS), stack(TOKENS), atol=1e-6)


def test_a_stateful_batch_goes_on_where_the_one_before_ended(tmp_path):
    model = archs.vanilla_lstm(4, 6, 2, stateful=True, batch_size=3)
    other = archs.vanilla_lstm(4, 6, 2)
    other.set_weights(model.get_weights())
    model.save(tmp_path / "model.keras")
    for one in (model, keras.saving.load_model(tmp_path / "model.keras")):
        one(X[:, :2])
        np.testing.assert_allclose(one(X[:, 2:]), other(X), atol=1e-6)
    model.get_layer("recurrent").reset_state()
    np.testing.assert_allclose(model(X[:, :2]), other(X[:, :2]), atol=1e-6)
    with pytest.raises(ValueError, match="Expected a `batch_size` with `stateful=True`, received None"):
        archs.vanilla_lstm(4, 6, 2, stateful=True)


def test_a_trained_model_gets_another_head():
    trained = archs.vanilla_lstm(4, 6, 2, lengths=True)
    x = {"inputs": X, "lengths": np.array([5, 2, 3])}
    answer = keras.layers.Dense(7, name="outputs")(trained.get_layer("outputs").input)
    model = type(trained)(trained.input, answer)
    assert model(x).shape == (3, 7)
    features = archs.vanilla_lstm(4, 6, None, lengths=True)
    features.set_weights(trained.get_weights()[:-2])
    kernel, bias = model.get_layer("outputs").get_weights()
    np.testing.assert_allclose(model(x), tf.matmul(features(x), kernel) + bias, atol=1e-6)
