"""Signatures of numbers answer as their models do, and refuse nonsense with our words."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes import bidirectional_lstm_ewt
from recipes._core.export import export, signatures

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return archs.bidirectional_lstm(4, 4, 2, vocabulary=5, return_sequences=True, lengths=True)


def request(**changed):
    inputs, lengths = RNG.integers(0, 5, (2, 7), np.int32), np.array([7, 3], np.int32)
    return {"inputs": inputs, "lengths": lengths} | {name: np.array(value, np.int32) for name, value in changed.items()}


def test_logits_are_the_models(model):
    given = request()
    answer = signatures.logits(model, inputs=5)(**given)
    np.testing.assert_allclose(answer["logits"], model(given), atol=1e-6)
    alone = signatures.logits(model, inputs=5)(inputs=given["inputs"][1:, :3], lengths=given["lengths"][1:])
    np.testing.assert_allclose(alone["logits"][0], answer["logits"][1, :3], atol=1e-6)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"inputs": [[0, 5], [0, 0]], "lengths": [2, 2]},
            "inputs: expected 0 to 4",
        ),
        (
            {"inputs": [[0, -1], [0, 0]], "lengths": [2, 2]},
            "inputs: expected 0 to 4",
        ),
        ({"lengths": [7]}, "lengths: expected one for each row"),
        ({"lengths": [7, 8]}, "lengths: expected no more than there are time steps"),
        ({"lengths": [7, 0]}, "lengths: expected 1 or more"),
        ({"inputs": np.zeros((2, 0)), "lengths": [0, 0]}, "lengths: expected 1 or more"),
        ({"inputs": np.zeros((0, 7)), "lengths": []}, "inputs: expected at least one row, received an empty batch"),
        ({"inputs": np.zeros((1, 10_001)), "lengths": [1]}, "inputs: expected at most 10000 time steps"),
    ],
)
def test_logits_refuse_nonsense(model, changed, message):
    answer = export.as_arrays({"serving_default": signatures.logits(model, inputs=5)})
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(request(**changed))


def test_a_model_of_one_input_without_lengths_takes_it_by_the_name_inputs():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    answer = export.as_arrays({"serving_default": signatures.logits(model)})
    given = RNG.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(answer({"inputs": given})["logits"], model(given), atol=1e-6)
    given[1, 2] = np.nan
    for wrong, message in ((given, "inputs: expected finite numbers"), (given[:0], "empty batch")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer({"inputs": wrong})


def test_rows_of_both_sequences_are_compared():
    model = archs.encoder_decoder_lstm(4, 6, 5, vocabulary=5, lengths=True)
    answer = export.as_arrays({"serving_default": signatures.logits(model, inputs=5, decoder_inputs=5)})
    given = request() | {"decoder_inputs": np.zeros((2, 3), np.int32), "decoder_lengths": np.array([3, 2], np.int32)}
    assert answer(given)["logits"].shape == (2, 3, 5)
    fewer = {name: value[:1] if name.startswith("decoder") else value for name, value in given.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"decoder_.*: expected one for each row"):
        answer(fewer)
    with pytest.raises(tf.errors.InvalidArgumentError, match="decoder_lengths: expected no more than there are time"):
        answer(given | {"decoder_lengths": np.array([3, 4], np.int32)})


def test_an_empty_text_is_told_by_the_name_that_the_caller_gave():
    tokens, lengths = tf.zeros((2, 3), tf.int32), tf.constant([3, 0])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"text: expected 1 or more .* received an empty one"):
        signatures.checked_lengths(tokens, lengths, names=("text", None))
    texts = tf.constant(["a", " b\0"])
    assert signatures.checked_texts(texts, "word").numpy().tolist() == [b"a", b" b\0"]
    for wrong, message in ((["a", ""], "text, received an empty one"), ([" \n"], "an empty one"), ([], "empty batch")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"word: expected .*{message}"):
            signatures.checked_texts(tf.constant(wrong, tf.string), "word")


# --- texts with the character 0, at which `tf.strings.lower` stops


def test_words_that_begin_alike_up_to_the_character_0_are_different():
    words = tf.constant([b"He", b"he", b"he\0", b"HE\0X", b"he\0x", b"\0"])
    task = bidirectional_lstm_ewt.Task(bidirectional_lstm_ewt.Config())
    read = task.normalize(tf.RaggedTensor.from_row_lengths(words, [len(words)])).flat_values.numpy()
    assert read[0] == read[1]
    assert read[3] == read[4]
    assert len(set(read)) == 4


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_signals_have_to_be_finite_up_to_their_lengths(wrong):
    values = np.ones((2, 4, 3), np.float32)
    values[0, 2, 1] = wrong
    checked, lengths = signatures.checked_signals(values, np.array([2, 4], np.int32))
    assert np.all(checked[0, 2:] == 0)
    np.testing.assert_array_equal(checked[1], values[1])
    np.testing.assert_array_equal(lengths, [2, 4])
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs: expected finite numbers"):
        signatures.checked_signals(values, np.array([3, 4], np.int32))


@pytest.mark.slow
def test_xla_compiles_the_model_and_leaves_the_checks(model, tmp_path):
    function = signatures.logits(signatures.Compiled(model), inputs=5)
    given = request()
    plain = signatures.logits(model, inputs=5)
    np.testing.assert_allclose(function(**given)["logits"], plain(**given)["logits"], atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="lengths: expected 1 or more"):
        function(**request(lengths=[7, 0]))


@pytest.mark.parametrize("text", ['it\'s "it"', "d\u00e9j\u00e0", "a\\b", "[1] [2]"])
def test_an_error_tells_the_first_that_are_wrong_as_they_were_sent(text):
    def told(values, right, message):
        checked = tf.function(lambda a: signatures.checked({"a": a}, signatures.expect(right(a), message, a)))
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            checked(tf.constant(values))
        return signatures.words(caught.value)

    received = told(["right", text, "x", "y", "z"], lambda a: a == "right", "text: expected right")
    assert received.startswith(f"text: expected right, received {text.replace('] [', ' ')} x y")
    assert told(5, lambda a: a <= 3, "n: expected 3 or less") == "n: expected 3 or less, received 5"
