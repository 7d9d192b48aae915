"""The task of texts and their labels, on texts made up."""

import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.export import export
from recipes._core.settings import Count, Positive, Rate, Seed, settings
from recipes.tasks.text_classification import UNKNOWN, TextClassification


@settings
class Config:
    vocabulary: Count = 5
    longest: Count = 4
    word_dropout: Rate = 0.0
    epochs: Count = 1
    batch_size: Count = 2
    learning_rate: Positive = 0.1
    clipnorm: Positive = 1.0
    seed: Seed = 0


def columns(*texts, labels=None):
    labels = [number % 2 for number in range(len(texts))] if labels is None else labels
    return {"text": tf.constant(texts), "label": tf.constant(labels, tf.int32)}


TRAIN = columns("A good film, good!", "A bad film.", "good", "bad bad")


@pytest.fixture
def task():
    one = TextClassification(Config())
    one.learn(batching.Splits(TRAIN, TRAIN, TRAIN, facts={}, labels=["yes", "no"]))
    return one


@pytest.fixture
def model(task):
    return archs.bidirectional_lstm(3, [4], 2, vocabulary=len(task.words), pooling="max", lengths=True)


def test_the_vocabulary_is_the_most_frequent_words(task):
    assert task.words == [UNKNOWN, "bad", "good", "a", "film"]
    words = [b"don't", b",", b"sh", b"e", b"!", "äö".encode()]
    assert task.split(tf.constant(["Don't, Sh\0e! ÄÖ"])).to_list() == [words]


def test_the_last_words_are_read_and_others_are_unknown(task):
    inputs = task.preprocess(tf.constant(["a film a good dog", "bad"]))
    assert inputs["inputs"].numpy().tolist() == [[4, 3, 2, 0], [1, 0, 0, 0]]
    assert inputs["lengths"].numpy().tolist() == [4, 1]


def test_words_are_hidden_in_training_alone():
    config = Config(word_dropout=0.5, batch_size=4)
    task = TextClassification(config)
    task.learn(batching.Splits(TRAIN, TRAIN, TRAIN, facts={}, labels=["yes", "no"]))
    (plain, _), *_ = task.batches(TRAIN).epoch()
    seen = [next(iter(task.batches(TRAIN, training=True).epoch(number)))[0] for number in range(5)]
    assert all(len(inputs["inputs"]) == 4 for inputs in seen)
    assert np.count_nonzero(plain["inputs"]) > max(np.count_nonzero(inputs["inputs"]) for inputs in seen[:2]) > 0


def test_an_answer_is_the_same_alone_and_after_restoring(task, model):
    other = TextClassification(Config())
    other.restore(task.state())
    answers = [export.as_arrays(one.signatures(model)) for one in (task, other)]
    both = answers[0](task.request(["a good film", "bad"]))
    for row, text in enumerate(("a good film", "bad")):
        alone = answers[1](other.request([text]))
        np.testing.assert_allclose(alone["probabilities"][0], both["probabilities"][row], rtol=1e-5)
        assert alone["label"][0] == both["label"][row] in {"yes", "no"}
    with pytest.raises(tf.errors.InvalidArgumentError, match="text: expected text, received an empty one"):
        answers[0](task.request(["a", " "]))


def test_a_text_or_its_file_is_read(task, tmp_path):
    (tmp_path / "a.txt").write_text("söme text")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    assert task.read("a good film")["text"].tolist() == ["a good film"]
    assert task.read(str(tmp_path / "a.txt"))["text"].tolist() == ["söme text"]
    for given, message in ((" ", "received an empty text"), (str(tmp_path / "b.txt"), "Expected a text in UTF-8 in ")):
        with pytest.raises(RecipeError, match=message):
            task.read(given)


def test_figures_are_of_the_whole_test_split(task, tmp_path):
    test = columns("good", "bad", "film", labels=[0, 1, 1])

    def answer(request):
        is_bad = np.array([float("bad" in text) for text in request["text"]])
        return {"probabilities": np.stack([1 - is_bad, is_bad], axis=-1)}

    metrics = task.evaluate(answer, batching.Splits(TRAIN, TRAIN, test, facts={}), tmp_path)
    assert next(iter(metrics)) == "test_accuracy"
    assert metrics["test_accuracy"] == pytest.approx(2 / 3)
    assert metrics["majority_class"] == pytest.approx(1 / 3)
    assert (tmp_path / "confusion_matrix.png").exists()
    assert task.truth(test, 1) == "no"
    assert task.test_request(test, 2)["text"].tolist() == ["film"]
