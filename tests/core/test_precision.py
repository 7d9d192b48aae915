"""Sums over batch and time in half precision; weights that are drawn apart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance import catalog
from tests.conformance.catalog import FEATURES, UNITS

FEW = ("gru", "lstm", "scrn")
SLOW = [(name, False) for name in archs.list_cells() if name not in FEW] + [("lstm", True), ("layer_norm_gru", True)]


def gradients(name, dtype, weights, jit_compile=False, rounded=False):
    """The weights of a layer, and their gradients at batch 128 and time 400; float64.

    With `rounded`, at weights and inputs that half precision can hold.
    """
    cell = catalog.create(name, UNITS, dtype=dtype, **catalog.cases_of(name)[0])
    scale = 0.001 if "canvas" in cell.states else 0.01  # it adds up over the steps: no half can hold larger gradients
    layer = archs.Recurrent(cell, return_sequences=True)
    layer.build((None, None, FEATURES))
    layer.set_weights([half(w) for w in weights] if rounded else weights or layer.get_weights())

    @tf.function(jit_compile=jit_compile)
    def by_weights(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(scale * tf.cast(layer(x, training=True), tf.float64))
        return tape.gradient(loss, [w.value for w in layer.trainable_weights])

    x = np.random.default_rng(0).normal(size=(128, 400, FEATURES))
    x = tf.constant(half(x) if rounded else x)
    by = [np.asarray(tf.cast(gradient, tf.float64)) for gradient in by_weights(x)]
    return layer.get_weights(), dict(zip([w.name for w in layer.trainable_weights], by, strict=True))


def half(values):
    return values.astype("float16").astype("float64")


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [(name, False) for name in FEW] + [pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW],
)
def test_gradients_of_long_sequences_in_half_precision(name, jit_compile):
    """Within half a percent. A cell that amplifies what is rounded may be off by what its rounded inputs cost."""
    keras.utils.set_random_seed(1)
    weights, exact = gradients(name, "float64", None)
    _, received = gradients(name, "mixed_float16", weights, jit_compile)

    def off(by):
        return {weight: np.linalg.norm(by[weight] - value) / np.linalg.norm(value) for weight, value in exact.items()}

    if max(off(received).values()) >= 0.005:
        _, at_best = gradients(name, "float64", weights, rounded=True)
        least = off(at_best)
        for weight, error in off(received).items():
            assert error < max(0.005, 4 * least[weight]), f"{weight}: {error:.4f} off, {least[weight]:.4f} at best"


@pytest.mark.parametrize("name", archs.list_cells())
@pytest.mark.parametrize("seed", [None, 3])
def test_weights_of_one_role_are_drawn_apart(name, seed):
    roles = ("kernel", "recurrent", "bias")
    draws = [keras.initializers.RandomNormal(seed=seed and seed + 10 * i) for i in range(len(roles))]
    arguments = {f"{role}_initializer": draw for role, draw in zip(roles, draws, strict=True)}
    cell = catalog.make(name, **arguments)  # small: of very many numbers two are equal
    cell.build((None, UNITS))
    seen = {}
    for weight in cell.weights:
        if weight.name.startswith(("input_", "output_", "recurrent_gamma", "recurrent_beta")):
            continue  # constant
        for value in set(np.asarray(weight).ravel().tolist()) - {0.0, 1.0, -1.0, -2.0}:
            assert seen.setdefault(value, weight.name) == weight.name
    if seed is not None:
        copy = type(cell).from_config(cell.get_config())
        copy.build((None, UNITS))
        for a, b in zip(cell.weights, copy.weights, strict=True):
            if not a.name.startswith(("peephole", "gate", "log_period", "phase")):  # these have unseeded ones
                np.testing.assert_array_equal(a, b)


def test_the_first_weight_of_a_role_is_drawn_as_by_keras():
    draws = {
        f"{role}_initializer": keras.initializers.RandomNormal(seed=i) for i, role in enumerate(["kernel", "recurrent"])
    }
    ours, theirs = archs.LSTMCell(6, **draws), keras.layers.LSTMCell(6, **draws)
    for cell in (ours, theirs):
        cell.build((None, 4))
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5])
def test_attention_weights_are_a_softmax_of_what_is_not_masked_whatever_the_scores(attention, scale):
    cell = archs.AttentionDecoderCell(2, attention=attention, memory_size=2)
    cell.build((None, 3))
    catalog.randomize(cell)
    memory, mask = np.random.default_rng(0).normal(size=(1, 4, 2)), np.array([[True, False, True, False]])
    for sign in (1, -1):
        place = cell.score_kernel if attention == "bahdanau" else cell.memory_kernel
        place.assign(sign * scale * np.abs(np.asarray(place)))
        cell.memorize(tf.constant(memory, tf.float32), tf.constant(mask))
        old = [tf.ones((1, 2))] * 3
        _, new = cell(tf.ones((1, 3)), old)
        weights = np.asarray(cell.alignment(old, new))
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
        assert np.all(weights[~mask] == 0)
        cell.memorize(tf.constant(memory[:, ::2], tf.float32))
        np.testing.assert_allclose(cell.alignment(old, new), weights[:, ::2], atol=1e-6)
