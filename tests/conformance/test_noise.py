"""Dropout of three kinds, and zoneout, for every cell."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core import noise
from archs._core.step import Step
from tests.conformance.catalog import (
    BATCH,
    CELLS,
    TIME,
    UNITS,
    create,
    each_cell,
    initial,
    inputs,
    numpy,
    random,
    recurrent,
)

REGULARIZERS = {
    "dropout": {"dropout": 0.5},
    "zaremba": {"dropout": 0.5, "dropout_method": "zaremba"},
    "recurrent_dropout": {"recurrent_dropout": 0.5},
    "semeniuta": {"recurrent_dropout": 0.5, "dropout_method": "semeniuta"},
    "zoneout": {"zoneout": 0.5},
}


LAYERS = pytest.mark.parametrize("layer", [archs.Recurrent, keras.layers.RNN])


# Every cell with every regularizer that it has, in our layer; with one of each kind of mask in Keras' own, too.
REGULARIZED = [
    pytest.param(name, layer, arguments, id=f"{name}-{layer.__name__}-{regularizer}")
    for name in CELLS
    for regularizer, arguments in REGULARIZERS.items()
    for layer in (archs.Recurrent, keras.layers.RNN)
    if (regularizer != "semeniuta" or archs.get(name, "cell").candidate)
    and (layer is archs.Recurrent or regularizer in ("recurrent_dropout", "zoneout"))
]


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("name", "layer", "arguments"), REGULARIZED)
def test_regularization_is_off_at_inference(name, layer, arguments):
    with_rate, without = recurrent(name, layer, arguments=arguments), recurrent(name, layer)
    np.testing.assert_allclose(with_rate(inputs()), without(inputs()), rtol=0, atol=1e-14)
    assert np.abs(with_rate(inputs(), training=True) - without(inputs())).max() > 1e-3


@pytest.mark.parametrize(("name", "layer", "arguments"), REGULARIZED[::5])  # of each cell one or two
def test_regularization_is_fresh_in_each_call_and_seeded(name, layer, arguments):
    """In a graph with our layer, eagerly with Keras' own."""

    def two_calls(seed):
        built = recurrent(name, layer, arguments=arguments | {"seed": seed})
        call = tf.function(built) if layer is archs.Recurrent else built
        return [np.asarray(call(tf.constant(inputs()), training=True)) for _ in range(2)]

    first, second = two_calls(1)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal([first, second], two_calls(1))
    assert (
        np.abs(first - recurrent(name, layer, arguments=arguments | {"seed": 2})(inputs(), training=True)).max() > 1e-3
    )


def dropped_inputs(layer):
    """Inputs that a random projection of the outputs does not depend on in training: bool (batch, time, features)."""
    sequence = tf.constant(inputs())
    with tf.GradientTape() as tape:
        tape.watch(sequence)
        loss = tf.reduce_sum(layer(sequence, training=True) * random(BATCH, TIME, layer.cell.output_size))
    return np.asarray(tape.gradient(loss, sequence)) == 0


@each_cell
@LAYERS
def test_input_dropout_is_constant_in_time(name, layer):
    dropped = dropped_inputs(recurrent(name, layer, arguments={"dropout": 0.5, "seed": 1}, return_sequences=True))
    assert 0 < dropped[:, 0].sum() < dropped[:, 0].size
    np.testing.assert_array_equal(dropped, np.repeat(dropped[:, :1], TIME, axis=1))


@each_cell
def test_zarembas_dropout_is_fresh_in_each_time_step(name):
    dropped = dropped_inputs(recurrent(name, arguments=REGULARIZERS["zaremba"] | {"seed": 1}, return_sequences=True))
    assert 0 < dropped.sum() < dropped.size
    assert all(np.any(dropped[:, t] != dropped[:, 0]) for t in range(1, TIME))


@each_cell
@LAYERS
def test_recurrent_dropout_is_constant_in_time(name, layer, monkeypatch):
    built = recurrent(name, layer, arguments={"recurrent_dropout": 0.5, "seed": 1}, unroll=True)
    used, masked = [], noise.masked

    def recorded(cell, place, a, mask, site):
        used.append(np.asarray(mask))
        return masked(cell, place, a, mask, site)

    monkeypatch.setattr(noise, "masked", recorded)
    built(inputs(), training=True)
    assert len(used) >= TIME
    assert set(np.unique(used)) == {0.0, 2.0}
    np.testing.assert_array_equal(used, [used[0]] * len(used))


@pytest.mark.parametrize("name", [name for name in CELLS if archs.get(name, "cell").candidate])
def test_semeniutas_dropout_drops_the_candidate_alone(name, monkeypatch):
    """With the candidates of one step given to another, nothing random is left between the two."""
    built = recurrent(name, arguments=REGULARIZERS["semeniuta"] | {"seed": 1})
    before, proposed = [tf.constant(s) for s in initial(built)], []
    drop = Step.drop_candidate

    def dropped(*args):
        proposed.append(drop(*args))
        return proposed[-1]

    def replayed(*args):
        return proposed.pop(0)

    x = tf.constant(inputs()[:, 0])
    monkeypatch.setattr(Step, "drop_candidate", dropped)
    _, states = built.cell(x, before, training=True)
    assert 0 < sum(np.sum(np.asarray(g) == 0) for g in proposed) < sum(np.asarray(g).size for g in proposed)
    monkeypatch.setattr(Step, "drop_candidate", replayed)
    _, expected = built.cell(x, before, training=True)
    for a, b in zip(states, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@each_cell
def test_zoneout_keeps_units_of_the_old_states(name):
    exact, zoned = recurrent(name), recurrent(name, arguments={"zoneout": 0.5, "seed": 1})
    old = initial(exact)
    x = tf.constant(inputs()[:, 0])
    kept = []
    for _ in range(2):
        states = zoned.cell(x, [tf.constant(s) for s in old], training=True)[1]
        news = exact.cell(x, [tf.constant(s) for s in old], training=True)[1]
        for state, before, after, received in zip(zoned.cell.states, old, numpy(news), numpy(states), strict=True):
            if state in zoned.cell.clocks:
                np.testing.assert_array_equal(received, after)
            else:
                assert np.all((received == before) | (received == after))
                kept.append(np.any(received != after))
    assert all(kept)


@each_cell
def test_zoneout_of_one_rate_per_state_and_its_expectation(name):
    cls = archs.get(name, "cell")
    exact = recurrent(name)
    old, x = initial(exact), tf.constant(inputs()[:, 0])
    new = numpy(exact.cell(x, [tf.constant(s) for s in old])[1])
    rates = [0.25, *[0.0] * (len(old) - 1)]
    if cls.one_memory:
        with pytest.raises(ValueError, match="Expected no `zoneout_expectation`"):
            create(name, UNITS, zoneout_expectation=True)
    else:
        mean = recurrent(name, arguments={"zoneout": rates, "zoneout_expectation": True}).cell
        received = numpy(mean(x, [tf.constant(s) for s in old])[1])
        np.testing.assert_allclose(received[0], 0.25 * old[0] + 0.75 * new[0], atol=1e-14)
        for a, b in zip(received[1:], new[1:], strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"Expected `zoneout` to be a rate, or one for each state .* received"):
        recurrent(name, arguments={"zoneout": [*rates, 0.0]})


@each_cell
def test_dropout_method_that_does_not_fit_is_refused(name):
    with pytest.raises(ValueError, match="one of 'gal', 'zaremba', 'semeniuta', received 'moon'"):
        create(name, UNITS, dropout_method="moon")
    with pytest.raises(ValueError, match=r"Expected no `recurrent_dropout` with .* received 0\.5"):
        create(name, UNITS, dropout_method="zaremba", recurrent_dropout=0.5)
    if archs.get(name, "cell").candidate is None:
        with pytest.raises(ValueError, match="with `dropout_method='gal'`, received 'semeniuta'"):
            create(name, UNITS, dropout_method="semeniuta", recurrent_dropout=0.5)


@each_cell
def test_inference_holds_no_random_state(name):
    layer = recurrent(name, arguments={"dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.1})
    graph = tf.function(layer).get_concrete_function(tf.constant(inputs())).graph.as_graph_def()
    used = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert [op for op in used if "Random" in op or "Assign" in op] == []
