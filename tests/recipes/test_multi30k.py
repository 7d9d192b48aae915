"""The page of German and English: its words, its BLEU, and what it says."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from recipes import encoder_decoder_lstm_multi30k as page
from recipes._core.command import cli
from recipes._core.data import batching
from recipes._core.evaluate.bleu import bleu

NAME = "encoder_decoder_lstm_multi30k"
GERMAN = ["Zwei Männer gehen.", "Ein Mann, ein Hund.", "Zwei Hunde gehen."]
ENGLISH = ["Two men are walking.", "A man, a dog.", "Two dogs are walking."]


def splits():
    train, test = (
        {"german": tf.constant(german), "english": tf.constant(english)}
        for german, english in ((GERMAN * 2, ENGLISH * 2), (["Zwei Katzen gehen."], ["Two cats are walking."]))
    )
    return batching.Splits(train, train, test, {})


@pytest.fixture
def task():
    task = page.Task(page.Config())
    task.learn(splits())
    return task


def test_words_of_both_languages_are_in_small_letters(task):
    assert task.source_pieces == ["<unk>", ".", "ein", "gehen", "zwei", ",", "hund", "hunde", "mann", "männer"]
    assert "two" in task.target_pieces
    assert "Two" not in task.target_pieces
    numbers, lengths = task.encode(
        tf.constant(["EIN Mann,EIN \N{LATIN CAPITAL LETTER U WITH DIAERESIS}ber!"]), "source"
    )
    assert [["", *task.source_pieces][n] for n in numbers[0]] == ["ein", "mann", ",", "ein", "<unk>", "<unk>"]
    assert lengths.numpy().tolist() == [6]
    numbers, _ = task.encode(tf.constant(ENGLISH), "target")
    assert [text.decode() for text in task.join(numbers).numpy()] == [text.lower() for text in ENGLISH]


def test_bleu_is_of_words_and_marks_whatever_their_case():
    references = np.array([["A man in a hat walks, and smiles."], ["Two dogs run on the green grass."]])
    assert bleu(np.array(["a man in a hat walks, and smiles.", "two dogs run on the green grass."]), references) == (
        pytest.approx(100)
    )
    assert bleu(np.array(["", "Cats."]), references) == 0
    # One piece of ten and one of eight is another: so many of the sequences of 1 to 4 pieces are right.
    shares = np.array([16 / 18, 12 / 16, 8 / 14, 5 / 12])
    answers = np.array(["a man in a hat stands, and smiles.", "two dogs run on the red grass."], object)
    assert bleu(answers, references) == pytest.approx(100 * np.exp(np.log(shares).mean()))
    several = np.array([["Nothing.", "a man in a hat stands, and smiles."], ["Two dogs run on the red grass.", ""]])
    assert bleu(answers, several) == pytest.approx(100)
    with pytest.raises(ValueError, match="references of 1 answers, received 2"):
        bleu(answers[:1], references)


def test_evaluate_measures_bleu_beside_the_nearest_known_sentence(task):
    def answer(request, signature="serving_default"):
        texts = np.array(["two cats are walking." if signature == "greedy" else "two men are walking."])
        if signature == "greedy":
            return {"english": texts, "attention": np.ones((1, 5, 4)) / 4}
        return {"english": texts[:, None]}

    metrics = task.evaluate(answer, splits())
    assert list(metrics) == ["test_bleu", "greedy_bleu", "nearest_known_sentence"]
    assert metrics["greedy_bleu"] == pytest.approx(100)
    assert metrics["test_bleu"] == pytest.approx(metrics["nearest_known_sentence"])
    assert 0 < metrics["test_bleu"] < 100


@pytest.mark.tfds
def test_train_evaluate_and_predict(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "multi30k"
    shutil.copytree(sources, tmp_path / "data/downloads/manual/multi30k")
    load = page.load

    def little(config, data_dir):
        splits = load(config, data_dir)
        assert [len(part["german"]) for part in (splits.train, splits.validation, splits.test)] == [
            29_000,
            1_014,
            1_000,
        ]
        some = ({name: column[:200] for name, column in part.items()} for part in (splits.train, splits.test))
        train, test = some
        return batching.Splits(train, test, test, splits.facts)

    monkeypatch.setattr(page, "load", little)
    budget = ["--epochs=1", "--units=8", "--features=8", "--batch_size=100", "--device=cpu"]
    assert cli.main(["train", NAME, "--data-dir=data", "--export", *budget]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert card["dataset"]["name"] == "multi30k"
    assert list(card["metrics"]) == ["test_bleu", "greedy_bleu", "nearest_known_sentence"]
    capsys.readouterr()
    assert cli.main(["predict", NAME, "Ein Mann geht.", "--data-dir=data"]) == 0
    assert "(probability 0." in capsys.readouterr().out
    assert cli.main(["predict", NAME, "test:7", "--data-dir=data"]) == 0
