"""Parts of speech: words between spaces, known by themselves or by their letters."""

import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes import bidirectional_lstm_ewt as recipe
from recipes._core import cli, data, export
from recipes._core.errors import RecipeError

NAME = "bidirectional_lstm_ewt"
LABELS = [f"T{number}" for number in range(17)]


def known(*words):
    return tf.constant(np.unique(recipe.hashed(tf.constant(words))))


def small_model(cell="lstm"):
    cfg = recipe.Config(cell=cell, features=3, letter_features=3, letter_units=4, spelling=3, units=4)
    return recipe.build_model(cfg, 1, vocabulary=3)


def test_words_are_encoded_in_the_graph():
    the = known("the")
    encoded = tf.function(recipe.encode)(tf.constant(["The  cat", " the cat_the Ärger "]), the)
    encoded = {name: value.numpy().tolist() for name, value in encoded.items()}
    assert encoded["words"] == [[1, 0, 0], [1, 0, 0]]
    assert encoded["lengths"] == [2, 3]
    assert encoded["spelling"] == [[0, 1, 0], [2, 3, 4]]
    letters = [[84, 104, 101], [99, 97, 116], [116, 104, 101], [99, 97, 116, 95, 116, 104, 101], [127, *b"rger"]]
    assert encoded["letters"] == [[*row, *[0] * (7 - len(row))] for row in letters]
    assert encoded["letter_lengths"] == [3, 3, 3, 7, 5]


def test_a_word_has_its_place_whatever_its_case_and_is_read_to_a_limit():
    words = known("a", "étude", "b")
    ids = [recipe.encode(tf.constant([word]), words)["words"].numpy().item() for word in ("A", "ÉTUDE", "B", "C")]
    assert sorted(ids) == [0, 1, 2, 3]
    assert ids[3] == 0
    encoded = recipe.encode(tf.constant(["x" * 1000]), words)
    assert encoded["letters"].shape == (1, recipe.LONGEST)
    assert encoded["letter_lengths"].numpy().tolist() == [recipe.LONGEST]


def test_hashes_tell_words_apart():
    words = [f"word{number}" for number in range(100_000)]
    assert len(np.unique(recipe.hashed(tf.constant(words)))) == len(words)


def test_an_answer_is_the_same_whatever_else_is_in_the_batch():
    splits = data.Splits(None, None, {}, {}, LABELS, {"known": known("the", "cat")})
    answer = export.as_arrays(recipe.serving(small_model(), splits))
    sentences = ["the cat", "An extraordinarily long sentence about the cat .", "é"]
    together = answer(recipe.request(sentences))
    assert together["word"][0].tolist() == ["the", "cat", *[""] * 6]
    for row, sentence in enumerate(sentences):
        alone, size = answer(recipe.request([sentence])), len(sentence.split())
        assert together["tag"][row].tolist() == [*alone["tag"][0], *[""] * (8 - size)]
        np.testing.assert_allclose(together["probabilities"][row, :size], alone["probabilities"][0], atol=1e-6)
        assert not np.any(together["probabilities"][row, size:])
    for wrong, message in ((["the cat", "  "], "at least one word"), ([""], "at least one word"), ([], "empty batch")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer({"sentence": np.array(wrong, "U")})


@pytest.mark.parametrize("cell", ["lstm", "min_gru"])
def test_loss_and_accuracy_count_words_only(cell):
    model = small_model(cell)
    inputs = recipe.encode(tf.constant(["the cat sat", "no"]), known("the", "cat"))
    logits = model(inputs).numpy()
    answers = logits.argmax(-1)
    tags = np.where([[True, True, True], [True, False, False]], answers, 0)
    tags[0, 0] = (answers[0, 0] + 1) % 17
    tags[1, 1:] = (answers[1, 1:] + 1) % 17
    loss, accuracy = model.evaluate(tf.data.Dataset.from_tensors((inputs, tf.constant(tags))), verbose=0)
    log_probabilities = tf.nn.log_softmax(logits).numpy()
    losses = [-log_probabilities[row, step, tags[row, step]] for row, step in ((0, 0), (0, 1), (0, 2), (1, 0))]
    assert accuracy == pytest.approx(3 / 4)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_model_is_saved_and_loaded(tmp_path):
    model = small_model()
    inputs = recipe.encode(tf.constant(["the cat"]), known("the", "cat"))
    model.optimizer.build(model.trainable_variables)  # as `fit` does
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(inputs), model(inputs), atol=1e-6)


def test_metrics_of_a_hand_made_case():
    def split(sentences, tags):
        rows = [{"sentence": s.encode(), "tags": np.array(t, np.int32)} for s, t in zip(sentences, tags, strict=True)]
        return data.columns(rows)

    train = split(["the cat", "the The dog"], [[1, 2], [1, 3, 2]])
    test = split(["the cow", "The cat sat"], [[1, 2], [3, 2, 4]])
    splits = data.Splits(None, None, test, {}, LABELS, {"train": train})

    def answer(request):
        assert request["sentence"].tolist() == ["the cow", "The cat sat"]
        return {"tag": np.array([["T1", "T2", ""], ["T3", "T3", "T0"]])}

    assert recipe.evaluate(answer, splits) == {
        "test_accuracy": 3 / 5,
        "unseen_words": 1 / 2,
        "most_frequent_tag": 3 / 5,
        "unseen_words_most_frequent_tag": 1 / 2,
    }


def test_requests_and_answers():
    assert recipe.read_input("The cat", recipe.Config())["sentence"].tolist() == ["The cat"]
    with pytest.raises(RecipeError, match="received no word"):
        recipe.read_input("  ", recipe.Config())
    assert recipe.show({"word": np.array([["The", "cat"]]), "tag": np.array([["DET", "NOUN"]])}) == "The/DET cat/NOUN"


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"rate in \[0, 1\), received 1"):
        recipe.Config(word_dropout=1.0)


@pytest.mark.tfds
def test_end_to_end(no_network, data_dir, tmp_path, monkeypatch, capsys):
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "universal_dependencies__en_ewt"
    shutil.copytree(sources, data_dir / "downloads/manual/universal_dependencies", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    budget = ["--epochs=1", "--units=8", "--letter_units=8", "--batch_size=256", "--learning_rate=0.02"]
    assert cli.main(["train", NAME, *budget, f"--data-dir={data_dir}"]) == 0
    out = capsys.readouterr().out
    assert "12,543 to train, 2,001 to validate, 2,077 to test" in out
    assert "the first test example is In/" in out
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert card["metrics"]["test_accuracy"] > 0.3
    assert 0.8 < card["metrics"]["most_frequent_tag"] < 0.9
    (folder,) = (tmp_path / "runs" / NAME).iterdir()
    assert (folder / "confusion_matrix.png").exists()
    assert cli.main(["evaluate", NAME, "--saved-model", f"--data-dir={data_dir}"]) == 0
    assert f"test accuracy        {card['metrics']['test_accuracy']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "The cat sat on the mat"]) == 0
    assert capsys.readouterr().out.count("/") >= 6
    splits = recipe.load(recipe.Config(), data_dir)
    # The words of UD 2.10, as its own statistics count them.
    assert [len(recipe.words_and_tags(part)[0]) for part in (splits.train.columns, splits.test)] == [204_578, 25_094]
