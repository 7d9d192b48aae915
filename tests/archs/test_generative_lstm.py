"""What is particular to language models: states carried on, and what they draw."""

import math

import numpy as np
import pytest
import tensorflow as tf

import archs
from archs import generation

X = np.random.default_rng(0).integers(0, 7, (3, 8)).astype("int32")


def random_model(**options):
    model = archs.generative_lstm(options.pop("features", 4), [6, 5], 7, **options)
    rng = np.random.default_rng(1)
    model.set_weights([0.7 * rng.normal(size=w.shape) for w in model.weights])
    return model


def carried(model, x, starts, lengths):
    return np.asarray(model({"inputs": x, "starts": np.array(starts), "lengths": np.array(lengths)}))


@pytest.mark.parametrize("cell", ["lstm", "gru", "phased_lstm"])
def test_states_are_carried_on_and_begin_anew_where_a_document_starts(cell):
    whole = np.asarray(random_model(cell=cell)(X))
    model = random_model(cell=cell, stateful=True, batch_size=3, lengths=True)
    first = carried(model, X[:, :4], [True] * 3, [4, 4, 4])
    second = carried(model, X[:, 4:], [False, True, False], [4, 4, 4])
    np.testing.assert_allclose(first, whole[:, :4], atol=1e-6)
    np.testing.assert_allclose(second[[0, 2]], whole[[0, 2], 4:], atol=1e-6)
    np.testing.assert_allclose(second[1], random_model(cell=cell)(X[:, 4:])[1], atol=1e-6)


def test_what_is_behind_a_length_is_not_carried_on():
    model = random_model(stateful=True, batch_size=3, lengths=True)
    carried(model, X[:, :4], [True] * 3, [4, 2, 4])
    second = carried(model, X[:, 2:6], [False] * 3, [4, 4, 4])
    np.testing.assert_allclose(second[1], random_model()(X[:, :6])[1, 2:], atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"tied": True, "features": 5}, {"cell": ["gru", "slstm"]}])
def test_prefill_and_steps_equal_the_model(options):
    model = random_model(**options)
    whole = np.asarray(model(X))
    logits, states = generation.prefill(model, X)
    np.testing.assert_allclose(logits, whole, atol=1e-6)
    names = generation.state_names(model)
    assert len(names) == len(set(names)) == len(states)
    stepped = generation.initial_states(model, 3)
    for t in range(8):
        logits, stepped = generation.step(model, X[:, t], stepped)
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
    for a, b in zip(states, stepped, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    _, half = generation.prefill(model, X[:, :3])
    np.testing.assert_allclose(generation.prefill(model, X[:, 3:], states=half)[0], whole[:, 3:], atol=1e-5)


def test_a_stack_goes_on_as_it_is_with_residual_connections():
    model = archs.stacked_lstm(4, [6, 6, 6], 7, vocabulary=7, residual=True, return_sequences=True)
    whole = np.asarray(model(X))
    logits, states = generation.prefill(model, X[:, :5])
    np.testing.assert_allclose(logits, whole[:, :5], atol=1e-6)
    logits, _ = generation.step(model, X[:, 5], states)
    np.testing.assert_allclose(logits, whole[:, 5], atol=1e-6)


def test_a_short_beginning_is_read_to_its_length():
    model = random_model()
    logits, states = generation.prefill(model, X, np.array([8, 2, 3]))
    alone, expected = generation.prefill(model, X[1:2, :2])
    np.testing.assert_allclose(logits[1, -1], alone[0, -1], atol=1e-6)
    for a, b in zip(states, expected, strict=True):
        np.testing.assert_allclose(a[1:2], b, atol=1e-6)


def test_a_row_draws_the_same_whatever_else_is_in_the_batch():
    model = random_model()
    draw = tf.function(
        lambda x, n, budget, seed: generation.generate(
            model, x, n, max_new_tokens=budget, temperature=0.8, top_k=4, top_p=0.95, seed=seed
        )
    )
    drawn, counts = draw(X, tf.constant([8, 2, 3]), tf.constant([5, 20, 9]), tf.constant([1, 2, 2]))
    np.testing.assert_array_equal(counts, [5, 20, 9])
    assert np.all(drawn[0, 5:] == 0)
    alone, count = draw(X[1:2, :2], tf.constant([2]), tf.constant([12]), tf.constant([2]))
    assert count[0] == 12
    np.testing.assert_array_equal(alone[0], drawn[1, :12])
    other, _ = draw(X[1:2, :2], tf.constant([2]), tf.constant([12]), tf.constant([3]))
    assert np.any(other != alone)


def test_drawing_stops_at_the_end_token():
    model = random_model()
    free, _ = generation.generate(model, X, max_new_tokens=30, seed=[1, 2, 3])
    end = int(free[0, 4])
    drawn, counts = generation.generate(model, X, max_new_tokens=30, seed=[1, 2, 3], end=end)
    first = int(np.argmax(np.asarray(free[0]) == end))
    assert counts[0] == first
    np.testing.assert_array_equal(drawn[0, :first], free[0, :first])
    assert np.all(drawn[0, first:] == 0)


def shares(temperature=1.0, top_k=0, top_p=1.0, count=20000):
    """Logits, and how often each token was drawn from them."""
    logits = np.array([2.0, -1.0, 0.5, 1.0, 0.0], "float32")
    draws = tf.constant((np.arange(count) + 0.5) / count, tf.float32)
    settings = (tf.fill([count], value) for value in (float(temperature), top_k, float(top_p)))
    tokens = generation.sample(tf.repeat(logits[None], count, axis=0), *settings, draws)
    return logits, np.bincount(tokens, minlength=5) / count


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"temperature": 0.5}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 3]),
        ({"top_k": 1}, [0]),
        ({"top_p": 0.6}, [0, 3]),  # the likeliest has 0.55
        ({"top_p": 0.5}, [0]),
        ({"top_k": 3, "top_p": 0.99}, [0, 2, 3]),
    ],
)
def test_tokens_are_drawn_by_their_probabilities(settings, kept):
    logits, drawn = shares(**settings)
    expected = np.zeros(5)
    expected[kept] = np.exp(logits[kept] / settings.get("temperature", 1.0))
    np.testing.assert_allclose(drawn, expected / expected.sum(), atol=2e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, r"`temperature` to be a positive number .*`top_k=1`\), received 0"),
        ({"temperature": [1.0, math.nan, 1.0]}, "`temperature` to be a positive number"),
        ({"top_k": -1}, "`top_k` to be a whole number, 0 or more, received -1"),
        ({"top_p": 0.0}, "`top_p` to be above 0 and up to 1, received 0.0"),
        ({"top_p": np.array([0.5, 1.5, 1.0])}, "`top_p` to be above 0 and up to 1"),
        ({"max_new_tokens": -1}, "`max_new_tokens` to be a whole number, 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        generation.generate(random_model(), X, **{"max_new_tokens": 2} | settings)


def test_tied_logits_are_not_rounded_to_a_half_type():
    model = archs.generative_lstm(5, [6, 5], 7, tied=True, dtype="mixed_bfloat16")
    for logits in (model(X), generation.prefill(model, X)[0]):
        assert logits.dtype == tf.float32
        assert np.any(np.asarray(logits) != tf.cast(tf.cast(logits, tf.bfloat16), tf.float32))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="outputs are logits, received one with `activation='softmax'`"):
        generation.prefill(archs.stacked_lstm(4, 6, 7, vocabulary=7, activation="softmax"), X)
    with pytest.raises(ValueError, match="Expected a `batch_size` with `stateful=True`"):
        archs.generative_lstm(4, 6, 7, stateful=True)
    with pytest.raises(ValueError, match="last layer's size, received 4 and 6"):
        archs.generative_lstm(4, 6, 7, tied=True)
    with pytest.raises(ValueError, match="Expected a model of `generative_lstm`"):
        generation.prefill(archs.vanilla_lstm(4, 6, 2), X)
    with pytest.raises(ValueError, match="Expected `starts` for a layer with `stateful=True` only"):
        archs.Recurrent(archs.LSTMCell(6))(tf.ones((3, 5, 4)), starts=tf.ones((3,), tf.bool))
