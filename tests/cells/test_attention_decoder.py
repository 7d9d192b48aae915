"""The attentive decoder: a memory for each row, masked, and any cell inside."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.reference import attention_decoder as reference

RNG = np.random.default_rng(0)
X, MEMORY = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 7, 2))
MASK = np.arange(7) < np.array([7, 3, 1])[:, None]
INNER = [name for name in archs.list_cells() if name != "attention_decoder"]


def decoder(layer=archs.Recurrent, dtype="float64", **arguments):
    cell = archs.AttentionDecoderCell(6, memory_size=2, dtype=dtype, **arguments)
    built = layer(cell, return_sequences=True, dtype=cell.dtype_policy)
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


@pytest.mark.parametrize("case", reference.CASES)
def test_a_masked_memory_for_each_row_as_in_the_reference(case):
    layer = decoder(**case)
    states = [np.zeros((3, size)) for size in layer.cell.state_size]
    weights = {w.name: np.asarray(w) for w in layer.weights}
    expected = []
    for t in range(5):
        states = reference.step(weights, X[:, t], states, memory=MEMORY, memory_mask=MASK, **case)
        expected.append(states[0])
    outputs = layer(X, memory=tf.constant(MEMORY), memory_mask=tf.constant(MASK))
    np.testing.assert_allclose(outputs, np.stack(expected, axis=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
@pytest.mark.parametrize(
    "cell", [name if name in ("lstm", "gru", "mut1") else pytest.param(name, marks=pytest.mark.slow) for name in INNER]
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
    with pytest.raises(ValueError, match=r"'bahdanau', 'luong', received 'dot'"):
        archs.AttentionDecoderCell(6, attention="dot")
