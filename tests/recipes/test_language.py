"""The pages of language models over characters."""

import json
import os
import pathlib
import shutil
import string

import pytest
import tensorflow as tf

from recipes import generative_lstm_python, generative_lstm_shakespeare
from recipes._core.command import cli
from recipes._core.data import batching
from recipes._core.errors import RecipeError


@pytest.mark.parametrize("page", [generative_lstm_shakespeare, generative_lstm_python])
def test_alphabets(page):
    config = page.Config(units=4, cell="coupled_lstm")
    task = page.Task(config)
    assert page.build_model(config, task).output_shape[-1] == 2
    columns = {"text": tf.constant(["\n" + string.ascii_letters])}
    task.learn(batching.Splits(columns, columns, columns, facts={}))
    assert set(string.ascii_letters) < set(task.labels)
    assert page.build_model(config, task).output_shape[-1] == len(task.labels)


def test_the_code_is_ascii():
    assert len(generative_lstm_python.Task.alphabet) == 96


def test_without_a_network_it_says_which_file_to_place(no_network, tmp_path):
    with pytest.raises(RecipeError) as error:
        generative_lstm_shakespeare.load(generative_lstm_shakespeare.Config(), tmp_path)
    for part in ("input.txt", str(tmp_path / "downloads/manual/tiny_shakespeare")):
        assert part in str(error.value)


def train_evaluate_and_predict(name, batch_size, options, capsys, folder):
    small = ["--epochs=1", "--units=16", "--features=8", f"--batch-size={batch_size}", "--device=cpu", "--export"]
    assert cli.main(["train", name, *small, *options]) == 0
    card = json.loads((folder / f"saved_models/{name}/1/card.json").read_text())
    assert 1 < card["metrics"]["5_gram"] < card["metrics"]["unigram"] < 5
    assert set(card["sample"]) == {"serving_default", "generate", "score", "prefill", "step"}
    assert card["labels"][:3] == ["\ufffd", "", "\n"]
    capsys.readouterr()
    assert cli.main(["evaluate", name, "--saved-model", *options]) == 0
    assert f"{card['metrics']['test_bits_per_character']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", name, "First Citizen:", *options]) == 0
    assert len(capsys.readouterr().out) > 100
    assert cli.main(["predict", name, "test:0", *options]) == 0
    (run,) = (folder / "runs" / name).iterdir()
    assert len((run / "sample.txt").read_text()) > 100
    assert (run / "surprise.png").stat().st_size > 10000


@pytest.mark.tfds
def test_train_on_shakespeare(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "tiny_shakespeare"
    shutil.copytree(sources, tmp_path / "data/downloads/manual/tiny_shakespeare")
    name = "generative_lstm_shakespeare"
    train_evaluate_and_predict(name, 128, ["--data-dir=data"], capsys, tmp_path)


@pytest.mark.slow
def test_train_on_python(no_network, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "generative_lstm_python"
    train_evaluate_and_predict(name, 256, [f"--data-dir={data_dir}"], capsys, tmp_path)
