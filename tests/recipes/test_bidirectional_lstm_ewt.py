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
from recipes._core.command import cli
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.export import export

NAME = "bidirectional_lstm_ewt"
LABELS = [f"T{number}" for number in range(17)]


def restored(*words, **settings):
    """A task that has learned the labels and these words."""
    settings = {"features": 3, "letter_features": 3, "letter_units": 4, "spelling": 3, "units": 4} | settings
    task = recipe.Task(recipe.Config(**settings))
    task.restore({"labels": LABELS, "vocabulary": ["", *words]})
    return task


def small_model(task):
    model = recipe.build_model(task.config, task)
    task.compile(model, 1)
    return model


def split(sentences, tags):
    rows = [{"sentence": s.encode(), "tags": np.array(t, np.int32)} for s, t in zip(sentences, tags, strict=True)]
    return batching.columns(rows)


def test_words_are_encoded_in_the_graph():
    encoded = tf.function(restored("the").preprocess)(tf.constant(["The  cat", " the cat_the Ärger "]))
    encoded = {name: value.numpy().tolist() for name, value in encoded.items()}
    assert encoded["words"] == [[1, 0, 0], [1, 0, 0]]
    assert encoded["lengths"] == [2, 3]
    assert encoded["spelling"] == [[0, 1, 0], [2, 3, 4]]
    letters = [[84, 104, 101], [99, 97, 116], [116, 104, 101], [99, 97, 116, 95, 116, 104, 101], [127, *b"rger"]]
    assert encoded["letters"] == [[*row, *[0] * (7 - len(row))] for row in letters]
    assert encoded["letter_lengths"] == [3, 3, 3, 7, 5]


def test_a_word_has_its_number_whatever_its_case_and_is_read_to_a_limit():
    task = restored("a", "étude", "b")
    assert task.preprocess(tf.constant(["A ÉTUDE B C a étude"]))["words"].numpy().tolist() == [[1, 2, 3, 0, 1, 2]]
    encoded = task.preprocess(tf.constant(["x" * 1000]))
    assert encoded["letters"].shape == (1, recipe.LONGEST)
    assert encoded["letter_lengths"].numpy().tolist() == [recipe.LONGEST]


def test_words_that_begin_alike_up_to_the_character_0_are_different():
    words = tf.strings.split(tf.constant([b"He he he\0 HE\0X he\0x \0"]))
    normal = restored().normalize(words).flat_values.numpy().tolist()
    assert normal[0] == normal[1]
    assert normal[3] == normal[4]
    assert len(set(normal)) == 4


def test_rare_words_are_hidden_in_training_only():
    columns = split(["often often often often rare rare once"] * 2, [[1] * 7] * 2)
    columns = {name: tf.repeat(column, 500, axis=0) for name, column in columns.items()}
    task = restored(batch_size=1000, word_dropout=0.9)
    task.learn(batching.Splits(columns, columns, columns, {}, LABELS))
    assert task.vocabulary == ["", "often", "rare", "once"]
    assert task.times_seen.numpy().tolist() == [0, 4000, 2000, 1000]
    task.times_seen = tf.constant([0.0, 1e9, 9.0, 0.1])
    numbers = np.array([[1, 1, 1, 1, 2, 2, 3]])
    (hidden, _), (whole, _) = (
        next(iter(task.batches(columns, training).epoch().as_numpy_iterator())) for training in (True, False)
    )
    assert np.all(whole["words"] == numbers)
    assert np.all((hidden["words"] == numbers) | (hidden["words"] == 0))
    shares = (hidden["words"] == 0).mean(axis=0)
    np.testing.assert_allclose(shares, [0, 0, 0, 0, 0.9 / 9.9, 0.9 / 9.9, 0.9], atol=0.03)
    assert hidden["letters"].shape == whole["letters"].shape


def test_an_answer_is_the_same_whatever_else_is_in_the_batch():
    task = restored("the", "cat")
    answer = export.as_arrays(task.signatures(small_model(task)))
    sentences = ["the cat", "An extraordinarily long sentence about the cat .", "é"]
    together = answer({"sentence": np.array(sentences)})
    assert together["word"][0].tolist() == ["the", "cat", *[""] * 6]
    for row, sentence in enumerate(sentences):
        alone, size = answer(task.read(sentence)), len(sentence.split())
        assert together["tag"][row].tolist() == [*alone["tag"][0], *[""] * (8 - size)]
        np.testing.assert_allclose(together["probabilities"][row, :size], alone["probabilities"][0], atol=1e-6)
        assert not np.any(together["probabilities"][row, size:])
    empty = "sentence: expected 1 or more characters or words in each"
    for wrong, message in ((["the cat", "  "], empty), ([""], empty), ([], "sentence: .* empty batch")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer({"sentence": np.array(wrong, "U")})


def test_the_models_own_inputs_are_checked():
    task = restored("the", "cat")
    model = small_model(task)
    answer = export.as_arrays(task.signatures(model))
    given = {name: value.numpy() for name, value in task.preprocess(tf.constant(["the cat sat", "no"])).items()}
    np.testing.assert_allclose(answer(given, "logits")["logits"], model(given), atol=1e-6)
    for name, wrong, message in [
        ("words", [[1, 3, 0], [0, 0, 0]], "words: expected 0 to 2"),
        ("lengths", [3, 0], "lengths: expected 1 or more"),
        ("letters", np.full((4, 3), 128), "letters: expected 0 to 127"),
        ("letter_lengths", [3, 3, 3, 4], "letter_lengths: expected no more than there are time steps"),
        ("spelling", [[0, 1, 4], [3, 0, 0]], "spelling: expected the numbers of rows of letters"),
        ("spelling", [[0, 1], [3, 0]], "spelling: expected one for each of words"),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(given | {name: np.array(wrong, np.int32)}, "logits")


@pytest.mark.parametrize("cell", ["lstm", "min_gru"])
def test_loss_and_accuracy_count_words_only(cell):
    task = restored("the", "cat", cell=cell)
    model = small_model(task)
    inputs = task.preprocess(tf.constant(["the cat sat", "no"]))
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
    task = restored("the", "cat")
    model = small_model(task)
    inputs = task.preprocess(tf.constant(["the cat"]))
    model.optimizer.build(model.trainable_variables)  # as `fit` does
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(inputs), model(inputs), atol=1e-6)


def test_metrics_of_a_hand_made_case():
    train = split(["the cat", "the The dog"], [[1, 2], [1, 3, 2]])
    test = split(["the cow", "The cat sat"], [[1, 2], [3, 2, 4]])

    def answer(request):
        assert request["sentence"].tolist() == ["the cow", "The cat sat"]
        return {"tag": np.array([["T1", "T2", ""], ["T3", "T3", "T0"]])}

    assert restored().evaluate(answer, batching.Splits(train, {}, test, {}, LABELS)) == {
        "test_accuracy": 3 / 5,
        "unseen_words": 1 / 2,
        "most_frequent_tag": 3 / 5,
        "unseen_words_most_frequent_tag": 1 / 2,
    }


def test_requests_and_answers():
    task = restored()
    assert task.read("The cat")["sentence"].tolist() == ["The cat"]
    with pytest.raises(RecipeError, match="received no word"):
        task.read("  ")
    assert task.show({"word": np.array([["The", "cat"]]), "tag": np.array([["DET", "NOUN"]])}) == "The/DET cat/NOUN"
    assert task.truth(split(["no", "The cat sat"], [[1], [3, 2, 4]]), 1) == "The/T3 cat/T2 sat/T4"


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"rate in \[0, 1\), received 1"):
        recipe.Config(word_dropout=1.0)


@pytest.mark.tfds
def test_end_to_end(no_network, data_dir, tmp_path, monkeypatch, capsys):
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "universal_dependencies__en_ewt"
    shutil.copytree(sources, data_dir / "downloads/manual/universal_dependencies", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    budget = ["--epochs=1", "--units=8", "--letter_units=8", "--batch_size=256", "--learning_rate=0.02"]
    assert cli.main(["train", NAME, *budget, f"--data-dir={data_dir}", "--export"]) == 0
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
    assert [len(restored().flat(part)[0]) for part in (splits.train, splits.test)] == [204_578, 25_094]
