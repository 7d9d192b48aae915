"""The Neural Turing Machine: addressing piece by piece, first values, any controller, numbers that stay finite."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core.recurrent import loop_of
from archs.cells import ntm
from tests.conformance import catalog
from tests.reference import ntm as reference

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4))
SMALL = {"memory_locations": 7, "memory_width": 2}
INNER = [name for name in catalog.OF_INPUTS if name != "ntm"]
each_case = pytest.mark.parametrize("case", reference.CASES, ids=str)


def layer_of(layer=archs.Recurrent, dtype="float64", **arguments):
    cell = archs.NTMCell(6, dtype=dtype, **SMALL | arguments)
    built = layer(cell, return_sequences=True, dtype=cell.dtype_policy)
    built.build((3, 5, 4))
    catalog.randomize(built)
    return built


def weightings(*shape):
    w = RNG.uniform(0.1, 1.0, size=shape)
    return w / w.sum(axis=-1, keepdims=True)


def test_each_piece_of_the_addressing_as_in_the_reference():
    key, memory, strength = RNG.normal(size=(3, 2)), RNG.normal(size=(3, 7, 2)), RNG.uniform(0, 5, size=(3, 1))
    before, gate = weightings(3, 7), RNG.uniform(size=(3, 1))
    found = ntm.content(tf.constant(key[:, None]), strength[:, None], tf.constant(memory))
    contents = reference.content(key, strength, memory)
    np.testing.assert_allclose(found[:, 0], contents, rtol=0, atol=1e-14)
    found = ntm.interpolate(contents, before, gate)
    np.testing.assert_allclose(found, reference.interpolate(contents, before, gate), rtol=0, atol=1e-14)
    for width in (3, 5, 7):
        s = weightings(3, width)
        found = ntm.shift(tf.constant(before[:, None]), tf.constant(s[:, None]))
        np.testing.assert_allclose(found[:, 0], reference.shift(before, s), rtol=0, atol=1e-14)
    gamma = RNG.uniform(1, 5, size=(3, 1))
    found = ntm.sharpen(tf.constant(before), gamma)
    np.testing.assert_allclose(found, reference.sharpen(before, gamma), rtol=0, atol=1e-14)


def test_a_shift_of_one_moves_the_focus_to_the_next_location_and_around():
    focus = np.eye(7)[[0, 6]][:, None]
    for shift, expected in ((1, [1, 0]), (-1, [6, 5]), (0, [0, 6])):
        s = np.eye(3)[[shift + 1] * 2][:, None]
        np.testing.assert_array_equal(ntm.shift(tf.constant(focus), tf.constant(s))[:, 0], np.eye(7)[expected])


@each_case
def test_it_starts_as_in_the_reference(case):
    layer = layer_of(**case)
    weights = {w.name: np.asarray(w) for w in layer.weights}
    expected = reference.first_states(weights, 3, 6, **case)
    for received, first in zip(layer.cell.get_initial_state(3), expected, strict=True):
        np.testing.assert_allclose(received, first, rtol=0, atol=1e-15)
    outputs, states = [], expected
    for t in range(5):
        states = reference.step(weights, X[:, t], states, **case)
        outputs.append(states[0])
    np.testing.assert_allclose(layer(X), np.stack(outputs, axis=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", None])
@pytest.mark.parametrize("name", ["first_weighting", "first_memory", "first_states"])
def test_learned_first_values_are_trained_and_drawn_ones_are_not(name, cell):
    learned = layer_of(cell=cell, first_weighting="learned", first_memory="learned", learn_first_states=True)
    (weight,) = (w for w in learned.trainable_weights if w.name == name)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(learned(X) ** 2)
    assert np.all(np.abs(tape.gradient(loss, weight.value)) > 0)
    drawn = layer_of(first_memory="random")
    assert [w.name for w in drawn.weights if not w.trainable] == ["first_memory"]


def test_clocks_of_a_controller_start_where_it_says():
    cell = layer_of(cell="phased_lstm", learn_first_states=True).cell
    clock = cell.get_initial_state(3)[cell.states.index("t")]
    np.testing.assert_array_equal(clock, np.zeros((3, 1)))


def results(layer):
    """Outputs and their gradients by the inputs, the first states and the weights."""
    x, states = tf.constant(X), [tf.constant(s) for s in catalog.initial(layer)]
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        outputs = layer(x, initial_state=states)
        loss = tf.reduce_sum(tf.sin(outputs))
    places = [x, *states, *(w.value for w in layer.trainable_weights)]
    return [outputs, *tape.gradient(loss, places, unconnected_gradients="zero")]


@pytest.mark.parametrize(
    "cell",
    [
        name if name in ("gru", "mut1", "projected_lstm") else pytest.param(name, marks=pytest.mark.slow)
        for name in INNER
    ],
)
def test_any_controller_has_the_gradients_of_keras_loop(cell):
    ours, plain = layer_of(cell=cell, read_heads=2), layer_of(keras.layers.RNN, cell=cell, read_heads=2)
    for a, b in zip(results(ours), results(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    assert np.abs(results(ours)[1]).max() > 0


@each_case
def test_the_fused_loop_has_the_gradients_of_keras_loop(case):
    ours, plain = layer_of(**case), layer_of(keras.layers.RNN, **case)
    assert loop_of(ours.cell) == "fused"
    for a, b in zip(results(ours), results(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_a_machine_can_be_a_controller():
    ours, plain = (
        layer_of(layer, cell=archs.NTMCell(6, dtype="float64", **SMALL))
        for layer in (archs.Recurrent, keras.layers.RNN)
    )
    for a, b in zip(results(ours), results(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("clip", [20.0, None])
@pytest.mark.parametrize("bias", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("read_memory", ["old", "new"])
def test_nothing_is_infinite_where_norms_and_weightings_are_zero(clip, bias, read_memory):
    """The keys are zero or saturated, the memory and the weightings zero."""
    layer = layer_of(dtype="float32", clip=clip, read_memory=read_memory)
    layer.cell.heads_kernel.assign(tf.zeros(layer.cell.heads_kernel.shape))
    layer.cell.heads_bias.assign(tf.fill(layer.cell.heads_bias.shape, bias))
    x, states = tf.constant(X, tf.float32), [tf.zeros((3, size)) for size in layer.cell.state_size]
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        outputs = layer(x, initial_state=states)
    for value in [outputs, *tape.gradient(outputs, [x, *states, *(w.value for w in layer.trainable_weights)])]:
        assert np.all(np.isfinite(value))


@pytest.mark.parametrize("layer", [archs.Recurrent, keras.layers.RNN])
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_addressing_is_in_single_precision_under_mixed_policies(layer, dtype, monkeypatch):
    seen, address = [], ntm.address

    def recorded(*arguments):
        seen.extend(a.dtype.name for a in arguments)
        return address(*arguments)

    monkeypatch.setattr(ntm, "address", recorded)
    built = layer_of(layer, dtype, cell="gru", read_memory="new")
    assert built(X).dtype == dtype.removeprefix("mixed_")
    assert set(seen) == {"float32"}


def test_locations_that_start_alike_stay_alike():
    """Words of the error about first values."""
    layer = layer_of(first_weighting="uniform", first_memory="random")
    layer.cell.memory_start.assign(np.full((7, 2), 1e-6))
    states = layer.cell.get_initial_state(3)
    for t in range(5):
        _, states = layer.cell(X[:, t], states)
    memory = np.reshape(states[-2], (3, 7, 2))
    assert np.abs(memory).max() > 1e-3
    np.testing.assert_allclose(memory, np.repeat(memory[:, :1], 7, axis=1), rtol=0, atol=1e-14)


ALIKE = "differs between locations, .* received first_weighting="


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first_weighting": "uniform"}, ALIKE + "'uniform' and first_memory='constant'"),
        ({"first_weighting": "uniform", "first_memory": "learned", "memory_initializer": "zeros"}, ALIKE),
        ({"first_weighting": "learned", "weighting_initializer": "ones"}, ALIKE),
        ({"memory_locations": 0}, "`memory_locations` to be a positive integer, received 0"),
        ({"memory_width": 2.5}, "`memory_width` to be a positive integer, received 2.5"),
        ({"read_heads": 0}, "`read_heads` to be a positive integer, received 0"),
        ({"write_heads": True}, "`write_heads` to be a positive integer, received True"),
        ({"shift_range": 0}, "`shift_range` to be a positive integer, received 0"),
        ({"shift_range": 4}, r"at least 2 \* `shift_range` \+ 1 = 9, so that no two shifts .* received 7"),
        ({"read_memory": "both"}, "'old', 'new', received 'both'"),
        ({"first_weighting": "first"}, "'one_hot', 'learned', 'uniform', received 'first'"),
        ({"first_memory": "zeros"}, "'constant', 'random', 'learned', received 'zeros'"),
        ({"learn_first_states": 1}, "`learn_first_states` to be True or False, received 1"),
        ({"output_reads": None}, "`output_reads` to be True or False, received None"),
        ({"clip": 0.0}, "`clip` to be a positive number, received 0.0"),
        ({"cell": keras.layers.LSTMCell}, "an inner cell of the catalog, received <LSTMCell"),
        ({"cell": "attention_decoder"}, "reads no memory, received <AttentionDecoderCell"),
        ({"cell": "lsmt"}, "Did you mean lstm"),
        ({"cell": None, "recurrent_dropout": 0.5, "dropout_method": "semeniuta"}, "received 'semeniuta'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        archs.NTMCell(6, **SMALL | arguments)


def test_first_states_that_are_weights_need_a_built_cell():
    with pytest.raises(ValueError, match="Expected a cell that is built"):
        archs.NTMCell(6, first_memory="learned").get_initial_state(3)
    assert archs.NTMCell(6).get_initial_state(3)[-2].shape == (3, 128 * 20)


@pytest.mark.parametrize("cell", [None, "lstm"])
def test_recurrent_dropout_acts_on_the_reads(cell):
    layer = layer_of(cell=cell, recurrent_dropout=0.5, seed=1)
    if cell:
        layer.cell.cell.recurrent_kernel.assign(np.zeros((6, 24)))
    states = catalog.initial(layer)
    first, second = (layer(X, initial_state=states, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    np.testing.assert_array_equal(layer(X, initial_state=states), layer(X, initial_state=states))


def test_noise_of_the_controller_acts():
    inner = archs.LSTMCell(6, dropout=0.5, zoneout=0.25, seed=1)
    cell = archs.NTMCell(6, cell=inner, output_reads=False, **SMALL)
    assert (cell.dropout, cell.zoneout) == (0.5, [0.0, 0.25, 0.25, 0.0, 0.0, 0.0])
    assert archs.NTMCell(6, cell=archs.LSTMCell(6), **SMALL).zoneout == 0.0


def test_a_chrono_initializer_is_for_the_controller():
    cell = archs.NTMCell(6, bias_initializer=archs.ChronoInitializer(100.0, seed=1), **SMALL)
    cell.build((None, 4))
    np.testing.assert_array_equal(cell.heads_bias, np.zeros(cell.heads_bias.shape))
    assert np.all(np.asarray(cell.cell.bias)[6:12] > 0)  # of the forget gate


@each_case
def test_files_of_every_reading(case, tmp_path):
    sequence = keras.Input((None, 4))
    model = keras.Model(sequence, layer_of(dtype="float32", **case)(sequence))
    x = X.astype("float32")
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), model(x), rtol=0, atol=1e-6)
