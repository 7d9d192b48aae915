"""A language model over words: the paper's steps, the settings of its sizes, and both texts."""

import dataclasses
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes import stacked_lstm_ptb as page
from recipes._core import settings
from recipes._core.command import cli
from recipes._core.data import datasets

NAME = "stacked_lstm_ptb"


def model(**changed):
    keras.utils.set_random_seed(0)
    config = page.Config(**{"units": 5, "window": 4, "batch_size": 2, "init": 0.5} | changed)
    task = page.Task(config)
    task.restore({"labels": ["<unk>", "<eos>", "the", "bank", "a", "sold"]})
    net = page.build_model(config, task)
    task.compile(net, steps=52)
    return net


@pytest.mark.parametrize(
    ("dataset", "known"),
    [("penn_treebank", ["A", "a", "bank", "the"]), ("tiny_shakespeare", ["a"])],
)
def test_both_texts_have_their_words(dataset, known, monkeypatch):
    texts = {"train": "a bank A a\n\n the a\n", "validation": "a a a brook\n", "test": "the brook\n"}
    if dataset == "penn_treebank":
        texts["train"] += " <unk>\n"
    monkeypatch.setattr(datasets, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "read", lambda _, split: {"text": tf.constant([texts[split]])})
    monkeypatch.setattr(datasets, "describe", lambda *_: {"name": dataset})
    config = page.Config(dataset=dataset, batch_size=1, window=2)
    data, task = page.load(config, None), page.Task(config)
    assert "".join(line.decode() for line in data.train["text"].numpy()) == texts["train"]
    task.learn(data)
    assert task.labels[:2] == ["<unk>", "<eos>"]
    assert sorted(task.labels[2:]) == known
    inputs, targets = next(iter(task.batches(data.validation).epoch()))
    np.testing.assert_array_equal(inputs[0, 1:], targets[0, :-1])


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
    task, steps = page.Task(page.Config(size=size, units=5)), 7
    schedule = task.optimizer(task.epochs * steps)._learning_rate
    for step in (epoch * steps, epoch * steps + steps - 1):
        assert float(schedule(step)) == pytest.approx(expected * task.config.window, rel=1e-5)


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


def test_what_is_not_set_is_as_the_size_has_it():
    config = settings.parse(page.Config, ["--size=tiny", "--units=none", "--flat", "2"])
    assert (config.units, config.flat) == (None, 2)
    task = page.Task(config)
    assert (task.config.units, task.config.flat, task.epochs, task.config.dropout) == (128, 2, 6, 0.3)
    for size in page.SIZES:
        values = dataclasses.asdict(page.Task(page.Config(size=size)).config)
        assert [name for name, value in values.items() if value is None] == list(settings.EVERY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--size=huge"], "`size` to be one of 'tiny', 'small', 'medium', 'large', received 'huge'"),
        (["--decay=0"], "`decay` to be a positive number, received 0.0"),
        (["--units=x"], "--units to be a whole number or none, received 'x'"),
        (["--layers=none"], "--layers to be a whole number, received 'none'"),
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
        "--export",
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
