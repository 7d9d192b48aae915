"""The clockwork RNN's periods: who runs when, who sees whom, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

import archs


def test_a_module_changes_at_its_period_only():
    layer = archs.Recurrent(archs.ClockworkRNNCell(6, periods=(1, 3, 4)), return_sequences=True)
    outputs = np.asarray(layer(np.random.default_rng(0).normal(size=(2, 13, 4)).astype("float32")))
    changed = np.any(np.diff(outputs, axis=1, prepend=0) != 0, axis=0)
    for units, period in (([0, 1], 1), ([2, 3], 3), ([4, 5], 4)):
        expected = [time % period == 0 for time in range(13)]
        np.testing.assert_array_equal(changed[:, units], np.transpose([expected, expected]))


def test_a_module_sees_slower_modules_and_itself_only():
    cell = archs.ClockworkRNNCell(6, periods=(2, 1, 4))
    cell.build((None, 4))
    states = [tf.Variable(tf.random.normal((1, 6), seed=0)), tf.zeros((1, 1))]
    with tf.GradientTape() as tape:
        output, _ = cell(tf.zeros((1, 4)), states)
    seen = np.any(np.asarray(tape.jacobian(output, states[0]))[0, :, 0].reshape(3, 2, 3, 2) != 0, axis=(1, 3))
    np.testing.assert_array_equal(seen, [[1, 0, 1], [1, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize(("units", "periods"), [(6, 6), (16, 8), (13, 1), (9, 3), (128, 8)])
def test_default_periods_are_powers_of_two(units, periods):
    assert archs.ClockworkRNNCell(units).periods == tuple(2**i for i in range(periods))


@pytest.mark.parametrize(
    ("periods", "message"),
    [
        ((1, 2, 4, 8), r"divide the 6 units, received 4: \(1, 2, 4, 8\)"),
        ((1, 0), "`periods` to be a positive integer, received 0"),
        ((1, 2.5), "`periods` to be a positive integer, received 2.5"),
        ((), r"list of positive integers, received \(\)"),
        (4, "list of positive integers, received 4"),
        ("124", "list of positive integers, received '124'"),
    ],
)
def test_wrong_periods_are_refused(periods, message):
    with pytest.raises(ValueError, match=message):
        archs.ClockworkRNNCell(6, periods=periods)
