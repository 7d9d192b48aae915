"""Language models: states carried on, and what they draw."""

import math

import keras
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


@pytest.mark.sampled(3)
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_drawing_stops_at_a_sequence(length, jit_compile):
    model, settings = random_model(), {"max_new_tokens": 30, "seed": [1, 2, 3]}

    def draw(stop):  # XLA draws other numbers
        return tf.function(lambda x: generation.generate(model, x, stop=stop, **settings), jit_compile=jit_compile)(X)

    free = draw(())[0].numpy()
    stop = [free[0, 6 - length : 6].tolist(), [6, 6, 6, 6]]
    drawn, counts = draw(stop)
    for row, text in enumerate(free.tolist()):
        ends = [n for n in range(31) for s in stop if text[:n][-len(s) :] == s]
        first = min(ends, default=30)
        kept = first - max((len(s) for s in stop if text[:first][-len(s) :] == s), default=0)
        assert counts[row] == kept
        assert drawn[row].numpy().tolist() == text[:kept] + [0] * (30 - kept)
    assert counts[0] <= 6 - length


@pytest.mark.parametrize("jit_compile", [False, True])
def test_tokens_that_a_row_holds_become_rarer(jit_compile):
    model, lengths, penalties = random_model(), np.array([8, 2, 3]), [1.0, 1.5, 4.0]
    model.get_layer("outputs").bias.assign([0.5, 1.5, -3.0, 1.0, -2.0, 0.0, 1.2])

    @tf.function(jit_compile=jit_compile)
    def draw(x):
        return generation.generate(
            model, x, lengths, max_new_tokens=12, top_k=1, repetition_penalty=tf.constant(penalties)
        )[0]

    drawn = draw(X).numpy()
    for row, (length, penalty) in enumerate(zip(lengths, penalties, strict=True)):
        text = X[row, :length].tolist()
        for _ in range(12):
            logits = np.asarray(model(np.array([text])))[0, -1]
            held = np.isin(np.arange(7), text)
            text.append(
                int(np.argmax(np.where(held, np.where(logits > 0, logits / penalty, logits * penalty), logits)))
            )
        assert drawn[row].tolist() == text[length:]
    plain = generation.generate(model, X, lengths, max_new_tokens=12, top_k=1)[0].numpy()
    np.testing.assert_array_equal(plain[0], drawn[0])
    assert np.any(plain[1:] != drawn[1:])


def test_padding_is_no_token_that_a_row_holds():
    model = random_model(mask_zero=True)
    model.get_layer("outputs").bias.assign([9, 0, 0, 0, 0, 0, 0])
    tokens = np.array([[0, 0, 3, 1], [2, 2, 3, 1]])
    drawn = generation.generate(model, tokens, max_new_tokens=1, top_k=1, repetition_penalty=100.0)[0]
    np.testing.assert_array_equal(drawn, [[0], [0]])


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
        ({"max_new_tokens": 2.7}, r"`max_new_tokens` to be a whole number, 0 or more, received 2\.7"),
        ({"max_new_tokens": True}, "`max_new_tokens` to be a whole number, 0 or more, received True"),
        ({"max_new_tokens": 2**31}, "`max_new_tokens` to be a whole number, 0 or more, received 2147483648"),
        ({"max_new_tokens": None}, "`max_new_tokens` to be a whole number, 0 or more, received None"),
        ({"temperature": 1e-38}, "`temperature` to be a positive number of 32 bits .*received 1e-38"),
        ({"temperature": 1e39}, r"`temperature` to be a positive number of 32 bits .*received 1e\+39"),
        ({"temperature": "hot"}, "`temperature` to be a positive number .*received hot"),
        ({"temperature": [1.0, 2.0]}, r"Expected one `temperature`, or one for each row, received \(2,\)"),
        ({"temperature": [[1.0]] * 3}, r"Expected one `temperature`, or one for each row, received \(3, 1\)"),
        ({"top_k": 1.5}, r"`top_k` to be a whole number, 0 or more, received 1\.5"),
        ({"top_k": tf.constant(1.5)}, "`top_k` to be a whole number, 0 or more, received"),
        ({"top_p": math.nan}, "`top_p` to be above 0 and up to 1, received nan"),
        ({"seed": 2**63}, "`seed` to be an integer of 64 bits, received 9223372036854775808"),
        ({"seed": 1.0}, r"`seed` to be an integer of 64 bits, received 1\.0"),
        ({"end": True}, "`end` to be an integer from 0 to 6, received True"),
        ({"end": 7}, "`end` to be an integer from 0 to 6, received 7"),
        ({"stop": [1, 2]}, r"`stop` to be a list of sequences of tokens, such as .*, received \[1, 2\]"),
        ({"stop": [[]]}, r"`stop` to be a list of sequences of tokens, such as .*, received \[\[\]\]"),
        ({"stop": "end"}, "`stop` to be a list of sequences of tokens, such as .*, received 'end'"),
        ({"stop": [[1, 7]]}, "`stop` to be an integer from 0 to 6, received 7"),
        ({"repetition_penalty": 0}, "`repetition_penalty` to be a positive number of 32 bits, received 0"),
        ({"repetition_penalty": None}, "`repetition_penalty` to be a positive number of 32 bits, received None"),
        ({"repetition_penalty": [1.5, 2.0]}, r"one `repetition_penalty`, or one for each row, received \(2,\)"),
        ({"lengths": [8, 2]}, "Expected one of `lengths` for each of the 3 rows, received 2"),
        ({"lengths": [8, 0, 1]}, "Expected lengths of beginnings from 1 to the number of time steps, received 0"),
        ({"lengths": [8, 9, 1]}, "Expected lengths of beginnings from 1 to the number of time steps, received 9"),
        ({"lengths": [8.0, 2.0, 1.0]}, "Expected `lengths` to be integers, received float64"),
        ({"states": []}, r"list of tensors with 3 rows, of the sizes \[6, 6, 5, 5\], received \[\]"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        generation.generate(random_model(), X, **{"max_new_tokens": 2} | settings)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (
            [1, 2, 3],
            r"`tokens` of shape \(batch, time\), none of them 0, received \(3,\). For one row give `\[tokens\]`",
        ),
        ([[]], r"`tokens` of shape \(batch, time\), none of them 0, received \(1, 0\)"),
        (np.zeros((0, 3), int), r"none of them 0, received \(0, 3\)"),
        ([[1, 2], [3]], "lists of different lengths"),
        (tf.ragged.constant([[1, 2], [3]]), "a RaggedTensor"),
        ([[1.0, 2.0]], "`tokens` to be integers, received float64"),
        ("abc", "`tokens` to be integers, received 'abc'"),
        ([[6, 7]], "Expected tokens from 0 to 6, received 7"),
        ([[-1, 1]], "Expected tokens from 0 to 6, received -1"),
    ],
)
def test_beginnings_that_are_none_are_refused(tokens, message):
    model = random_model()
    with pytest.raises(ValueError, match=message):
        generation.generate(model, tokens, max_new_tokens=2)
    with pytest.raises(ValueError, match=message):
        generation.prefill(model, tokens)


def test_a_step_takes_a_token_and_states_for_each_row():
    model = random_model()
    states = generation.initial_states(model, 2)
    for tokens, given, message in [
        ([[1, 2]], states, r"`tokens` of shape \(batch,\), none of them 0, received \(1, 2\)"),
        ([1, 2, 3], states, "list of tensors with 3 rows"),
        ([1, 2], states[:3], r"received \[\(2, 6\), \(2, 6\), \(2, 5\)\]"),
        ([1, 2], None, "received NoneType"),
        ([1, 9], states, "Expected tokens from 0 to 6, received 9"),
    ]:
        with pytest.raises(ValueError, match=message):
            generation.step(model, tokens, given)
    for wrong in (0, 2.5, None, True):
        with pytest.raises(ValueError, match=f"`batch_size` to be a positive integer, received {wrong}"):
            generation.initial_states(model, wrong)


def test_lists_are_taken_for_arrays():
    model = random_model()
    drawn = generation.generate(model, X.tolist(), [8, 2, 3], max_new_tokens=[4, 5, 6], seed=[1, 2, 3])
    expected = generation.generate(
        model, X, np.array([8, 2, 3]), max_new_tokens=np.array([4, 5, 6]), seed=np.array([1, 2, 3])
    )
    for a, b in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_all_bits_of_a_seed_count():
    draws = [
        generation.generate(random_model(), X, max_new_tokens=20, seed=seed)[0]
        for seed in (5, np.int32(5), tf.constant(5, tf.int64), 5 + 2**32, 5 - 2**63)
    ]
    for same in draws[1:3]:
        np.testing.assert_array_equal(same, draws[0])
    assert len({np.asarray(a).tobytes() for a in draws}) == 3
    np.testing.assert_array_equal(draws[0][0, :8], [0, 3, 0, 1, 0, 1, 4, 0])  # as ever


def test_the_smallest_temperature_draws_the_likeliest():
    greedy = generation.generate(random_model(), X, max_new_tokens=9, top_k=1)[0]
    cold = generation.generate(random_model(), X, max_new_tokens=9, temperature=float(np.finfo("float32").tiny))[0]
    np.testing.assert_array_equal(cold, greedy)


def test_logits_that_are_not_finite_are_refused():
    model = random_model()
    model.get_layer("outputs").bias.assign([0, 0, math.nan, 0, 0, 0, 0])
    draw = tf.function(lambda x: generation.generate(model, x, max_new_tokens=2))
    with pytest.raises(ValueError, match="Expected the largest logit of a row to be finite, received nan"):
        generation.generate(model, X, max_new_tokens=2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected the largest logit of a row to be finite"):
        draw(tf.constant(X))
    model.get_layer("outputs").bias.assign([0, 0, -math.inf, 0, 0, 0, 0])
    assert not np.any(generation.generate(model, X, max_new_tokens=30)[0] == 2)


def test_beginnings_are_read_without_dropout():
    model = random_model(cell=lambda units: archs.LSTMCell(units, dropout=0.5, recurrent_dropout=0.5))

    class Reads(keras.layers.Layer):
        def call(self, tokens, training=False):
            return generation.prefill(model, tokens)[0]

    np.testing.assert_allclose(Reads()(X, training=True), model(X), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"tied": True, "features": 5}])
def test_padding_before_a_beginning_is_not_read(options):
    model = random_model(mask_zero=True, **options)
    rows = [np.array([3, 1, 4]), np.array([5]), np.array([2, 6, 5, 3, 5])]
    tokens = keras.utils.pad_sequences(rows)
    logits, states = generation.prefill(model, tokens)
    drawn, _ = generation.generate(model, tokens, max_new_tokens=6, seed=4)
    for i, row in enumerate(rows):
        alone, ends = generation.prefill(model, row[None])
        np.testing.assert_allclose(logits[i, -1], alone[0, -1], atol=1e-6)
        for a, b in zip(states, ends, strict=True):
            np.testing.assert_allclose(a[i], b[0], atol=1e-6)
        np.testing.assert_array_equal(generation.generate(model, row[None], max_new_tokens=6, seed=4)[0][0], drawn[i])
    _, after = generation.step(model, [0, 1, 0], states)
    for old, new in zip(states, after, strict=True):
        np.testing.assert_array_equal(new[::2], old[::2])
        assert np.abs(new[1] - old[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        (keras.layers.LSTMCell, ["h_1", "h2_1", "h_2", "h2_2"]),
        (keras.layers.GRUCell, ["h_1", "h_2"]),
        (keras.layers.SimpleRNNCell, ["h_1", "h_2"]),
    ],
)
def test_cells_of_others_go_on_with_a_text(cell, names):
    model = random_model(cell=cell)
    whole = np.asarray(model(X))
    assert generation.state_names(model) == names
    logits, states = generation.prefill(model, X[:, :5])
    np.testing.assert_allclose(logits, whole[:, :5], atol=1e-5)
    np.testing.assert_allclose(generation.step(model, X[:, 5], states)[0], whole[:, 5], atol=1e-5)
    np.testing.assert_allclose(
        generation.step(model, X[:, 0], generation.initial_states(model, 3))[0], whole[:, 0], atol=1e-5
    )
    assert generation.generate(model, X, max_new_tokens=4)[0].shape == (3, 4)


def test_tied_logits_are_not_rounded_to_a_half_type():
    model = archs.generative_lstm(5, [6, 5], 7, tied=True, dtype="mixed_bfloat16")
    for logits in (model(X), generation.prefill(model, X)[0]):
        assert logits.dtype == tf.float32
        assert np.any(np.asarray(logits) != tf.cast(tf.cast(logits, tf.bfloat16), tf.float32))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="outputs are logits, received one with `activation='softmax'`"):
        generation.prefill(archs.stacked_lstm(4, [6], 7, vocabulary=7, activation="softmax"), X)
    with pytest.raises(ValueError, match="Expected a `batch_size` with `stateful=True`"):
        archs.generative_lstm(4, 6, 7, stateful=True)
    with pytest.raises(ValueError, match="last layer's size, received 4 and 6"):
        archs.generative_lstm(4, 6, 7, tied=True)
    with pytest.raises(ValueError, match="Expected a model of `generative_lstm`"):
        generation.prefill(archs.vanilla_lstm(4, 6, 2), X)
    with pytest.raises(ValueError, match="Expected `starts` for a layer with `stateful=True` only"):
        archs.Recurrent(archs.LSTMCell(6))(tf.ones((3, 5, 4)), starts=tf.ones((3,), tf.bool))
