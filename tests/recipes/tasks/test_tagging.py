"""A label for each word of a text, or for each character, on data that no page knows."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.command import cli
from recipes._core.data import batching, tables
from recipes._core.errors import RecipeError
from recipes._core.export import export
from recipes._core.settings import Count, Positive, Seed, settings
from recipes.tasks.tagging import Tagging

PAGE = '''
"""A page of somebody's own: a column of words, a column of labels."""

import numpy as np

import archs
from recipes._core.data import batching
from recipes._core.settings import Count, Positive, Seed, settings
from recipes.tasks.tagging import Tagging as Task


@settings
class Config:
    dataset: str = "own"
    units: Count = 8
    epochs: Count = 4
    batch_size: Count = 16
    learning_rate: Positive = 0.03
    clipnorm: Positive = 1.0
    seed: Seed = 0


def load(config, data_dir):
    def split(count, seed):
        rng = np.random.default_rng(seed)
        for _ in range(count):
            words = rng.choice(["a", "b", "not"], rng.integers(1, 8))
            labels = ["NOT" if w == "not" else f"{'-' * (v == 'not')}{w.upper()}" for v, w in zip(["", *words], words)]
            yield {"text": " ".join(words), "labels": " ".join(labels)}

    splits = [batching.columns(split(count, seed)) for seed, count in enumerate((400, 50, 50))]
    return batching.Splits(*splits, facts={"name": "own", "version": "1", "sha256": "0"})


def build_model(config, task):
    return archs.bidirectional_lstm(
        features=8, units=config.units, outputs=len(task.labels) or 1, vocabulary=len(task.vocabulary), lengths=True
    )
'''


@settings
class Config:
    batch_size: Count = 2
    learning_rate: Positive = 0.01
    clipnorm: Positive = 1.0
    seed: Seed = 0


class Characters(Tagging):
    """A label for each character, its labels between spaces."""

    piece = "character"

    def pieces(self, texts):
        return tf.strings.unicode_split(texts, "UTF-8")


def split(*rows):
    return batching.columns({"text": text, "labels": labels} for text, labels in rows)


TRAIN = split(("the cat sat", "D N V"), ("the dog", "D N"), ("a Cat cat the", "D N N D"))
VALIDATION = split(("oh", "I"))
TEST = split(("the cow", "D N"), ("cat sat the", "N N D"), ("é", "V"))
SPLITS = batching.Splits(TRAIN, VALIDATION, TEST, {})


def learned(kind=Tagging, splits=SPLITS, **settings):
    task = kind(Config(**settings))
    task.learn(splits)
    return task


def model_of(task):
    keras.utils.set_random_seed(0)
    return archs.bidirectional_lstm(
        features=4, units=5, outputs=len(task.labels) or 1, vocabulary=len(task.vocabulary), lengths=True
    )


def test_labels_and_vocabulary_are_learned_from_the_data():
    task = learned()
    assert task.labels == ["D", "I", "N", "V"]
    assert task.vocabulary == ["", "the", "cat"]  # of the training texts, what is there twice, the most frequent first
    given = learned(splits=batching.Splits(TRAIN, VALIDATION, TEST, {}, labels=["V", "N", "I", "D"]))
    assert given.labels == ["V", "N", "I", "D"]
    assert given.targets(TEST).to_list() == [[3, 1], [1, 1, 3], [0]]


def test_words_of_a_table_are_counted_as_they_are_read():
    def columns(text, labels):
        table = tables.Table("own.csv", ["text", "labels"], [["a b", "A B"], [text, labels]], lines=[2, 3])
        names = types.SimpleNamespace(text="text", labels="labels")
        return Tagging.columns_of(names, dict.fromkeys(("train", "validation", "test"), table))[0]

    one = "a\N{NO-BREAK SPACE}b"  # to the task one word, and to Python's `split` two
    task = learned(splits=batching.Splits(**columns(f"{one} c", "A B"), facts={}))
    assert task.pieces(tf.constant([f"{one} c"])).to_list() == [[one.encode(), b"c"]]
    with pytest.raises(RecipeError) as error:
        columns(f"{one} c", "A B C")
    place = "own.csv, line 3, column 'labels'"
    assert str(error.value) == f"Expected a label for each of 2 words in {place}, received 3."


def test_a_model_is_built_before_the_data_are_there():
    assert model_of(Tagging(Config())).output.shape == (None, None, 1)


@pytest.mark.parametrize(("text", "labels"), [("the cat", "D"), ("the", "D N"), ("", ""), (" ", "D")])
@pytest.mark.parametrize("place", range(3))
def test_a_label_for_each_word_is_asked_for(text, labels, place):
    splits = [TRAIN, VALIDATION, TEST]
    splits[place] = split(("the cat", "D N"), (text, labels), ("", ""))
    count = len(labels.split())
    with pytest.raises(RecipeError, match=f"Expected a label for each word of a text, received {count} for '{text}'"):
        learned(splits=batching.Splits(*splits, {}))


def test_batches_have_texts_of_like_length_with_their_labels():
    rows = [(" ".join(["the"] * n), " ".join("DN"[n % 2] * n)) for n in range(1, 9)]
    columns = split(*rows)
    task = learned(splits=batching.Splits(columns, columns, columns, {}))
    for training in (True, False):
        batches = task.batches(columns, training)
        assert len(batches) == (4 if training else 1)
        lengths = []
        for inputs, labels in batches.epoch().as_numpy_iterator():
            there = np.arange(inputs["inputs"].shape[1]) < inputs["lengths"][:, None]
            assert np.all(inputs["inputs"] == there)
            assert np.all(labels[there] == np.repeat(inputs["lengths"] % 2, inputs["lengths"]))
            lengths.append(inputs["lengths"].tolist())
        assert sorted(map(sorted, lengths)) == ([[1, 2], [3, 4], [5, 6], [7, 8]] if training else [list(range(1, 9))])


@pytest.mark.parametrize("kind", [Tagging, Characters])
def test_an_answer_needs_no_data_and_is_empty_past_the_end(kind):
    texts = ["the cat", "the unknown dog sat", "é"]
    splits = SPLITS
    if kind is Characters:
        columns = split(*((text, " ".join("N" * len(text))) for text in texts))
        splits = batching.Splits(columns, columns, columns, {})
    task = kind(Config())
    task.restore(json.loads(json.dumps(learned(kind, splits).state())))
    model = model_of(task)
    answer = export.as_arrays(task.signatures(model))
    together = answer({"text": np.array(texts)})
    assert set(together) == {task.piece, "label", "probabilities"}
    for row, text in enumerate(texts):
        pieces = text.split() if kind is Tagging else list(text)
        alone, size = answer(task.read(text)), len(pieces)
        assert together[task.piece][row, :size].tolist() == alone[task.piece][0].tolist() == pieces
        assert set(alone["label"][0]) <= set(task.labels)
        np.testing.assert_array_equal(together["label"][row, :size], alone["label"][0])
        np.testing.assert_allclose(together["probabilities"][row, :size], alone["probabilities"][0], atol=1e-6)
        for name in (task.piece, "label"):
            assert set(together[name][row, size:]) <= {""}
        assert not np.any(together["probabilities"][row, size:])
        logits = model({name: value.numpy() for name, value in task.preprocess(tf.constant([text])).items()})
        np.testing.assert_allclose(alone["probabilities"], tf.nn.softmax(logits), atol=1e-6)


class Short(Tagging):
    """Takes four words."""

    longest = 4


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "text: expected at least one row, received an empty batch"),
        (["the cat", " "], "text: expected 1 or more characters or words in each, received an empty one"),
        ([""], "text: expected 1 or more characters or words in each, received an empty one"),
        (["a", "a b c d e"], "text: expected at most 4 time steps"),
    ],
)
def test_nonsense_is_refused(texts, message):
    task = learned(Short)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        export.as_arrays(task.signatures(model_of(task)))({"text": np.array(texts, "U")})


def test_the_sample_is_the_first_test_text():
    task = learned()
    model = model_of(task)
    answer, sample = export.as_arrays(task.signatures(model)), task.sample(model, SPLITS)
    assert {name: value.tolist() for name, value in sample["serving_default"].items()} == {"text": ["the cow"]}
    assert {name: value.tolist() for name, value in sample["logits"].items()} == {"inputs": [[1, 0]], "lengths": [2]}
    expected = tf.nn.softmax(answer(sample["logits"], "logits")["logits"])
    np.testing.assert_allclose(answer(sample["serving_default"])["probabilities"], expected, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs: expected 0 to 2"):
        answer({"inputs": np.array([[3]], np.int32), "lengths": np.array([1], np.int32)}, "logits")


def test_metrics_of_a_hand_made_case(tmp_path):
    task = learned()
    task.several = 2
    asked = []

    def answer(request):
        asked.append(request["text"].tolist())
        return {"label": {2: np.array([["D", "N", ""], ["N", "V", "V"]]), 1: np.array([["N"]])}[len(request["text"])]}

    assert task.evaluate(answer, SPLITS, tmp_path) == {
        "test_accuracy": 3 / 6,
        "unseen_words": 1 / 2,  # cow and é
        "most_frequent_label": 4 / 6,  # sat is a verb in training; of what is there once, most are nouns
        "unseen_words_most_frequent_label": 1 / 2,
    }
    assert asked == [["the cow", "cat sat the"], ["é"]]
    assert (tmp_path / "confusion_matrix.png").stat().st_size > 1000


def test_without_unseen_words_there_is_no_figure_of_them():
    task = learned(splits=batching.Splits(TRAIN, TRAIN, VALIDATION, {}))
    known = split(("cat", "N"))
    figures = task.evaluate(lambda request: {"label": np.array([["N"]])}, batching.Splits(TRAIN, TRAIN, known, {}))
    assert figures == {"test_accuracy": 1, "most_frequent_label": 1}


def test_requests_and_answers():
    task = learned()
    assert task.read(" the cat ")["text"].tolist() == [" the cat "]
    with pytest.raises(RecipeError, match="Expected a text or test:N, received no word"):
        task.read(" \n")
    assert task.test_request(TEST, 1)["text"].tolist() == ["cat sat the"]
    assert task.truth(TEST, 1) == "cat/N sat/N the/D"
    answer = {"word": np.array([["the", "cat", ""], ["a", "b", "c"]]), "label": np.array([["D", "N", ""], ["D"] * 3])}
    assert task.show(answer) == "the/D cat/N"


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(PAGE)
    return tmp_path


def test_a_page_of_settings_and_a_model_is_enough(own, capsys):
    assert cli.main(["train", "own.py"]) == 0
    assert "400 to train, 50 to validate, 50 to test" in capsys.readouterr().out
    (card,) = (json.loads(path.read_text()) for path in own.glob("runs/own/*/card.json"))
    assert card["metrics"]["test_accuracy"] > 0.98 > card["metrics"]["most_frequent_label"]


@pytest.mark.slow
def test_its_export_knows_the_words(own, capsys):
    assert cli.main(["train", "own.py", "--export"]) == 0
    capsys.readouterr()
    assert cli.main(["predict", "own.py", "not a b", "test:0"]) == 0
    out = capsys.readouterr().out
    assert "not a b: not/NOT a/-A b/B\n" in out
    answer, truth = out.partition("test:0: ")[2].split(", in truth ")
    assert [pair.split("/")[0] for pair in answer.split()] == [pair.split("/")[0] for pair in truth.split()]
