"""A language model over words: streams, the paper's steps, the tokeniser in the graph, perplexities."""

import collections
import itertools
import json
import math
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recipes import stacked_lstm_ptb as page
from recipes._core import baselines, cli, data, export, language
from recipes._core.errors import RecipeError

NAME = "stacked_lstm_ptb"
WORDS = ["<eos>", "<unk>", "a", "bank", "sold", "the"]


def splits(words=(*WORDS,), dataset="penn_treebank"):
    hashes, order = np.unique(page.hashed(tf.constant(words)), return_index=True)
    return data.Splits(
        None, None, None, {"name": dataset}, [words[place] for place in order], {"hashes": tf.constant(hashes)}
    )


def model(**settings):
    keras.utils.set_random_seed(0)
    cfg = page.Config(**{"units": 5, "window": 4, "batch_size": 2, "init": 0.5} | settings)
    return page.build_model(cfg, steps=52, vocabulary=len(WORDS))


def test_streams_are_read_side_by_side_in_windows():
    parts = page.streams(tf.range(20), 3, 2)
    inputs = np.asarray(parts["inputs"]).reshape(3, 3, 2)  # windows, streams, words
    np.testing.assert_array_equal(inputs.transpose(1, 0, 2).reshape(3, -1), np.arange(18).reshape(3, 6))
    np.testing.assert_array_equal(parts["targets"], np.asarray(parts["inputs"]) + 1)
    with pytest.raises(RecipeError, match="a text of more than 6 words, received 6"):
        page.streams(tf.range(6), 3, 2)


def test_words_between_spaces_and_words_among_punctuation():
    def words(text, dataset):
        return [[word.decode() for word in row] for row in page.split_words(tf.constant(text), dataset).to_list()]

    assert words([" the <unk> sold N 's \n a\n", ""], "penn_treebank") == [
        ["the", "<unk>", "sold", "N", "'s", "<eos>", "a", "<eos>"],
        [],
    ]
    assert words(["ROMEO:\nWe know't, we--\n"], "tiny_shakespeare") == [
        ["romeo", ":", "<eos>", "we", "know't", ",", "we", "-", "-", "<eos>"]
    ]


def test_words_have_numbers_and_others_that_of_the_unknown():
    table = splits()
    numbers = page.numbers(tf.constant(["the", "bank", "<unk>", "brook", "", "<eos>"]), table.more["hashes"])
    assert [table.labels[number] for number in numbers] == ["the", "bank", "<unk>", "<unk>", "<unk>", "<eos>"]


@pytest.mark.parametrize(
    ("dataset", "known"),
    [("penn_treebank", ["<eos>", "<unk>", "a", "bank", "sold", "the"]), ("tiny_shakespeare", ["<eos>", "<unk>", "a"])],
)
def test_words_seen_once_are_unknown_where_the_text_marks_none(dataset, known, monkeypatch):
    texts = {"train": "a bank sold a\n the a\n", "validation": "a a a brook\n", "test": "the brook\n"}
    monkeypatch.setattr(data, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(data, "read", lambda _, split: {"text": tf.constant([texts[split]])})
    monkeypatch.setattr(data, "describe", lambda *_: {"name": dataset})
    assert sorted(page.load(page.Config(dataset=dataset, batch_size=1, window=2)).labels) == known


@pytest.mark.parametrize(
    ("size", "epoch", "expected"),
    [
        ("small", 3, 1),
        ("small", 4, 1 / 2),
        ("small", 12, 2**-9),
        ("medium", 5, 1),
        ("medium", 38, 1.2**-33),
        ("large", 54, 1.15**-41),
    ],
)
def test_the_learning_rate_falls_as_in_the_paper(size, epoch, expected):
    cfg = page.Config(size=size, units=5)
    epochs, steps = cfg.knobs()["epochs"], 7
    schedule = page.build_model(cfg, steps=epochs * steps).optimizer._learning_rate
    for step in (epoch * steps, epoch * steps + steps - 1):
        assert float(schedule(step)) == pytest.approx(expected * cfg.knobs()["window"], rel=1e-5)


@pytest.mark.parametrize("clipnorm", [1e9, 0.5])
def test_a_step_is_that_of_the_loss_summed_over_a_window(clipnorm):
    net = model(clipnorm=clipnorm, learning_rate=0.7)
    x, y = (np.random.default_rng(seed).integers(0, 6, (2, 4)) for seed in (0, 1))
    before = [np.asarray(weight) for weight in net.trainable_weights]
    assert all(0.3 < np.abs(weight).max() <= 0.5 for weight in before)
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, net(x))
        loss = tf.reduce_mean(tf.reduce_sum(losses, axis=1))
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, [w.value for w in net.trainable_weights])]
    norm = float(tf.linalg.global_norm(gradients))
    assert norm > 0.5
    for layer in net.layers:
        if isinstance(layer, keras.layers.RNN):
            layer.reset_state()
    net.train_on_batch(x, y)
    for weight, start, gradient in zip(net.trainable_weights, before, gradients, strict=True):
        expected = start - 0.7 * min(1, clipnorm / norm) * np.asarray(gradient)
        np.testing.assert_allclose(weight, expected, atol=2e-6)


@pytest.mark.parametrize("cell", ["lstm", "min_gru"])
def test_a_text_is_scored_word_by_word_however_long_it_is(cell, monkeypatch):
    net, table = model(cell=cell), splits()
    texts = ["the bank sold a brook\n the", "bank", "a\n" * 11]
    answers = []
    for window in (3, 100):
        monkeypatch.setattr(language, "_AT_ONCE", window * len(texts) * len(WORDS))
        answers.append(export.as_arrays(page.serving(net, table))({"text": np.array(texts)}))
    for key, value in answers[0].items():
        same = np.array_equal if value.dtype.kind == "U" else lambda *pair: np.allclose(*pair, atol=1e-5)
        assert same(value, answers[1][key]), key
    answer = answers[0]
    assert answer["words"][0, :8].tolist() == ["the", "bank", "sold", "a", "<unk>", "<eos>", "the", ""]
    np.testing.assert_array_equal(answer["lengths"], [7, 1, 22])
    loop = page.archs.stacked_lstm(5, [5, 5], 6, vocabulary=6, cell=cell, return_sequences=True)
    loop.set_weights(net.get_weights())
    for row, length in enumerate(answer["lengths"]):
        numbers = [table.labels.index(word) for word in ["<eos>", *answer["words"][row, :length]]]
        probabilities = tf.nn.softmax(loop(np.array([numbers])))[0].numpy()
        expected = np.log([step[number] for step, number in zip(probabilities, numbers[1:], strict=False)])
        np.testing.assert_allclose(answer["log_probabilities"][row, :length], expected, atol=1e-5)
        assert not answer["log_probabilities"][row, length:].any()
        assert answer["perplexity"][row] == pytest.approx(math.exp(-expected.mean()), rel=1e-4)
        best = np.argsort(-probabilities[length])
        assert answer["next_words"][row].tolist() == [table.labels[number] for number in best]
        np.testing.assert_allclose(answer["next_probabilities"][row], probabilities[length][best], atol=1e-5)
    for texts, message in (([], "empty batch"), (["bank", " "], "1 or more")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            page.serving(net, table)["serving_default"](tf.constant(texts, tf.string))


def test_kneser_ney_gives_each_context_a_distribution():
    draw = np.random.default_rng(0)
    train = draw.integers(0, 5, 60)
    for order in (1, 2, 3):
        for context in itertools.product(range(5), repeat=2):
            # How probable a word is behind a context: what it adds to the text's logarithm.
            base = math.log(baselines.kneser_ney(train, [*context], order)) * 2
            shares = [
                math.exp(base - math.log(baselines.kneser_ney(train, [*context, w], order)) * 3) for w in range(5)
            ]
            assert sum(shares) == pytest.approx(1)


def test_kneser_ney_of_a_text_counted_by_hand():
    # a b a c a b: once a c, c a; twice a b; b a once. Discount 3 / (3 + 2) = 0.6.
    train = [0, 1, 0, 2, 0, 1]
    assert collections.Counter(itertools.pairwise(train)) == {(0, 1): 2, (1, 0): 1, (0, 2): 1, (2, 0): 1}
    # a comes after b and c, b after a, c after a: twice one, once two: discount 2 / (2 + 2) = 0.5, of 4 in all.
    share = [(2 - 0.5) / 4 + 1.5 / 4 / 3, (1 - 0.5) / 4 + 1.5 / 4 / 3, (1 - 0.5) / 4 + 1.5 / 4 / 3]
    # The text b a c goes on behind b: b was never before b, a is after b, c after a once of three.
    p = [0 + 0.6 * 1 / 1 * share[1], (1 - 0.6) / 1 + 0.6 * share[0], (1 - 0.6) / 3 + 0.6 * 2 / 3 * share[2]]
    assert baselines.kneser_ney(train, [1, 0, 2], 2) == pytest.approx(math.exp(-np.log(p).mean()))
    assert baselines.kneser_ney(train, [0, 2], 1) == pytest.approx((1 / 2 * 1 / 6) ** -0.5)


def test_perplexity_is_of_the_whole_test_text(tmp_path):
    table = splits()
    text = tf.constant(["the bank\n a bank\n"])
    known = data.Splits(
        None, None, {"text": text}, table.facts, table.labels, table.more | {"train": tf.constant(WORDS)}
    )
    logs = np.log([[0.5, 0.25, 0.125, 0.5, 0.5, 0.5]])
    answers = {"words": np.array([["the", "bank", "<eos>", "a", "bank", "<eos>"]]), "log_probabilities": logs}
    metrics = page.evaluate(lambda request: answers, known, tmp_path)
    assert metrics["test_perplexity"] == pytest.approx(2 ** (9 / 6))
    assert metrics["unigram"] == pytest.approx(6)
    assert np.asarray(Image.open(tmp_path / "surprises.png").convert("L")).std() > 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--size=huge"], "`size` to be one of 'tiny', 'small', 'medium', 'large', received 'huge'"),
        (["--decay=0"], "`decay` to be a positive number, received 0.0"),
        (["--units=0"], "`units` to be a positive integer, received 0"),
    ],
)
def test_what_it_says_of_wrong_settings(settings, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", NAME, *settings]) == 2
    assert message in capsys.readouterr().err


def test_without_a_network_it_names_the_files(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", NAME, f"--data-dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "ptb.test.txt, ptb.train.txt, ptb.valid.txt" in error
    assert str(tmp_path / "downloads/manual/penn_treebank") in error


@pytest.mark.tfds
def test_train_evaluate_predict(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "tiny_shakespeare"
    shutil.copytree(sources, tmp_path / "downloads/manual/tiny_shakespeare")
    where = [f"--data-dir={tmp_path}"]
    settings = [
        "--dataset=tiny_shakespeare",
        "--size=tiny",
        "--epochs=1",
        "--units=8",
        "--window=100",
        "--batch-size=80",
    ]
    assert cli.main(["train", NAME, *settings, "--cell=coupled_lstm", *where]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert card["metrics"]["kneser_ney_5_gram"] < card["metrics"]["unigram"] < 600
    assert card["metrics"]["test_perplexity"] < 6475
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", *where]) == 0
    assert f"test perplexity      {card['metrics']['test_perplexity']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "To be, or not to be: that", *where]) == 0
    assert "'to be , or not to be : that', perplexity" in capsys.readouterr().out
    for text in ("test:0", " "):
        assert cli.main(["predict", NAME, text, *where]) == (0 if text.strip() else 2)
