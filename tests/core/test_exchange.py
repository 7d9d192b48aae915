"""Weights to and from torch and Keras: round trips, errors; tests/cells compare with the real layers."""

import keras
import numpy as np
import pytest

import archs
from archs import exchange

CASES = {
    "lstm": {},
    "gru": {"reset_after": True},
    "simple_rnn": {},
    "irnn": {},
    "projected_lstm": {"peepholes": False, "projection_units": 2},
}
each_case = pytest.mark.parametrize(("name", "options"), CASES.items(), ids=CASES)


def built(name, **options):
    cell = archs.create(name, 6, **options)
    cell.build((None, 4))
    draw = np.random.default_rng(0)
    cell.set_weights([draw.normal(size=w.shape) for w in cell.weights])
    return cell


@each_case
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("place", [{}, {"layer": 1, "reverse": True}])
def test_there_and_back(name, options, use_bias, place):
    weights = exchange.get_weights(built(name, use_bias=use_bias, **options))
    state_dict = exchange.to_torch(name, weights, **place)
    assert all(key.endswith("_l1_reverse" if place else "_l0") for key in state_dict)
    back = exchange.from_torch(name, state_dict, **place)
    assert back.keys() == weights.keys()
    for key, value in weights.items():
        np.testing.assert_array_equal(back[key], value)


def test_one_layer_and_direction_is_taken_out_of_many():
    state_dict = {}
    for number, place in enumerate([{}, {"reverse": True}, {"layer": 1}, {"layer": 1, "reverse": True}, {"layer": 11}]):
        weights = {"kernel": np.full((4, 24), number), "recurrent_kernel": np.zeros((6, 24))}
        state_dict |= exchange.to_torch("lstm", weights, **place)
    taken = [exchange.from_torch("lstm", state_dict)["kernel"][0, 0]]
    taken += [exchange.from_torch("lstm", state_dict, layer=1, reverse=True)["kernel"][0, 0]]
    taken += [exchange.from_torch("lstm", state_dict, layer=1)["kernel"][0, 0]]
    assert taken == [0, 3, 2]


@pytest.mark.parametrize("options", [{}, {"use_bias": False}])
def test_keras_there_and_back(options):
    layer = keras.layers.GRU(6, **options)
    layer.build((None, None, 4))
    weights = exchange.from_keras("gru", layer.get_weights())
    cell = built("gru", reset_after=True, **options)
    exchange.set_weights(cell, weights)
    for a, b in zip(exchange.to_keras("gru", exchange.get_weights(cell)), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def stack():
    layer = archs.Recurrent([archs.LSTMCell(6), archs.LSTMCell(6)])
    layer.build((None, None, 4))
    return layer


GOOD = {"weight_ih_l0": np.zeros((24, 4)), "weight_hh_l0": np.zeros((24, 6))}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exchange.from_torch("mgu", GOOD), r"counterpart in torch\.nn, received 'mgu'. .*gru"),
        (lambda: exchange.from_keras("peephole_lstm", []), r"counterpart in keras\.layers, received 'peephole_lstm'"),
        (lambda: exchange.from_torch("lstm", {}), "Expected weight_ih_l0, weight_hh_l0 for lstm, received nothing"),
        (lambda: exchange.from_torch("lstm", GOOD, layer=1), "Expected weight_ih_l1, .*, received weight_ih_l0"),
        (lambda: exchange.from_torch("lstm", GOOD, reverse=True), "Expected weight_ih_l0_reverse"),
        (lambda: exchange.from_torch("lstm", GOOD | {"bias_ih_l0": np.zeros(24)}), "bias_hh_l0 for lstm, received"),
        (lambda: exchange.from_torch("lstm", GOOD | {"weight_hr_l0": np.zeros((2, 6))}), "take projected_lstm"),
        (lambda: exchange.from_torch("gru", GOOD), r"weight_hh_l0 of the shape \(24, 8\), received \(24, 6\)"),
        (
            lambda: exchange.to_torch("gru", exchange.get_weights(built("gru"))),
            r"`reset_after=True`.* received \(18,\)",
        ),
        (
            lambda: exchange.to_torch("projected_lstm", exchange.get_weights(built("projected_lstm"))),
            "peepholes has no",
        ),
        (lambda: exchange.to_keras("lstm", {"kernel": np.zeros((4, 24))}), "Expected kernel, recurrent_kernel and"),
        (lambda: exchange.from_keras("lstm", [np.zeros((4, 24)), np.zeros((5, 24))]), r"\(6, 24\), received \(5, 24\)"),
        (lambda: exchange.from_keras("lstm", [np.zeros(1)] * 4), "received 4 arrays"),
        (lambda: exchange.set_weights(archs.LSTMCell(6), {}), "has no weights yet"),
        (lambda: exchange.get_weights(archs.LSTMCell(6)), "has no weights yet"),
        (lambda: exchange.get_weights(stack()), "Expected one cell, .* several have weights of the same name"),
        (lambda: exchange.set_weights(built("lstm"), [1, 2]), r"a dict of name to array, received \[1, 2\]"),
        (lambda: exchange.from_torch("lstm", GOOD | {"weight_hh_l0": 1.0}), r"weight_hh_l0 to have two axes.* \(\)"),
        (lambda: exchange.from_keras("lstm", [np.zeros((4, 25)), np.zeros((6, 25))]), "4 blocks of columns .* 25"),
        (lambda: exchange.from_keras("lstm", {}), "Expected a list of kernel, .*, received {}"),
        (lambda: exchange.set_weights(built("lstm"), {"kernel": 0}), "Expected the weights kernel, .* received kernel"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_refused_weight_changes_nothing():
    cell = built("lstm")
    before = exchange.get_weights(cell)
    wrong = {key: np.zeros_like(value) for key, value in before.items()} | {"bias": np.zeros(23)}
    with pytest.raises(ValueError, match=r"bias of the shape \(24,\), received \(23,\)"):
        exchange.set_weights(cell, wrong)
    for key, value in exchange.get_weights(cell).items():
        np.testing.assert_array_equal(value, before[key])
