"""The command line, end to end on a small budget, and what it says when it cannot."""

import csv
import json
import time

import numpy as np
import pytest
from PIL import Image

from recipes import vanilla_lstm_mnist
from recipes._core import cli, session

NAME = "vanilla_lstm_mnist"


def run(capsys, *arguments):
    """Exit status, stdout and stderr of a command."""
    capsys.readouterr()
    status = cli.main([str(a) for a in arguments])
    return status, *capsys.readouterr()


def test_list_and_show_are_quick(capsys):
    started = time.monotonic()
    status, out, _ = run(capsys, "list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == cli.names()
    assert NAME in cli.names()
    status, out, _ = run(capsys, "show", NAME)
    assert status == 0
    assert f"python -m recipes train {NAME}" in out
    assert "units: int = 128" in out
    assert "def " not in out
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", NAME], "Did you mean train?"),
        (["train", "vanila_lstm_mnist"], f"received 'vanila_lstm_mnist'. Did you mean {NAME} or "),
        (["show", "something"], "There are: bidirectional_lstm_ewt, "),
        (["train", NAME, "--unts=3"], "received '--unts=3'. Did you mean units?"),
        (["train", NAME, "--units"], "Expected --units=value, received '--units'"),
        (["train", NAME, "--units=3.5"], "Expected --units to be a whole number, received '3.5'"),
        (["train", NAME, "--units=0"], "Expected `units` to be a positive integer, received 0"),
        (["train", NAME, "--dropout=much"], "Expected --dropout to be a number, received 'much'"),
        (["train", NAME, "--dropout=1"], "rate in [0, 1), received 1.0"),
        (["train", NAME, "--epochs=0"], "Expected `epochs` to be a positive integer, received 0"),
        (["train", NAME, "--learning_rate=inf"], "`learning_rate` to be a positive number, received inf"),
        (["train", NAME, "--seed=5000000000"], "`seed` to be from 0 to 4294967295, received 5000000000"),
        (["evaluate", NAME, "--saved-model", "--run=x"], "Expected --run or --saved-model, received both"),
        (["train", NAME, "--learning_rate=nan"], "`learning_rate` to be a positive number, received nan"),
        (["train", NAME, "--dataset=mnits"], "received 'mnits'. Did you mean mnist or mnist_5k?"),
        (["train", NAME, "--cell=lsmt"], "received 'lsmt'. Did you mean lstm"),
        (["train", NAME, "--device=tpu"], "invalid choice: 'tpu'"),
        (["train", NAME, "--resume"], f"Expected an unfinished run of {NAME} in runs/{NAME}, found none"),
        (["evaluate", NAME], f"Expected a finished run of {NAME}"),
        (["evaluate", NAME, "--run=here"], "Expected the folder of a finished run, with its card.json, received here"),
        (["evaluate", NAME, "--saved-model"], "Expected an exported model"),
        (["predict", NAME, "test:0"], "Expected an exported model"),
        (["export", NAME, "b"], "no further arguments, received b"),
        (["predict", NAME], "required: input"),
        ([], "Expected a command: list, show, train, "),
    ],
)
def test_what_it_says_when_it_cannot(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, _, error = run(capsys, *arguments)
    assert status == 2
    assert error.startswith("error: ")
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_train_leaves_a_run_and_a_model(in_trained):
    (folder,) = (in_trained / "runs" / NAME).iterdir()
    files = {p.name for p in folder.iterdir()}
    pictures = {"curves.png", "confusion_matrix.png"}
    assert files == {
        "config.json",
        "metrics.csv",
        "tensorboard",
        "checkpoint",
        "model.keras",
        "card.json",
        ".lock",
        *pictures,
    }
    for picture in pictures:
        assert np.asarray(Image.open(folder / picture).convert("L")).std() > 10
    with (folder / "metrics.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    card = json.loads((folder / "card.json").read_text())
    assert card["config"]["units"] == 16
    assert card["parameters"] == 4 * 16 * (28 + 16 + 1) + 16 * 10 + 10
    assert card["dataset"]["name"] == "mnist_5k"
    assert card["metrics"]["majority_class"] == 0.1
    assert 0.85 < card["metrics"]["logistic_regression"] < 0.95
    assert card["metrics"]["test_accuracy"] > 0.25
    assert card["saved_model"] == f"saved_models/{NAME}/1"
    exported = json.loads((in_trained / card["saved_model"] / "card.json").read_text())
    assert exported == {name: fact for name, fact in card.items() if name != "saved_model"}


def test_evaluate_gives_the_figure_of_the_card_again(in_trained, data_dir, capsys):
    card = json.loads((in_trained / f"saved_models/{NAME}/1/card.json").read_text())
    for options in ([], ["--saved-model"]):
        status, out, _ = run(capsys, "evaluate", NAME, f"--data-dir={data_dir}", *options)
        assert status == 0
        assert f"test accuracy        {card['metrics']['test_accuracy']:.4f}" in out


def test_export_makes_a_new_version_with_the_same_answers(in_trained, data_dir, capsys):
    status, out, _ = run(capsys, "export", NAME, f"--data-dir={data_dir}", "--saved-models=others")
    assert status == 0
    assert f"SavedModel: others/{NAME}/1" in out
    first, second = (
        json.loads((in_trained / p / NAME / "1/card.json").read_text()) for p in ("saved_models", "others")
    )
    assert first == second


def test_predict_reads_test_examples_and_pictures(in_trained, data_dir, tmp_path, capsys):
    status, out, _ = run(capsys, "predict", NAME, "test:3", f"--data-dir={data_dir}")
    assert status == 0
    assert out.startswith(f"saved_models/{NAME}/1: ")
    image = vanilla_lstm_mnist.load(vanilla_lstm_mnist.Config(), data_dir).test["image"][3, :, :, 0]
    Image.fromarray(np.asarray(image)).save(tmp_path / "digit.png")
    assert run(capsys, "predict", NAME, tmp_path / "digit.png") == (0, out, "")
    assert run(capsys, "predict", NAME, "test:3", tmp_path / "digit.png", f"--data-dir={data_dir}") == (0, 2 * out, "")


def test_predict_says_what_it_expected(in_trained, data_dir, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("L", (50, 50), "white").save(tmp_path / "blank.png")
    for given, message in [
        ("test:1000", "Expected test:N with N from 0 to 999, received 'test:1000'"),
        ("test:x", "Expected test:N"),
        (tmp_path / "none.png", "Expected the path of a picture of one digit or test:N"),
        (tmp_path / "text.png", "Expected the path of a picture of one digit or test:N"),
        (tmp_path / "blank.png", "is blank"),
    ]:
        status, _, error = run(capsys, "predict", NAME, given, f"--data-dir={data_dir}")
        assert status == 2
        assert message in error


def test_resume_keeps_to_the_configuration_of_the_run(in_trained, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (finished,) = (in_trained / "runs" / NAME).iterdir()
    unfinished = tmp_path / "runs" / NAME / "20000101-000000"
    unfinished.mkdir(parents=True)
    (unfinished / "config.json").write_text((finished / "config.json").read_text())
    for asked, expected in (("--units=99", "--units=16"), ("--precision=mixed_bfloat16", "--precision=float32")):
        status, _, error = run(capsys, "train", NAME, "--resume", asked)
        assert status == 2
        assert f"Expected {expected}, with which runs/{NAME}/20000101-000000 was started" in error
    status, out, _ = run(capsys, "train", NAME, "--resume", "--units=16", f"--data-dir={data_dir}")
    assert status == 0
    assert f"Run:        runs/{NAME}/20000101-000000" in out
    metrics = [json.loads((f / "card.json").read_text())["metrics"] for f in (finished, unfinished)]
    assert metrics[0] == metrics[1]


def test_a_run_is_trained_by_one_process(in_trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (finished,) = (in_trained / "runs" / NAME).iterdir()
    folder = tmp_path / "runs" / NAME / "20000101-000000"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text((finished / "config.json").read_text())
    with session.locked(folder):
        status, _, error = run(capsys, "train", NAME, "--resume")
    assert status == 2
    assert "another process is training in it" in error


def test_a_place_that_cannot_be_written_is_told_before_the_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for option in ("--runs=file", "--saved-models=file"):
        status, out, error = run(capsys, "train", NAME, option)
        assert status == 2
        assert error.startswith("error: ")
        assert "epoch" not in out


def test_without_a_network_another_dataset_fails_at_once(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    status, _, error = run(capsys, "train", NAME, "--dataset=fashion_mnist", f"--data-dir={tmp_path}")
    assert status == 2
    assert "--dataset=mnist_5k" in error
    assert not list((tmp_path / "runs" / NAME).iterdir())  # or --resume would take it up
    assert time.monotonic() - started < 15


@pytest.mark.slow
def test_default_budget_reaches_its_figure(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, "train", NAME, f"--data-dir={data_dir}")
    assert status == 0
    (folder,) = (tmp_path / "runs" / NAME).iterdir()
    assert json.loads((folder / "card.json").read_text())["metrics"]["test_accuracy"] >= 0.965
    assert "logistic regression  0.91" in out
