"""The phased LSTM's time: the gate's shape, its leak, its clock and its timestamps."""

import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core.step import Step


def layer(period=8.0, phase=1.0, dtype="float64", **options):
    """One unit period and phase for all."""
    built = archs.Recurrent(archs.PhasedLSTMCell(6, dtype=dtype, **options), return_sequences=True)
    built.build((None, None, 3))
    built.cell.log_period.assign(np.full(6, np.log(period)))
    built.cell.phase.assign(np.full(6, phase))
    return built


def gate(cell, times, training=False):
    return np.asarray(cell.time_gate(tf.constant(times, tf.float64)[:, None], "float64", training))[:, 0]


def test_the_gate_opens_and_closes_once_in_each_period():
    cell = layer(open_ratio=0.5).cell
    times = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 0, -1, -5, -6])
    expected = [0, 0.5, 1, 0.5, 0, 0, 0, 0, 0.5, 1, 0, 0, 1, 0.5]
    np.testing.assert_allclose(gate(cell, times), expected, atol=1e-12)


def test_a_closed_gate_leaks_in_training_only():
    cell = layer(open_ratio=0.5, leak=0.1).cell
    np.testing.assert_allclose(gate(cell, [3, 5, 8], training=True), [1, 0.1 * 4 / 8, 0.1 * 7 / 8], atol=1e-12)
    np.testing.assert_allclose(gate(cell, [3, 5, 8]), [1, 0, 0], atol=1e-12)


def test_steps_are_counted_across_batches_and_kept_while_closed():
    x = np.random.default_rng(0).normal(size=(2, 12, 3))
    plain = layer(open_ratio=0.5)
    outputs = np.asarray(plain(x))
    np.testing.assert_array_equal(outputs[:, 5:9], np.repeat(outputs[:, 4:5], 4, axis=1))
    assert np.all(outputs[:, 10] != outputs[:, 9])
    stamps = np.broadcast_to(np.arange(12.0)[:, None], (2, 12, 1))
    stamped = archs.Recurrent(archs.PhasedLSTMCell(6, timestamps=True, open_ratio=0.5, dtype="float64"))
    stamped.build((None, None, 4))
    stamped.set_weights(plain.get_weights())
    np.testing.assert_allclose(stamped(np.concatenate([x, stamps], axis=2)), outputs[:, -1], atol=1e-14)


def test_half_precision_counts_beyond_what_it_can_hold():
    built = layer(period=4.0, phase=0.5, open_ratio=0.5, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).normal(size=(1, 300, 3))
    outputs = np.asarray(tf.cast(built(tf.constant(x)), tf.float64))[0]
    changed = np.any(outputs[1:] != outputs[:-1], axis=1)
    np.testing.assert_array_equal(changed, np.isin(np.arange(1, 300) % 4, [1, 2]))


@pytest.mark.parametrize("method", ["gal", "zaremba"])
def test_dropout_leaves_the_timestamps_alone(method):
    cell = archs.PhasedLSTMCell(6, timestamps=True, dropout=0.9, dropout_method=method)
    cell.build((None, 4))
    dropped = np.asarray(Step(cell, training=True).drop_input(tf.ones((50, 4))))
    assert np.all(dropped[:, -1] == 1)
    assert set(np.unique(dropped[:, :-1])) == {np.float32(0), np.float32(10)}


def test_timestamps_need_another_feature():
    with pytest.raises(ValueError, match=r"at least 2 features with `timestamps=True`.* received 1"):
        archs.PhasedLSTMCell(6, timestamps=True).build((None, 1))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("open_ratio", 0, "`open_ratio` to be a positive number, received 0"),
        ("open_ratio", 1.5, "`open_ratio` to be from 0 to 1, received"),
        ("leak", -0.1, "`leak` to be from 0 to 1, received"),
    ],
)
def test_wrong_ratios_are_refused(option, value, message):
    with pytest.raises(ValueError, match=message):
        archs.PhasedLSTMCell(6, **{option: value})
