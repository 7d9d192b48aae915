"""Symbols that are told after others were read: what is read and asked, texts in and out, figures."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.export import export
from recipes.tasks.symbol_sequences import SymbolSequences

CONFIG = types.SimpleNamespace(epochs=1, batch_size=2, learning_rate=5e-3, clipnorm=1.0, seed=0)


class Addition(SymbolSequences):
    """Numbers of any equal length; the sum is told from its lowest digit on."""

    alphabet = "0123456789+"
    outputs = 10
    backwards = True
    form = "two numbers"

    def steps(self, columns):
        return columns["length"] // 2 + 1

    def is_right(self, symbols, lengths):
        places = tf.range(tf.shape(symbols)[1])
        is_plus = (symbols == 10) & (places < lengths[:, None])
        return tf.reduce_all(is_plus == (places == lengths[:, None] // 2), axis=1) & (lengths > 2) & (lengths % 2 == 1)


def sums(*pairs):
    texts = [f"{a}+{b}" for a, b in pairs]
    columns = {
        "symbols": [["0123456789+".index(symbol) for symbol in text] for text in texts],
        "answer": [list(map(int, f"{int(a) + int(b):0{len(a) + 1}d}")) for a, b in pairs],
        "length": list(map(len, texts)),
    }
    return {name: tf.constant(values) for name, values in columns.items()}


def adder():
    keras.utils.set_random_seed(0)
    return archs.stacked_lstm(4, [6], 10, vocabulary=12, return_sequences=True, lengths=True)


@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_read_and_asked_of_symbols(backwards):
    task = type("Task", (Addition,), {"backwards": backwards})(CONFIG)
    columns = sums(("12", "99"), ("30", "04"))
    inputs, targets = task.inputs(columns), task.targets(columns)
    np.testing.assert_array_equal(inputs["lengths"], [8, 8])
    np.testing.assert_array_equal(inputs["inputs"], [[1, 2, 10, 9, 9, 11, 11, 11], [3, 0, 10, 0, 4, 11, 11, 11]])
    told = np.array([[1, 1, 1], [0, 3, 4]])
    np.testing.assert_array_equal(targets[:, 5:], told[:, ::-1] if backwards else told)
    assert np.all(targets[:, :5] == -1)


@pytest.mark.parametrize("backwards", [False, True])
def test_texts_are_answered_each_as_alone_and_written_from_the_highest_digit_on(backwards):
    task = type("Task", (Addition,), {"backwards": backwards})(CONFIG)
    answer = export.as_arrays(task.signatures(adder()))
    texts = ["1+2", "123+999", "55+66"]
    together = answer({"symbols": np.array(texts)})
    for row, text in enumerate(texts):
        alone = answer(task.read(text))
        steps = len(text) // 2 + 1
        assert len(alone["answer"][0]) == steps
        assert together["answer"][row] == alone["answer"][0]
        for output in ("probabilities", "logits"):
            np.testing.assert_allclose(together[output][row, :steps], alone[output][0], rtol=1e-4, atol=1e-6)
            assert not np.any(together[output][row, steps:])
        told = alone["logits"][0].argmax(axis=-1)
        assert list(map(int, alone["answer"][0])) == (told[::-1] if backwards else told).tolist()
        chances = np.asarray(tf.nn.softmax(alone["logits"][0])).max(axis=-1)
        np.testing.assert_allclose(alone["probabilities"][0], chances[::-1] if backwards else chances, rtol=1e-5)
        assert task.show(alone) == f"{alone['answer'][0]} (probability {np.prod(chances):.3f})"


@pytest.mark.parametrize("text", ["", " ", "12", "12+345", "1+2+3", "a+b", "+", "12+3x", "1" * 1001 + "+" + "1" * 1001])
def test_a_text_that_is_no_question_is_refused(text):
    task = Addition(CONFIG)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"symbols: expected (two numbers|text|at most 1000)"):
        export.as_arrays(task.signatures(adder()))({"symbols": np.array([text])})
    with pytest.raises(RecipeError, match="Expected two numbers, or test:N, received"):
        task.read(text)


def test_a_text_of_the_test_split_is_as_a_person_writes_it():
    columns = sums(("12", "99"), ("30", "04"))
    task = Addition(CONFIG)
    assert task.test_request(columns, 1)["symbols"].tolist() == ["30+04"]
    assert task.truth(columns, 1) == "034"
    answer = export.as_arrays(task.signatures(adder()))
    samples = task.sample(None, batching.Splits(columns, columns, columns, facts={}))
    np.testing.assert_allclose(
        answer(samples["logits"], "logits")["logits"][0, 5:], answer({"symbols": np.array(["12+99"])})["logits"][0]
    )


def test_sums_are_right_if_each_of_their_digits_is():
    train = sums(("00", "01"), ("00", "01"), ("88", "88"))
    test = sums(("00", "01"), ("12", "99"), ("30", "04"), ("05", "06"))
    task = Addition(CONFIG)

    def answer(request):
        a, b = np.char.partition(request["symbols"], "+")[:, ::2].astype(int).T
        digits = (a + b)[:, None] // [1, 10, 100] % 10  # the lowest first
        digits[a == 12, 0] = 5
        return {"logits": 10 * np.eye(10, dtype=np.float32)[digits]}

    figures = task.evaluate(answer, batching.Splits(train, train, test, facts={}))
    assert figures == {
        "test_exact_match": 3 / 4,
        "most_frequent_symbols": 1 / 4,  # 001
        "test_symbol_accuracy": pytest.approx(11 / 12),
    }
