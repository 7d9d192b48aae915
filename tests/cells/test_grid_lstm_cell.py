"""Grid LSTM, beyond the conformance tests: its dimensions, first values, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance import catalog

PLAIN = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0), "linear": lambda a: a}


def grid(features=4, units=6, **arguments):
    layer = archs.Recurrent(archs.GridLSTMCell(units, dtype="float64", **arguments), return_sequences=True)
    layer.build((None, None, features))
    return layer, catalog.randomize(layer)


def sigma(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.parametrize("transform", PLAIN)
def test_a_plain_dimension_is_a_deep_network(transform):
    layer, weights = grid(time=False, depth=3, transforms=transform)
    x = catalog.inputs()
    h = x @ weights["kernel"]
    for _ in range(3):
        h = PLAIN[transform](h @ weights["depth_kernel"] + weights["depth_bias"])
    np.testing.assert_allclose(layer(x), h, atol=1e-12)


def test_a_grid_without_memory_is_a_stack_of_simple_networks():
    """Linear along depth and without priority, the h of time is a simple recurrent network's."""
    layer, weights = grid(depth=1, transforms={"depth": "linear", "time": "tanh"})
    x, h = catalog.inputs(), np.zeros((3, 6))
    for t in range(x.shape[1]):
        below = x[:, t] @ weights["kernel"]
        h = np.tanh(np.concatenate([below, h], 1) @ weights["time_kernel"] + weights["time_bias"])
        expected = np.concatenate([below, h], 1) @ weights["depth_kernel"] + weights["depth_bias"]
        np.testing.assert_allclose(layer(x)[:, t], expected, atol=1e-12)


def test_one_dimension_carries_nothing_over_time():
    layer, weights = grid(time=False, depth=2)
    x = catalog.inputs()
    h, m = np.split(x @ weights["kernel"], 2, axis=-1)
    for _ in range(2):
        i, f, g, o = np.split(h @ weights["depth_kernel"] + weights["depth_bias"], 4, axis=-1)
        m = sigma(f) * m + sigma(i) * np.tanh(g)
        h = np.tanh(sigma(o) * m)
    np.testing.assert_allclose(layer(x), h, atol=1e-12)
    np.testing.assert_allclose(layer(x[:, ::-1]), h[:, ::-1], atol=1e-12)


def test_untied_layers_of_equal_weights_are_tied():
    tied, weights = grid(depth=3)
    untied, _ = grid(depth=3, tied=False)
    for weight in untied.weights:
        weight.assign(weights[weight.name.rstrip("_123")])
    np.testing.assert_allclose(untied(catalog.inputs()), tied(catalog.inputs()), atol=1e-12)


@pytest.mark.slow
def test_a_place_sees_those_before_it_alone():
    """In rows and columns, a place sees what is above or left of it, in its own time step and those before."""
    layer, _ = grid(features=6, extents=(2, 3))
    x = tf.constant(catalog.random(1, 3, 6))
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.reduce_sum(tf.reshape(layer(x), (3, 2, 3, 6)), axis=-1)
    seen = np.asarray(tape.jacobian(outputs, x)).reshape(3, 2, 3, 3, 2, 3) != 0
    steps, rows, columns = (np.arange(size) for size in (3, 2, 3))
    before = [places[:, None] >= places for places in (steps, rows, columns)]
    expected = before[0][:, None, None, :, None, None] & before[1][None, :, None, None, :, None]
    np.testing.assert_array_equal(seen, expected & before[2][None, None, :, None, None, :])


def test_first_values():
    cell = archs.GridLSTMCell(200, forget_bias=2.0, depth_forget_bias=-1.0)
    cell.build((None, 50))
    for weight in cell.weights:
        values, (rows, *columns) = np.asarray(weight), weight.shape
        if columns:
            np.testing.assert_allclose(values.std(), 2 / np.sqrt(rows), rtol=0.02)
        else:
            f = {"time_bias": 2.0, "depth_bias": -1.0}[weight.name]
            np.testing.assert_array_equal(values.reshape(4, 200), np.array([[0], [f], [0], [0]]) * np.ones(200))
    kernels = [np.asarray(weight) for weight in cell.weights if weight.name.endswith("_kernel")]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1
    other = archs.GridLSTMCell(200)
    other.build((None, 50))
    assert np.abs(np.asarray(other.kernel) - np.asarray(cell.kernel)).max() > 0.1


def test_dropout_acts_on_what_layers_take_from_below():
    layer, _ = grid(features=1, units=1, time=False, depth=3, transforms="linear", dropout=0.5, use_bias=False)
    layer.set_weights([np.ones(weight.shape) for weight in layer.weights])
    assert set(np.unique(layer(np.ones((500, 1, 1)), training=True))) == {0.0, 2.0**3}


def test_recurrent_dropout_acts_on_what_comes_from_the_step_before():
    plain = {"transforms": "linear", "priority": None, "use_bias": False}
    layer, _ = grid(features=1, units=1, depth=1, recurrent_dropout=0.5, **plain)
    layer.set_weights([np.ones(weight.shape) for weight in layer.weights])
    received = np.unique(np.asarray(layer(np.ones((500, 3, 1)), training=True))[..., 0], axis=0)
    np.testing.assert_array_equal(received, [[1, 1, 1], [1, 3, 7]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "`depth` to be a positive integer, received 0"),
        ({"tied": "depth"}, "`tied` to be True or False, received 'depth'"),
        ({"time": 1}, "`time` to be True or False, received 1"),
        ({"extents": 3}, "`extents` to be a tuple of positive integers, received 3"),
        ({"extents": (2, 0)}, "`extents` to be a positive integer, received 0"),
        ({"transforms": "tanhh"}, "`transforms` to be 'lstm' or activations of Keras, received 'tanhh'"),
        ({"transforms": ("lstm", "relu")}, r"`transforms` to be 'lstm' or activations of Keras, received \('lstm'"),
        ({"transforms": {"dept": "relu"}}, "dimensions of the grid, received 'dept'. Did you mean depth?"),
        ({"transforms": {"axis_1": "relu"}}, "dimensions of the grid, received 'axis_1'. There are: depth, time."),
        ({"time": False, "priority": "time"}, "`priority` to be one of None, 'depth', received 'time'"),
        ({"gate_first": None}, "`gate_first` to be True or False, received None"),
        ({"forget_bias": "1"}, "`forget_bias` to be a number, received '1'"),
        ({"depth_forget_bias": float("inf")}, "`depth_forget_bias` to be a number, received inf"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        archs.GridLSTMCell(6, **arguments)


def test_features_that_are_not_of_so_many_places_are_refused():
    with pytest.raises(ValueError, match=r"number of features that the 3 places of \(3,\) divide, received 4"):
        grid(extents=(3,))
