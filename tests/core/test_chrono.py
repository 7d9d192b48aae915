"""Chrono initialisation: which gate gets what."""

import keras
import numpy as np
import pytest

import archs


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name", [name for name in archs.list_cells() if archs.get(name, "cell").keeping + archs.get(name, "cell").writing]
)
def test_every_bias_of_a_gated_cell_gets_its_times(name):
    cell = archs.create(name, 1000, kind="cell", use_bias=True, bias_initializer=archs.ChronoInitializer(100.0, seed=0))
    cell.build((None, 2))
    for bias in (np.asarray(w) for w in cell.weights if "bias" in w.name):
        blocks = dict(zip(cell.gates, bias.reshape(-1, 1000), strict=False))
        for gate, block in blocks.items():
            sign = (gate in cell.keeping) - (gate in cell.writing)
            if sign == 0:
                assert np.all(block == 0), gate
            else:
                times = np.exp(sign * block)
                assert 1 <= times.min() < 3, gate
                assert 97 < times.max() <= 99, gate
                np.testing.assert_allclose(times.mean(), 50, atol=3)


def test_keeping_and_writing_gates_mirror_each_other():
    cell = archs.LSTMCell(6, bias_initializer=archs.ChronoInitializer(50))
    cell.build((None, 2))
    i, f, g, o = np.asarray(cell.bias).reshape(4, 6)
    np.testing.assert_array_equal(i, -f)
    assert not np.any([g, o])


@pytest.mark.parametrize(
    ("name", "gate", "sign"), [("gru", "z", 1), ("mut1", "z", -1), ("mgu", "f", -1), ("ugrnn", "g", 1)]
)
def test_the_sign_is_of_what_keeps_the_memory(name, gate, sign):
    """With the bias far in the direction of the sign, a step changes nothing."""
    cell = archs.create(name, 6, kind="cell", bias_initializer=archs.ChronoInitializer(1e30))
    cell.build((None, 2))
    h = keras.ops.ones((1, 6)) * 0.5
    bias = np.zeros((len(cell.gates), 6))
    bias[cell.gates.index(gate)] = sign * 100
    cell.bias.assign(bias.reshape(-1))
    np.testing.assert_allclose(cell(keras.ops.ones((1, 2)), [h])[0], h, atol=1e-6)


def test_a_keras_layer_takes_it_with_signs():
    layer = keras.layers.LSTM(
        5, bias_initializer=archs.ChronoInitializer(50, signs=(-1, 1, 0, 0)), unit_forget_bias=False
    )
    layer.build((None, None, 2))
    i, f, g, o = np.asarray(layer.cell.bias).reshape(4, 5)
    np.testing.assert_array_equal(i, -f)
    assert np.all(f)
    assert not np.any([g, o])


def test_gru_with_two_rows_of_biases_gets_its_times_once():
    cell = archs.GRUCell(6, reset_after=True, bias_initializer=archs.ChronoInitializer(50))
    cell.build((None, 2))
    ours, recurrent = np.asarray(cell.bias)
    assert np.all(ours[:6])
    assert not np.any([*ours[6:], *recurrent])


def test_seed_and_config():
    first, second = (archs.ChronoInitializer(50, signs=(1,), seed=3)((6,)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    cell = archs.LSTMCell(6, bias_initializer=archs.ChronoInitializer(50, seed=3))
    assert archs.LSTMCell.from_config(cell.get_config()).get_config() == cell.get_config()


@pytest.mark.parametrize("max_time", [2, 0, -1, None, "9", float("nan")])
def test_times_that_are_none_are_refused(max_time):
    with pytest.raises(ValueError, match="`max_time`"):
        archs.ChronoInitializer(max_time)


def test_signs_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"`signs` for 4 gates, received \(1, 0, 0\)"):
        archs.LSTMCell(6, bias_initializer=archs.ChronoInitializer(50, signs=(1, 0, 0))).build((None, 2))
    with pytest.raises(ValueError, match="`use_bias=True` with a ChronoInitializer"):
        archs.LayerNormGRUCell(6, bias_initializer=archs.ChronoInitializer(50)).build((None, 2))
    with pytest.raises(ValueError, match="`signs` to be 1, 0 or -1"):
        archs.ChronoInitializer(50, signs=5)
    with pytest.raises(ValueError, match="`signs` to be 1, 0 or -1"):
        archs.ChronoInitializer(50, signs=(2,))
    with pytest.raises(ValueError, match=r"`signs` for each of its gate blocks; received the shape \(24,\)"):
        keras.layers.LSTM(6, bias_initializer=archs.ChronoInitializer(50), unit_forget_bias=False).build((1, 1, 2))
    with pytest.raises(ValueError, match="gates that keep or write"):
        archs.SimpleRNNCell(6, bias_initializer=archs.ChronoInitializer(50)).build((None, 2))
