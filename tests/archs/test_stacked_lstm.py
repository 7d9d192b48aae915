"""Stacks: sizes, residual connections, tied embeddings, answers per step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
TOKENS = np.random.default_rng(0).integers(0, 9, size=(3, 5))
LENGTHS = np.array([5, 2, 3])


def test_layers_of_any_sizes_and_cells():
    model = archs.stacked_lstm(4, [6, 5, 3], 2, cell=["lstm", archs.GRUCell, lambda units: archs.MGUCell(units)])
    cells = [layer.cell for layer in model.layers if isinstance(layer, archs.Recurrent)]
    assert [(type(c).__name__, c.units) for c in cells] == [("LSTMCell", 6), ("GRUCell", 5), ("MGUCell", 3)]
    assert model(X).shape == (3, 2)
    assert archs.stacked_lstm(4, 6, 2, cell=["lstm", "gru"], return_sequences=True)(X).shape == (3, 5, 2)


@pytest.mark.parametrize("return_sequences", [True, False])
def test_residual_layers_add_their_inputs(return_sequences):
    model = archs.stacked_lstm(4, [6, 6], 2, residual=True, lengths=True, return_sequences=return_sequences)
    low, high = (layer for layer in model.layers if isinstance(layer, archs.Recurrent))
    mask = tf.sequence_mask(LENGTHS, 5)
    below = low(X * mask[..., None].numpy(), mask=mask)
    outputs = below + high(below, mask=mask)
    expected = np.asarray(model.get_layer("outputs")(outputs))
    received = np.asarray(model({"inputs": X, "lengths": LENGTHS}))
    for row, length in enumerate(LENGTHS):
        wanted = expected[row, :length] if return_sequences else expected[row, length - 1]
        np.testing.assert_allclose(received[row, :length] if return_sequences else received[row], wanted, atol=1e-6)


def test_dropout_is_on_every_connection_but_the_recurrent_ones_and_differs_between_steps():
    model = archs.stacked_lstm(4, [6, 6], 2, dropout=0.5, return_sequences=True)
    names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert names == ["dropout_1", "dropout_2", "dropout_out"]
    dropped = np.asarray(model.get_layer("dropout_1")(np.ones((1, 50, 4), "float32"), training=True))
    assert len({tuple(step) for step in dropped[0]}) > 4
    assert not any(layer.cell.dropout for layer in model.layers if isinstance(layer, archs.Recurrent))


def test_tied_outputs_are_products_with_the_embedding():
    model = archs.stacked_lstm(6, [5, 6], 9, vocabulary=9, tied=True, return_sequences=True)
    below = keras.Model(model.input, model.get_layer("recurrent_2").output)
    (embedding,) = model.get_layer("embedding").weights
    np.testing.assert_allclose(model(TOKENS), below(TOKENS) @ tf.transpose(embedding.value), atol=1e-6)
    assert not [w for w in model.weights if w.path.startswith("outputs")]


@pytest.mark.parametrize("tied", [True, False])
def test_losses_leave_out_what_is_behind_the_lengths(tied):
    model = archs.stacked_lstm(6, [6], 9, vocabulary=9, tied=tied, return_sequences=True, lengths=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    x, mask = {"inputs": TOKENS, "lengths": LENGTHS}, np.arange(5) < LENGTHS[:, None]
    changed = np.where(mask, TOKENS, 0)
    measured = [model.evaluate(x, y, verbose=0) for y in (TOKENS, changed)]
    assert measured[0] == pytest.approx(measured[1], rel=1e-6)
    assert measured[0] == pytest.approx(float(loss(TOKENS[mask], np.asarray(model(x))[mask])), rel=1e-5)


def test_a_stateful_batch_goes_on_where_the_one_before_ended(tmp_path):
    model = archs.stacked_lstm(
        6,
        [5, 6],
        9,
        vocabulary=9,
        cell=["lstm", "gru"],
        return_sequences=True,
        lengths=True,
        stateful=True,
        batch_size=3,
    )
    other = archs.stacked_lstm(6, [5, 6], 9, vocabulary=9, cell=["lstm", "gru"], return_sequences=True, lengths=True)
    other.set_weights(model.get_weights())
    assert model.count_params() == other.count_params()  # states are no parameters
    whole = np.asarray(other({"inputs": TOKENS, "lengths": np.full(3, 5)}))
    model.save(tmp_path / "model.keras")
    for one in (model, keras.saving.load_model(tmp_path / "model.keras")):
        parts = [one({"inputs": x, "lengths": np.full(3, x.shape[1])}) for x in (TOKENS[:, :2], TOKENS[:, 2:])]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)
    for layer in model.layers:
        if isinstance(layer, archs.Recurrent):
            layer.reset_state()
    again = model({"inputs": TOKENS[:, :2], "lengths": np.full(3, 2)})
    np.testing.assert_allclose(again, whole[:, :2], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": (8, 9)}, r"`features` to be a positive integer, received \(8, 9\)"),
        ({"units": []}, "Expected a list of `units` and of `cell` with one for each layer, received"),
        ({"units": [6, 5], "cell": ["lstm"]}, "with one for each layer"),
        ({"units": 6}, r"`units` to be a list of sizes, .* received 6\. For two .* give \[6, 6\], for one \[6\]"),
        ({"units": 0}, "`units` to be a positive integer, received 0"),
        ({"units": [6, 0]}, "`units` to be a positive integer, received 0"),
        ({"units": [6, 5], "residual": True}, r"layers of equal output size with `residual=True`, received \[6, 5\]"),
        ({"tied": True}, "Expected `tied=True` with `vocabulary` equal to `outputs`"),
        ({"tied": True, "vocabulary": 2}, "received 2, 2, 4, 6, None and None"),
        ({"vocabulary": 0}, "`vocabulary` to be a positive integer, received 0"),
        ({"stateful": True}, "Expected a `batch_size` with `stateful=True`, received None"),
        ({"batch_size": 0}, "`batch_size` to be a positive integer, received 0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        archs.stacked_lstm(**{"features": 4, "units": [6], "outputs": 2} | options)
