"""The command line, end to end on a small budget, and what it says when it cannot."""

import csv
import io
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from recipes import vanilla_lstm_mnist
from recipes._core import page
from recipes._core.command import cli
from recipes._core.errors import RecipeError
from recipes._core.train import run as runner, session, training

NAME = "vanilla_lstm_mnist"
ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(capsys, *arguments):
    """Exit status, stdout and stderr of a command."""
    capsys.readouterr()
    status = cli.main([str(a) for a in arguments])
    return status, *capsys.readouterr()


def test_list_and_show_are_quick(capsys):
    started = time.monotonic()
    status, out, _ = run(capsys, "list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == page.names()
    assert NAME in page.names()
    status, out, _ = run(capsys, "show", NAME)
    assert status == 0
    assert f"python -m recipes train {NAME}" in out
    assert "units: Count = 128" in out
    assert "def " not in out
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", NAME], "Did you mean train?"),
        (["train", "vanila_lstm_mnist"], f"received 'vanila_lstm_mnist'. Did you mean {NAME} or "),
        (["show", "something"], "There are: attention_captioner_scenes, "),
        (["train", NAME, "--unts=3"], "received '--unts=3'. Did you mean units?"),
        (["train", NAME, "--units"], "Expected --units=value, received '--units'"),
        (["train", NAME, "--units=3.5"], "Expected --units to be a whole number, received '3.5'"),
        (["train", NAME, "--units=0"], "Expected `units` to be a positive integer, received 0"),
        (["train", NAME, "--dropout=much"], "Expected --dropout to be a number, received 'much'"),
        (["train", NAME, "--dropout=1"], "rate in [0, 1), received 1.0"),
        (["train", NAME, "--epochs=0"], "Expected `epochs` to be a positive integer, received 0"),
        (["train", NAME, "--learning_rate=inf"], "`learning_rate` to be a positive number, received inf"),
        (["train", NAME, "--seed=5000000000"], "`seed` to be an integer from 0 to 4294967295"),
        (["evaluate", NAME, "--saved-model", "--run=x"], "Expected --run or --saved-model, received both"),
        (["train", NAME, "--learning_rate=nan"], "`learning_rate` to be a positive number, received nan"),
        (["train", NAME, "--dataset=mnits"], "to be one of 'mnist_5k', 'mnist', 'fashion_mnist', received 'mnits'"),
        (["train", NAME, "--cell=lsmt"], "received 'lsmt'. Did you mean lstm"),
        (["train", NAME, "--device=tpu"], "invalid choice: 'tpu'"),
        (["train", NAME, "--resume"], f"Expected an unfinished run of {NAME} in runs/{NAME}, found none"),
        (["evaluate", NAME], f"Expected a finished run of {NAME}"),
        (["evaluate", NAME, "--run=here"], "Expected the folder of a finished run, with its card.json, received here"),
        (["evaluate", NAME, "--saved-model"], "Expected an exported model"),
        (["predict", NAME, "test:0"], "Expected an exported model"),
        (["export", NAME, "b"], "no further arguments, received b"),
        (["predict", NAME], "required: input"),
        ([], "Expected a command: list, show, new, train, "),
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
        "data.json",
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
    exported = json.loads((in_trained / f"saved_models/{NAME}/1/card.json").read_text())
    assert exported.pop("run") == f"runs/{NAME}/{folder.name}"
    assert set(exported.pop("signatures")) == {"serving_default", "logits"}
    for facts in (card, exported):
        sample = facts.pop("sample")
        assert sample["serving_default"]["answer"]["label"][0] in "0123456789"
    assert exported == card


def test_evaluate_gives_the_figure_of_the_card_again(in_trained, data_dir, capsys):
    card = json.loads((in_trained / f"saved_models/{NAME}/1/card.json").read_text())
    for options in ([], ["--saved-model"]):
        status, out, _ = run(capsys, "evaluate", NAME, f"--data-dir={data_dir}", *options)
        assert status == 0
        assert f"test accuracy        {card['metrics']['test_accuracy']:.4f}" in out


def test_export_needs_no_dataset_and_makes_a_new_version_with_the_same_answers(in_trained, data_dir, capsys):
    status, out, _ = run(capsys, "export", NAME, "--data-dir=nowhere", "--saved-models=others")
    assert status == 0
    assert f"SavedModel: others/{NAME}/1" in out
    assert not (in_trained / "nowhere").exists()
    first, second = (
        json.loads((in_trained / p / NAME / "1/card.json").read_text()) for p in ("saved_models", "others")
    )
    assert first == second


def test_a_training_shows_one_prediction(in_trained, data_dir, tmp_path, monkeypatch, capsys):
    commands = page.quiet_import("recipes._core.command.commands")
    (finished,) = (in_trained / "runs" / NAME).iterdir()

    def finish(recipe, cfg, session, callbacks):
        shutil.copytree(finished, session.folder, dirs_exist_ok=True)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands.runner, "_run", finish)
    status, out, _ = run(capsys, "train", NAME)
    assert (status, out.count("Prediction: the first test example is ")) == (0, 1)
    status, out, _ = run(capsys, "train", NAME, "--export")
    assert (status, out.count("Prediction: the first test example is ")) == (0, 1)
    assert "SavedModel: " in out


@pytest.mark.slow
def test_promote_serves_a_run_and_an_older_one_again(in_trained, tmp_path, monkeypatch, capsys, data_dir):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(in_trained / "runs", tmp_path / "runs")
    (older,) = (tmp_path / "runs" / NAME).iterdir()
    settings = ["--units=4", "--epochs=1", "--batch_size=500", f"--data-dir={data_dir}"]
    status, out, _ = run(capsys, "train", NAME, *settings)
    assert status == 0
    newer = max((tmp_path / "runs" / NAME).iterdir())
    assert out.endswith(f"Not served yet. To serve it: python -m recipes promote runs/{NAME}/{newer.name}\n")
    assert not (tmp_path / "saved_models").exists()
    for version, folder in enumerate((newer, older, newer), 1):
        assert run(capsys, "promote", folder.relative_to(tmp_path))[0] == 0
        exported = json.loads((tmp_path / f"saved_models/{NAME}/{version}/card.json").read_text())
        assert exported["run"] == f"runs/{NAME}/{folder.name}"
        assert exported["config"]["units"] == (4 if folder == newer else 16)
    status, _, error = run(capsys, "promote", "runs")
    assert (status, error) == (2, "error: Expected the folder of a finished run, received runs.\n")


def test_a_card_is_never_given_to_other_weights(in_trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(in_trained / "runs", tmp_path / "runs")
    (file,) = (tmp_path / "runs" / NAME).glob("*/model.keras")
    model = keras.saving.load_model(file)
    model.set_weights([0 * weight for weight in model.get_weights()])
    model.save(file)
    status, _, error = run(capsys, "export", NAME)
    assert status == 2
    assert "model.keras was changed after its training" in error
    assert not list((tmp_path / "saved_models").glob("*/*"))


def test_other_data_are_told_in_evaluate_and_refused_in_resume(unfinished, in_trained, data_dir, capsys, tmp_path):
    data = json.loads((unfinished / "data.json").read_text())
    data["dataset"]["sha256"] = "0" * 64
    (unfinished / "data.json").write_text(json.dumps(data))
    status, _, error = run(capsys, "train", NAME, "--resume", f"--data-dir={data_dir}")
    assert status == 2
    assert "Expected the data with which " in error
    assert "mnist_5k 1.0.0 with sha256 000000000000, received mnist_5k 1.0.0 with sha256 " in error
    (source,) = (in_trained / "runs" / NAME).iterdir()
    card = json.loads((source / "card.json").read_text())
    card["dataset"]["sha256"] = "0" * 64
    (unfinished / "card.json").write_text(json.dumps(card))
    status, out, _ = run(capsys, "evaluate", NAME, f"--data-dir={data_dir}")
    assert status == 0
    assert "These are other data than it was trained on, mnist_5k 1.0.0." in out


PAGE = (ROOT / "recipes" / f"{NAME}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def load(", "def load_data(", "; it has no load."),
        ("class Task(SequenceClassification)", "class Task", "Expected `Task` of "),
        ("    sequences = ", "    show = SequenceClassification.__base__.show\n    sequences = ", "; it has no show."),
        ("@settings\n", "", "Expected `Config` of "),
        ("def build_model(config, task)", "def build_model(config)", "to be a function of two arguments"),
        ("    seed: Seed = 0\n", "", "to have the settings seed"),
        ("DATASETS = {", "PUBLISHED = [1]\nDATASETS = {", "to be dataset -> source -> figure, received [1]"),
    ],
)
def test_a_page_that_lacks_something_is_told_before_the_training(old, new, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert old in PAGE
    (tmp_path / "my_page.py").write_text(PAGE.replace(old, new, 1))
    status, _, error = run(capsys, "train", "my_page.py")
    assert status == 2
    assert "my_page.py" in error
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_page_that_lies_anywhere_is_trained_and_asked(tmp_path, monkeypatch, capsys, data_dir):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_page.py").write_text(PAGE)
    settings = ["--units", "4", "--epochs=1", "--export", f"--data-dir={data_dir}"]
    assert run(capsys, "train", "my_page.py", *settings)[0] == 0
    assert (tmp_path / "saved_models/my_page/1/saved_model.pb").exists()
    assert run(capsys, "predict", "my_page.py", "test:0", f"--data-dir={data_dir}")[0] == 0
    assert run(capsys, "evaluate", "my_page.py", "--saved-model", f"--data-dir={data_dir}")[0] == 0


@pytest.mark.slow
def test_several_seeds_are_trained_resumed_and_summed_up(tmp_path, monkeypatch, capsys, data_dir):
    monkeypatch.chdir(tmp_path)
    command = ["train", "vanilla_lstm_mnist", "--units=4", f"--data-dir={data_dir}", "--device=cpu"]
    assert cli.main([*command, "--epochs=1", "--seeds=3,4"]) == 0
    out = capsys.readouterr().out
    cards = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("runs/*/*/card.json"))]
    assert sorted(card["config"]["seed"] for card in cards) == [3, 4]
    low, high = sorted(card["metrics"]["test_accuracy"] for card in cards)
    assert f"{(low + high) / 2:.4f} ({low:.4f} to {high:.4f})" in out
    assert cli.main([*command, "--epochs=1", "--seeds=4,5,3", "--resume"]) == 0
    out = capsys.readouterr().out
    assert out.count("is finished") == 2
    assert "3 seeds: mean" in out
    assert len(list(tmp_path.glob("runs/*/*/card.json"))) == 3
    for more, message in ((["--seed=1"], "--seed or --seeds"), (["--export"], "--export or --seeds")):
        assert cli.main([*command, "--seeds=1,2", *more]) == 2
        assert message in capsys.readouterr().err
    assert cli.main([*command, "--seeds=one"]) == 2
    assert "Expected --seeds to be whole numbers" in capsys.readouterr().err


def test_the_help_of_train_lists_the_settings_of_a_recipe(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", NAME, "--help"])
    assert "shift: between(int, 0, 27) = 2" in capsys.readouterr().out


def test_predict_reads_test_examples_and_pictures(in_trained, data_dir, tmp_path, capsys):
    status, out, _ = run(capsys, "predict", NAME, "test:3", f"--data-dir={data_dir}")
    assert status == 0
    first, answer = out.splitlines()
    assert first == f"Asking saved_models/{NAME}/1"
    test = vanilla_lstm_mnist.load(vanilla_lstm_mnist.Config(), data_dir).test
    answer, truth = answer.removeprefix("test:3: ").split(", in truth ")
    assert truth == str(int(test["label"][3]))
    digit = tmp_path / "digit.png"
    Image.fromarray(np.asarray(test["rows"][3])).save(digit)
    assert run(capsys, "predict", NAME, digit) == (0, f"{first}\n{digit}: {answer}\n", "")
    status, both, _ = run(capsys, "predict", NAME, "test:3", digit, f"--data-dir={data_dir}")
    assert (status, both) == (0, f"{out}{digit}: {answer}\n")


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


def test_predict_prints_json_of_inputs_from_a_file_and_stdin(in_trained, data_dir, tmp_path, monkeypatch, capsys):
    test = vanilla_lstm_mnist.load(vanilla_lstm_mnist.Config(), data_dir).test
    digit = tmp_path / "d\N{LATIN SMALL LETTER I WITH DIAERESIS}git.png"
    Image.fromarray(np.asarray(test["rows"][3])).save(digit)
    (tmp_path / "inputs.txt").write_text(f"\ufefftest:3\r\n\n{digit}", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"test:4\n"), encoding="utf-8"))
    inputs = [f"@{tmp_path / 'inputs.txt'}", "-", "test:5"]
    status, out, error = run(capsys, "predict", NAME, *inputs, "--json", f"--data-dir={data_dir}")
    assert (status, error) == (0, f"Asking saved_models/{NAME}/1\n")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["input"] for line in lines] == ["test:3", str(digit), "test:4", "test:5"]
    assert [line.get("truth") for line in lines] == [
        None if number is None else str(int(test["label"][number])) for number in (3, None, 4, 5)
    ]
    for line in lines:
        assert line["answer"].keys() == {"label", "probabilities", "logits"}
        assert line["answer"]["label"] == str(np.argmax(line["answer"]["probabilities"]))
        assert len(line["answer"]["logits"]) == 10
    assert lines[0]["answer"] == lines[1]["answer"] != lines[2]["answer"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Expected a file of inputs after @, received '@inputs.txt' (No such file or directory). A text that "),
        (b"\n \n", "Expected an input on each line of inputs.txt, received none."),
        (b"test:1\n\xff", "Expected UTF-8 in inputs.txt, line 2, received the byte 0xff."),
        (b"test:1\n\ntest:1000", "inputs.txt, line 3: Expected test:N with N from 0 to 999, received 'test:1000'."),
    ],
)
def test_predict_says_where_an_input_of_a_file_is_wrong(
    content, message, in_trained, data_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "inputs.txt").write_bytes(content)
    where = [f"--saved-models={in_trained / 'saved_models'}", f"--data-dir={data_dir}"]
    status, out, error = run(capsys, "predict", NAME, "@inputs.txt", "--json", *where)
    assert (status, out) == (2, "")
    assert error.startswith(f"error: {message}")
    assert len(error.splitlines()) == 1


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


@pytest.mark.parametrize("place", ["file", "file/a", "/proc/a", "link"])
@pytest.mark.parametrize("option", ["--runs", "--saved-models"])
def test_a_place_that_cannot_be_written_is_told_before_the_training(option, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    status, out, error = run(capsys, "train", NAME, "--export", f"{option}={place}")
    assert (status, out) == (2, "")
    assert error.startswith(f"error: Expected a folder that can be written to, received {place}")
    assert len(error.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


@pytest.mark.parametrize("option", ["--runs", "--saved-models"])
def test_a_folder_with_a_name_that_tensorflow_cannot_read_is_told_before_the_training(option, capsys):
    status, out, error = run(capsys, "train", NAME, f"{option}=my [old] models")
    assert (status, out) == (2, "")
    assert error == "error: Expected a folder without any of *?[]\\ in its name, received 'my [old] models'.\n"


def test_where_to_export_is_tried_before_the_model_is_read(in_trained, capsys):
    (in_trained / "file").write_text("")
    status, _, error = run(capsys, "export", NAME, "--saved-models=file", "--run=nowhere")
    assert status == 2
    assert "Expected a folder that can be written to, received file " in error


@pytest.mark.slow
def test_every_path_may_begin_with_a_tilde(in_trained, tmp_path, monkeypatch, capsys, data_dir):
    (folder,) = (in_trained / "runs" / NAME).iterdir()
    for name in ("runs", "saved_models"):
        shutil.copytree(in_trained / name, tmp_path / name)
    (tmp_path / "data").symlink_to(data_dir)
    Image.new("L", (28, 28), "white").save(tmp_path / "digit.png")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    where = ["--runs=~/runs", "--saved-models=~/saved_models", "--data-dir=~/data"]
    for command in (
        ["evaluate", NAME, *where],
        ["evaluate", NAME, "--saved-model", *where],
        ["evaluate", NAME, f"--run=~/runs/{NAME}/{folder.name}", *where],
        ["predict", NAME, "~/digit.png", "test:0", *where],
        ["report", "--runs=~/runs", "--output=~/page.html"],
        ["keep", f"~/runs/{NAME}/{folder.name}", "--cards=~/cards"],
        ["report", "--markdown", "--cards=~/cards"],
    ):
        assert run(capsys, *command)[0] == 0, command
    assert (tmp_path / "page.html").is_file()
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.slow
def test_a_folder_of_the_project_may_have_any_name(in_trained, tmp_path, monkeypatch, capsys, data_dir):
    folder = tmp_path / "my [old] *project?"
    shutil.copytree(in_trained / "runs", folder / "runs")
    monkeypatch.chdir(folder)
    next((folder / "runs" / NAME).glob("*/card.json")).unlink()
    for command in (["train", NAME, "--resume", "--export"], ["evaluate", NAME, "--saved-model"]):
        status, _, error = run(capsys, *command, f"--data-dir={data_dir}")
        assert (status, error) == (0, "")


@pytest.fixture
def unfinished(in_trained, tmp_path, monkeypatch):
    """The folder of a run that has a checkpoint and no card, in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(in_trained / "runs", tmp_path / "runs")
    (folder,) = (tmp_path / "runs" / NAME).iterdir()
    (folder / "card.json").unlink()
    return folder


def lacks_a_setting(saved):
    saved["config"]["unitz"] = saved["config"].pop("units")


def has_another_shape(saved):
    saved["config"]["units"] = 17


def has_no_value(saved):
    saved["config"]["units"] = "many"


@pytest.mark.parametrize("change", [lacks_a_setting, has_another_shape, has_no_value, dict.clear])
def test_a_run_of_another_version_is_told_and_stays(change, unfinished, data_dir, capsys):
    saved = json.loads((unfinished / "config.json").read_text())
    change(saved)
    (unfinished / "config.json").write_text(json.dumps(saved))
    before = {path for path in unfinished.rglob("*") if "events" not in path.name}
    status, _, error = run(capsys, "train", NAME, "--resume", f"--data-dir={data_dir}")
    assert status == 2
    assert error.startswith(f"error: runs/{NAME}/{unfinished.name} is of another version of this recipe (")
    assert len(error.splitlines()) == 1
    assert {path for path in unfinished.rglob("*") if "events" not in path.name} == before


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_configuration_is_named_and_the_run_stays(content, unfinished, capsys):
    (unfinished / "config.json").write_text(content)
    status, _, error = run(capsys, "train", NAME, "--resume", "--units=16")
    assert status == 2
    assert f"{unfinished.name}/config.json is damaged: expected " in error
    assert (unfinished / "checkpoint").exists()


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_a_training_that_goes_on_later(tmp_path, monkeypatch, data_dir, capsys):
    monkeypatch.chdir(tmp_path)
    limits, epoch = resource.getrlimit(resource.RLIMIT_FSIZE), training._Progress.epoch

    def fill(bar, row):
        epoch(bar, row)
        if row["epoch"] == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    settings = ["--units=16", "--epochs=3", "--batch_size=500", f"--data-dir={data_dir}"]
    try:
        with monkeypatch.context() as patch:
            patch.setattr(training._Progress, "epoch", fill)
            status, _, error = run(capsys, "train", NAME, *settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2
    (folder,) = (tmp_path / "runs" / NAME).iterdir()
    assert error.startswith(f"error: The training in runs/{NAME}/{folder.name} stopped: runs/{NAME}/{folder.name}/")
    assert error.endswith("; File too large. Mend that, and go on from its checkpoint with --resume.\n")
    assert len(error.splitlines()) == 1
    assert session.newest_checkpoint(folder)[1] == 7
    status, out, _ = run(capsys, "train", NAME, "--resume", f"--data-dir={data_dir}")
    assert status == 0
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch")] == ["2/3", "3/3"]


def test_a_run_that_is_removed_while_it_is_trained_is_told(unfinished, monkeypatch, capsys):
    def lose(recipe, cfg, session, callbacks):
        shutil.rmtree(session.folder)
        (session.folder / "metrics.csv").write_text("")

    monkeypatch.setattr(runner, "_run", lose)
    status, _, error = run(capsys, "train", NAME, "--resume")
    assert status == 2
    assert error.startswith(f"error: runs/{NAME}/{unfinished.name} was removed while the training wrote to it (")


def test_a_start_that_fails_leaves_no_run_and_a_resumed_one_is_never_removed(unfinished, monkeypatch, capsys):
    def fail(recipe, cfg, session, callbacks):
        raise OSError("no data")

    monkeypatch.setattr(runner, "_run", fail)
    shutil.rmtree(unfinished / "checkpoint")
    for options in ([], ["--resume"]):
        status, _, error = run(capsys, "train", NAME, *options)
        assert (status, error) == (2, "error: no data\n")
    assert list((unfinished.parent).iterdir()) == [unfinished]
    assert (unfinished / "metrics.csv").exists()


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("pattern", "damage", "commands", "message"),
    [
        ("runs/*/*/card.json", halved, ["evaluate", "export"], "card.json is damaged: expected JSON, but "),
        ("runs/*/*/model.keras", halved, ["evaluate", "export"], "model.keras was changed after its training"),
        ("runs/*/*/data.json", pathlib.Path.unlink, ["evaluate", "export"], "is of another version of this recipe"),
        ("saved_models/*/1/card.json", halved, ["predict"], "card.json is damaged: expected JSON, but "),
        ("saved_models/*/1/saved_model.pb", halved, ["predict"], "Expected a whole SavedModel in saved_models/"),
        ("saved_models/*/1/variables/*.data*", halved, ["predict"], "Expected a whole SavedModel in saved_models/"),
        ("saved_models/*/1/variables/*.index", pathlib.Path.unlink, ["predict"], "Expected a whole SavedModel in "),
    ],
)
def test_a_damaged_run_or_export_is_named(
    pattern, damage, commands, message, in_trained, tmp_path, monkeypatch, capsys, data_dir
):
    monkeypatch.chdir(tmp_path)
    for name in ("runs", "saved_models"):
        shutil.copytree(in_trained / name, tmp_path / name)
    (file,) = tmp_path.glob(pattern)
    damage(file)
    for command in commands:
        inputs = ["test:0"] if command == "predict" else []
        status, _, error = run(capsys, command, NAME, *inputs, f"--data-dir={data_dir}")
        assert status == 2
        assert message in error
        assert len(error.splitlines()) == 1


def test_an_input_is_a_path_or_the_text_that_was_meant(tmp_path, monkeypatch):
    as_meant = page.quiet_import("recipes._core.command.commands")._as_meant
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").write_text("")
    assert as_meant("~/a") == str(tmp_path / "a")
    for text in ("~/b", "~", "", "test:0", "ä", "x" * 10_000):
        assert as_meant(text) == text
    assert as_meant("ä".encode().decode("ascii", "surrogateescape")) == "ä"
    with pytest.raises(RecipeError, match="Expected a text in UTF-8, received"):
        as_meant(b"\xff".decode("ascii", "surrogateescape"))


def test_a_run_of_another_recipe_is_told(in_trained, capsys):
    (folder,) = (in_trained / "runs" / NAME).iterdir()
    status, _, error = run(capsys, "evaluate", "stacked_lstm_sunspots", f"--run={folder}")
    assert status == 2
    assert error == f"error: Expected what stacked_lstm_sunspots trained, received {folder}, which is of {NAME}.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", "line 1: invalid syntax"),
        (
            "import a_package_that_is_not_there\n",
            "No module named 'a_package_that_is_not_there'. To run recipes, install",
        ),
    ],
)
def test_a_page_that_cannot_be_imported_is_told_in_one_line(text, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "broken_page.py").write_text(text)
    monkeypatch.setattr(page, "PAGES", tmp_path / "recipes")
    monkeypatch.setattr("recipes.__path__", [str(tmp_path / "recipes")])
    status, _, error = run(capsys, "train", "broken_page")
    assert status == 2
    assert message in error
    assert len(error.splitlines()) == 1
    (tmp_path / "recipes" / "whole_page.py").write_text('"""Whole."""\nclass Config:\n    pass\n')
    status, out, error = run(capsys, "list")
    assert status == 0
    assert out.endswith("whole_page  Whole.\n")
    assert error.startswith("skipped: ")


def test_an_import_that_no_package_would_mend_keeps_its_traceback(tmp_path, monkeypatch):
    (tmp_path / "wrong_page.py").write_text("import recipes._core.a_module_that_is_not_there\n")
    monkeypatch.setattr(page, "PAGES", tmp_path)
    monkeypatch.setattr("recipes.__path__", [str(tmp_path), *page.quiet_import("recipes").__path__])
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        cli.main(["train", "wrong_page"])


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


@pytest.mark.slow
def test_a_locale_without_utf_8_loses_nothing(data_dir, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    environment |= {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def call(*arguments):
        command = [sys.executable, "-m", "recipes", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        assert done.returncode == 0, (arguments, done.stderr.decode(errors="replace")[-2000:])
        return done.stdout

    name = "generative_lstm_python"  # whose card holds every character, and one that stands for all others
    settings = ["--units=4", "--features=2", "--epochs=1", "--window=500", "--batch_size=64"]
    call("train", name, *settings, f"--data-dir={data_dir}", "--export")
    (run_folder,) = (tmp_path / "runs" / name).iterdir()
    assert "\N{REPLACEMENT CHARACTER}" in json.loads((run_folder / "card.json").read_text(encoding="utf-8"))["labels"]
    call("evaluate", name, f"--data-dir={data_dir}")
    call("predict", name, "class \N{LATIN SMALL LETTER A WITH DIAERESIS}", f"--data-dir={data_dir}")
    call("show", "vanilla_lstm_smartwatch")
    call("report")
    call("keep", str(run_folder))


@pytest.mark.slow
def test_trainings_that_begin_at_once_on_a_fresh_data_folder_all_end(tmp_path):
    command = [sys.executable, "-m", "recipes", "train", NAME, "--units=4", "--epochs=1", "--data-dir=data", "--export"]
    options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "stderr": subprocess.PIPE}
    trainings = [subprocess.Popen(command, stdout=subprocess.DEVNULL, **options) for _ in range(3)]
    for training_ in trainings:
        error = training_.communicate()[1]
        assert training_.returncode == 0, error
    assert len(list((tmp_path / "runs" / NAME).glob("*/card.json"))) == 3
    assert {path.name for path in (tmp_path / "saved_models" / NAME).iterdir()} == {"1", "2", "3"}
