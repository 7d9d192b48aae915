"""Two directions: what each sees, and how they are joined."""

import keras
import numpy as np
import pytest

import archs

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
LENGTHS = np.array([5, 2, 3])


@pytest.mark.parametrize("cell", ["lstm", "gru", "clockwork_rnn"])
def test_each_step_sees_the_whole_sequence_and_nothing_after_it(cell):
    keras.utils.set_random_seed(0)
    model = archs.bidirectional_lstm(4, 6, 2, cell=cell, lengths=True)
    before = np.asarray(model({"inputs": X, "lengths": LENGTHS}))
    for changed in range(5):
        x = X.copy()
        x[:, changed] += 1
        moved = np.abs(np.asarray(model({"inputs": x, "lengths": LENGTHS})) - before).max(-1)
        for row, length in enumerate(LENGTHS):
            assert np.all(moved[row, :length] > 0) == (changed < length)
            assert np.any(moved[row, :length] > 0) == (changed < length)


def test_one_answer_is_where_both_ways_end():
    model = archs.bidirectional_lstm(4, [6, 5], 2, return_sequences=False, lengths=True)
    assert model({"inputs": X, "lengths": LENGTHS}).shape == (3, 2)
    alone = [model({"inputs": X[i : i + 1, :n], "lengths": LENGTHS[i : i + 1]})[0] for i, n in enumerate(LENGTHS)]
    np.testing.assert_allclose(model({"inputs": X, "lengths": LENGTHS}), alone, atol=1e-6)


@pytest.mark.parametrize(("merge_mode", "size"), [("concat", 12), ("sum", 6), ("mul", 6), ("ave", 6)])
def test_directions_are_joined(merge_mode, size):
    model = archs.bidirectional_lstm(4, [6, 6], 2, merge_mode=merge_mode)
    assert model.get_layer("bidirectional_1").output.shape == (None, None, size)
    assert model(X).shape == (3, 5, 2)


def test_words_in():
    model = archs.bidirectional_lstm(4, 6, 2, vocabulary=9)
    assert model(np.zeros((3, 5), "int32")).shape == (3, 5, 2)


@pytest.mark.parametrize("noise", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"zoneout": 0.5}])
@pytest.mark.parametrize("cell", [archs.LSTMCell, archs.MinGRUCell])
def test_the_directions_drop_other_inputs_of_cells_with_a_seed(cell, noise, tmp_path):
    model = archs.bidirectional_lstm(4, 6, 2, cell=lambda units: cell(units, seed=7, **noise))
    model.save(tmp_path / "model.keras")
    for one in (model, keras.saving.load_model(tmp_path / "model.keras")):
        ways = one.get_layer("bidirectional_1")
        ways.backward_layer.set_weights(ways.forward_layer.get_weights())
        there = ways.forward_layer(X[:, ::-1], training=True)
        back = ways.backward_layer(X, training=True)
        np.testing.assert_allclose(ways.forward_layer(X[:, ::-1]), ways.backward_layer(X), atol=1e-6)
        assert np.abs(np.asarray(there) - np.asarray(back)).max() > 1e-3


def test_refuses_another_way_to_join():
    with pytest.raises(
        ValueError, match="Expected `merge_mode` to be one of 'concat', 'sum', 'mul', 'ave', received None"
    ):
        archs.bidirectional_lstm(4, 6, 2, merge_mode=None)


@pytest.mark.parametrize("merge_mode", ["concat", "sum"])
def test_residual_layers_add_their_inputs(merge_mode):
    model = archs.bidirectional_lstm(4, [6, 6], 2, merge_mode=merge_mode, residual=True, lengths=True)
    low, high = model.get_layer("bidirectional_1"), model.get_layer("bidirectional_2")
    mask = np.arange(5) < LENGTHS[:, None]
    below = low(np.where(mask[..., None], X, 0), mask=mask)
    expected = np.asarray(model.get_layer("outputs")(below + high(below, mask=mask)))
    received = np.asarray(model({"inputs": X, "lengths": LENGTHS}))
    np.testing.assert_allclose(received[mask], expected[mask], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": [6, 5]}, r"layers of equal output size with `residual=True`, received \[6, 5\]"),
        ({"units": [6, 6], "return_sequences": False}, "with `return_sequences=True` or a `pooling`, received neither"),
    ],
)
def test_residual_layers_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        archs.bidirectional_lstm(**{"features": 4, "outputs": 2, "residual": True} | options)
