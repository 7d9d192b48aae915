"""The attentive decoder: a memory for each row, masked, and any cell inside."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance import catalog
from tests.reference import attention_decoder as reference

RNG = np.random.default_rng(0)
X, MEMORY, WIDE = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 7, 2)), RNG.normal(size=(3, 7, 6))
MASK = np.arange(7) < np.array([7, 3, 1])[:, None]
INNER = catalog.OF_INPUTS


KEEPING = [case for case in reference.CASES if {"hard", "coverage"} & set(case)]


def decoder(layer=archs.Recurrent, dtype="float64", units=6, return_state=False, **arguments):
    cell = archs.AttentionDecoderCell(units, dtype=dtype, **{"memory_size": 2} | arguments)
    built = layer(cell, return_sequences=True, return_state=return_state, dtype=cell.dtype_policy)
    built.build((3, 5, 4))
    rng = np.random.default_rng(1)
    built.set_weights([0.5 * rng.normal(size=w.shape) for w in built.weights])
    return built


def results(layer, memory, through_call):
    """Outputs and their gradients by the weights, the inputs and the memory."""
    x, memory, mask = tf.constant(X), tf.constant(memory), tf.constant(MASK)
    with tf.GradientTape() as tape:
        tape.watch([x, memory])
        if through_call:
            outputs = layer(x, memory=memory, memory_mask=mask)
        else:
            layer.cell.memorize(memory, mask)
            outputs = layer(x)
        loss = tf.reduce_sum(tf.sin(outputs))
    return [outputs, *tape.gradient(loss, [x, memory, *(w.value for w in layer.trainable_weights)])]


def run_reference(case, weights, x, memory):
    """Outputs and final states of the reference, from zeros on."""
    sizes = {"coverage": 7}
    cell = archs.AttentionDecoderCell(6, **case)
    states = [np.zeros((3, sizes.get(name, size))) for name, size in zip(cell.states, cell.state_size, strict=True)]
    outputs = []
    for t in range(5):
        states = reference.step(weights, x[:, t], states, memory=memory, memory_mask=MASK, **case)
        outputs.append(states[0])
    return [np.stack(outputs, axis=1), *states]


@pytest.mark.parametrize("case", reference.CASES)
def test_a_masked_memory_for_each_row_as_in_the_reference(case):
    memory = WIDE if "heads" in case or "dot" in case.get("attention", "") else MEMORY
    layer = decoder(memory_size=memory.shape[-1], return_state=True, **case)
    expected = run_reference(case, {w.name: np.asarray(w) for w in layer.weights}, X, memory)
    received = layer(X, memory=tf.constant(memory), memory_mask=tf.constant(MASK))
    for a, b in zip(received, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", KEEPING)
def test_what_is_summed_up_has_the_gradient_of_the_reference(case):
    layer = decoder(memory_size=6, return_state=True, **case)
    weights = {w.name: np.asarray(w).copy() for w in layer.weights}
    kept = len(layer.cell.cell.states) + 2
    projections = [RNG.normal(size=np.shape(state)) for state in run_reference(case, weights, X, WIDE)[kept:]]
    with tf.GradientTape() as tape:
        finals = layer(X, memory=tf.constant(WIDE), memory_mask=tf.constant(MASK))[kept:]
        loss = tf.add_n([tf.reduce_sum(tf.cast(a, "float64") * b) for a, b in zip(finals, projections, strict=True)])
    names = [
        name for name in ("score_kernel", "query_kernel", "coverage_kernel", "recurrent_kernel") if name in weights
    ]
    variables = {w.name: w.value for w in layer.trainable_weights}
    gradients = tape.gradient(loss, [variables[name] for name in names], unconnected_gradients="zero")
    for name, gradient in zip(names, gradients, strict=True):
        for index in [(0,) * weights[name].ndim, (-1,) * weights[name].ndim]:
            value, losses = weights[name][index], []
            for step in (1e-6, -1e-6):
                weights[name][index] = value + step
                states = run_reference(case, weights, X, WIDE)[kept:]
                losses.append(sum((a * b).sum() for a, b in zip(states, projections, strict=True)))
            weights[name][index] = value
            assert float(gradient[index]) == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_a_deep_output_adds_what_it_read_where_the_sizes_are_equal():
    case = {"deep_output": True, "gate": True}
    layer = decoder(units=4, cell=archs.LSTMCell(6, dtype="float64"), return_state=True, **case)
    weights = {w.name: np.asarray(w) for w in layer.weights}
    assert "skip_kernel" not in weights
    states = [np.zeros((3, size)) for size in (4, 6, 6)]
    for t in range(5):
        states = reference.step(weights, X[:, t], states, memory=MEMORY, **case)
    for a, b in zip(layer(X, memory=tf.constant(MEMORY))[1:], states, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_draw_comes_up_as_often_as_its_weight(heads):
    layer = decoder(hard=True, heads=heads)
    cell, count = layer.cell, 20000
    cell.memorize(tf.constant(np.repeat(MEMORY[1:2], count, axis=0)), tf.constant(np.repeat(MASK[1:2], count, axis=0)))
    states = [np.zeros((count, size)) for size in cell.state_size]
    x = np.concatenate([np.repeat(X[:1, 0, :-heads], count, axis=0), RNG.uniform(size=(count, heads))], axis=1)
    _, new = cell(tf.constant(x), states)
    chances, counts = np.unique(np.exp(new[-2]).round(9), return_counts=True)
    assert len(chances) == 3**heads
    np.testing.assert_allclose(counts / count, chances, atol=0.02)


def test_zoneout_leaves_what_is_summed_up():
    cell = archs.AttentionDecoderCell(6, coverage="score", hard=True, zoneout=0.5, seed=1)
    assert cell.zoneout == [0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert archs.AttentionDecoderCell.from_config(cell.get_config()).zoneout == cell.zoneout
    sums = archs.Recurrent(cell, return_state=True)(X, memory=tf.constant(WIDE), training=True)[4]
    np.testing.assert_allclose(np.sum(sums, axis=-1), 5, atol=1e-5)


@pytest.mark.parametrize("local", ["monotonic", "predictive"])
def test_local_attention_looks_within_its_window(local):
    layer = decoder(local=local, window=2)
    cell = layer.cell
    cell.memorize(tf.constant(MEMORY))
    states = [tf.constant(RNG.normal(size=(3, 6))) for _ in range(3)] + [tf.constant([[0.0], [3.0], [9.0]], "float64")]
    states = states if local == "monotonic" else states[:3]
    _, new = cell(tf.constant(X[:, 0]), states)
    weights = np.asarray(cell.alignment(states, new))
    read = [list(np.flatnonzero(row)) for row in weights]
    if local == "monotonic":
        assert read == [[0, 1, 2], [1, 2, 3, 4, 5], [4, 5, 6]]
        np.testing.assert_allclose(weights.sum(axis=-1), 1)
    else:
        assert all(np.ptp(places) <= 4 for places in read)
        assert np.all(weights.sum(axis=-1) < 1)


FEW, SCORES = ("lstm", "gru", "mut1"), ("bahdanau", "luong")
OTHERS = [name for name in INNER if name not in FEW]


@pytest.mark.parametrize(
    ("cell", "attention"),
    [(name, score) for name in FEW for score in SCORES]
    + [pytest.param(name, SCORES[i % 2], marks=pytest.mark.slow) for i, name in enumerate(OTHERS)],
)
def test_any_cell_inside_has_the_gradients_of_keras_loop(cell, attention):
    ours = results(decoder(cell=cell, attention=attention), MEMORY, True)
    keras_own = results(decoder(keras.layers.RNN, cell=cell, attention=attention), MEMORY, False)
    assert all(np.abs(a).max() > 0 for a in ours[:3])  # outputs, gradients by inputs and memory
    for a, b in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


def test_what_is_masked_is_never_read():
    layer, changed = decoder(), np.where(MASK[..., None], MEMORY, np.nan)
    for a, b in zip(results(layer, MEMORY, True), results(layer, changed, True), strict=True):
        np.testing.assert_array_equal(a, b)
    nothing = layer(X, memory=tf.constant(MEMORY), memory_mask=tf.zeros((3, 7), bool))
    np.testing.assert_allclose(nothing, layer(X, memory=tf.zeros((3, 7, 2), tf.float64)), atol=1e-12)


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_alignment_is_where_the_step_looked(attention):
    layer = decoder(attention=attention)
    cell = layer.cell
    cell.memorize(tf.constant(MEMORY), tf.constant(MASK))
    old = [tf.constant(RNG.normal(size=(3, 6))) for _ in cell.states]
    _, new = cell(tf.constant(X[:, 0]), old)
    weights = np.asarray(cell.alignment(old, new))
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    assert np.all(weights[~MASK] == 0)
    context = np.einsum("bt,btm->bm", weights, MEMORY)
    a = np.tanh(np.concatenate([context, new[1]], axis=-1) @ np.asarray(cell.attention_kernel))
    np.testing.assert_allclose(a, new[0], atol=1e-12)


def test_a_model_with_a_memory_reloads(tmp_path):
    x, memory = keras.Input((None, 4)), keras.Input((None, 2))
    model = keras.Model([x, memory], decoder(dtype="float32", attention="luong")(x, memory=memory))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    given = [X.astype("float32"), MEMORY.astype("float32")]
    np.testing.assert_allclose(loaded(given), model(given), atol=1e-6)


def test_noise_of_the_inner_cell_acts():
    inner = archs.LSTMCell(6, recurrent_dropout=0.5, zoneout=0.25, seed=1)
    cell = archs.AttentionDecoderCell(6, cell=inner, memory_size=2)
    assert (cell.recurrent_dropout, cell.zoneout) == (0.5, [0.0, 0.25, 0.25])
    cell = archs.AttentionDecoderCell(6, cell=lambda units: archs.LSTMCell(units, recurrent_dropout=0.5), memory_size=2)
    layer = archs.Recurrent(cell)
    x, memory = X.astype("float32"), tf.constant(MEMORY, tf.float32)
    first, second = (layer(x, memory=memory, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    np.testing.assert_array_equal(layer(x, memory=memory), layer(x, memory=memory))


def test_what_is_no_memory_is_refused():
    with pytest.raises(ValueError, match=r"Expected a memory for AttentionDecoderCell"):
        decoder()(X)
    with pytest.raises(ValueError, match=r"memory of shape \(batch, time, 2\), received \(3, 7, 3\)"):
        decoder()(X, memory=tf.zeros((3, 7, 3)))
    with pytest.raises(ValueError, match=r"Expected no `memory` for LSTMCell"):
        archs.Recurrent(archs.LSTMCell(6))(X, memory=tf.constant(MEMORY))
    with pytest.raises(ValueError, match=r"Expected no memory for LSTMCell"):
        archs.LSTMCell(6).memorize(tf.constant(MEMORY))
    with pytest.raises(ValueError, match=r"reads no memory"):
        archs.AttentionDecoderCell(6, cell="attention_decoder")
    with pytest.raises(ValueError, match=r"'luong_dot', 'luong_concat', received 'dot'"):
        archs.AttentionDecoderCell(6, attention="dot")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coverage": "score", "attention": "luong"}, r"'luong_concat' with `coverage='score'`.*, received 'luong'"),
        ({"hard": True, "local": "predictive"}, "Expected no `hard=True` with `local='predictive'`"),
        ({"coverage": "all"}, "`coverage` to be one of None, 'sum', 'score', 'fertility', received 'all'"),
        ({"local": "near"}, "`local` to be one of None, 'monotonic', 'predictive', received 'near'"),
        ({"window": 0}, "`window` to be a positive integer, received 0"),
        ({"heads": 0}, "`heads` to be a positive integer, received 0"),
        ({"heads": 4}, "`heads` to divide 6, the size of a query, and 2, that of the memory, received 4"),
        ({"heads": 4, "hard": True}, "Expected features besides the 4 that draw, received 4"),
        ({"attention": "luong_dot"}, "a memory of size 6, as the output of the cell, .* received 2"),
        ({"gate": 1}, "`gate` to be True or False, received 1"),
        ({"deep_output": "yes"}, "`deep_output` to be True or False, received 'yes'"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        decoder(**arguments)
