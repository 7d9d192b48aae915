"""A run that was stopped goes on as if nothing had happened."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core import data, session as sessions, training
from recipes._core.errors import RecipeError

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 7  # per epoch


def problem(seed=0):
    """A model with dropout and momentum, and its data: training and validation."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(0)
    columns = {"x": rng.normal(size=(20, 5, 4)).astype("float32"), "y": rng.integers(2, size=20)}
    columns = {name: tf.constant(column) for name, column in columns.items()}

    def noisy(batch, seed):
        return batch["x"] + tf.random.stateless_normal(tf.shape(batch["x"]), seed), batch["y"]

    train = data.Batches(columns, 3, noisy, seed=1)
    validation = data.Batches(columns, 20, lambda batch, seed: (batch["x"], batch["y"]))
    model = archs.vanilla_lstm(4, 6, 2, dropout=0.3, recurrent_dropout=0.2)
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 3 * STEPS)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
    return model, train, validation


def fit(folder, stop_at=None, monkeypatch=None, **options):
    """Trains three epochs; with `stop_at`, until SIGINT arrives in that step. Returns the model's whole state."""
    model, train, validation = problem()
    assert len(train) == STEPS
    session = sessions.Session("test", folder, **options)
    if stop_at is not None:
        stop_in_step(stop_at, monkeypatch)
    history = training.fit(model, train, validation=validation, epochs=3, session=session)
    return [np.asarray(v) for v in (*model.variables, *model.optimizer.variables)], history


def stop_in_step(number, monkeypatch):
    """Lets SIGINT arrive in that step of the next training."""
    steps = iter(range(1, 100))
    step = keras.callbacks.Callback()
    step.on_train_batch_begin = lambda batch, logs=None: next(steps) == number and os.kill(os.getpid(), signal.SIGINT)
    monkeypatch.setattr(training, "_Progress", type("P", (_WithCallback,), {"callback": step}))


class _WithCallback(training._Progress):
    """The progress bar, with one more callback hung on."""

    def on_train_batch_begin(self, batch, logs=None):
        self.callback.on_train_batch_begin(batch, logs)


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return fit(folder)[0], rows(folder)


@pytest.mark.parametrize("stop_at", [1, 5, STEPS, STEPS + 1, 2 * STEPS + 3, 3 * STEPS])
def test_interrupted_and_resumed_equals_uninterrupted(stop_at, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_at, patch)
    state, _ = fit(tmp_path)
    for value, expected in zip(state, whole[0], strict=True):
        np.testing.assert_array_equal(value, expected)
    assert rows(tmp_path) == whole[1]
    assert [row["epoch"] for row in whole[1]] == ["1", "2", "3"]


def test_a_finished_run_is_fitted_no_further(whole, tmp_path):
    fit(tmp_path)
    state, history = fit(tmp_path)
    for value, expected in zip(state, whole[0], strict=True):
        np.testing.assert_array_equal(value, expected)
    assert len(history) == 3


def test_signal_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    fit(tmp_path)
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_a_run_leaves_its_files(tmp_path):
    fit(tmp_path)
    assert keras.saving.load_model(tmp_path / "model.keras").count_params() > 0
    events = list((tmp_path / "tensorboard").glob("events.*"))
    tags = {v.tag for event in tf.compat.v1.train.summary_iterator(str(events[0])) for v in event.summary.value}
    assert {"loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"} <= tags


def test_the_state_of_another_model_is_refused(tmp_path):
    fit(tmp_path)
    _, train, validation = problem()
    other = archs.vanilla_lstm(4, 7, 2)
    other.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    with pytest.raises(RecipeError, match=r"is of another version of this recipe \(.* shape"):
        training.fit(other, train, validation=validation, epochs=4, session=sessions.Session("test", tmp_path))


def test_progress_says_how_much_time_is_left(tmp_path, capsys):
    fit(tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert all("val_accuracy" in line and line.endswith(" left") for line in lines)
    assert lines[-1].endswith("00:00 left")


def test_gpu_where_there_is_none_names_the_extra(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    with pytest.raises(RecipeError, match=r"sees none.*the extra `gpu`.*pip .* install -e '.\[gpu\]'"):
        sessions.use_device("gpu")
    assert sessions.use_device("auto").startswith("CPU")


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RecipeError, match="Expected KERAS_BACKEND=tensorflow for recipes, received jax"):
        sessions.use_device()


def test_precision_becomes_the_policy():
    try:
        sessions.use_device("cpu", "mixed_bfloat16")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_stateful_layers_start_anew_with_each_epoch_and_each_validation_and_are_resumed(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    columns = {"x": tf.constant(rng.normal(size=(12, 5, 4)), tf.float32), "y": tf.constant(rng.integers(2, size=12))}
    batches = data.Batches(columns, 3, lambda batch, seed: (batch["x"], batch["y"]))
    options = {"cell": ["lstm", "gru"], "stateful": True, "batch_size": 3}

    def fit(folder, learning_rate=0.1):
        keras.utils.set_random_seed(0)
        model = archs.stacked_lstm(4, 6, 2, **options)
        model.compile(keras.optimizers.SGD(learning_rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        session = sessions.Session("test", tmp_path / folder)
        return model, training.fit(model, batches, validation=batches, epochs=2, session=session)

    _, history = fit("still", learning_rate=0.0)
    losses = {row[name] for row in history for name in ("loss", "val_loss")}
    assert max(losses) - min(losses) < 1e-6

    model, _ = fit("whole")
    with monkeypatch.context() as patch:
        stop_in_step(6, patch)
        with pytest.raises(KeyboardInterrupt):
            fit("stopped")
    other, _ = fit("stopped")
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
    for value, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_the_time_before_a_stop_counts(tmp_path, monkeypatch):
    clock, save = time.monotonic, training._Keeper.save

    def save_late(keeper):
        monkeypatch.setattr(training.time, "monotonic", lambda: clock() + 1000)
        save(keeper)

    with monkeypatch.context() as patch:
        patch.setattr(training._Keeper, "save", save_late)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path, 5, patch)
    monkeypatch.setattr(training.time, "monotonic", clock)
    _, history = fit(tmp_path)
    assert [row["seconds"] > 1000 for row in history] == [True, False, False]


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(data_dir, tmp_path):
    command = [sys.executable, "-m", "recipes", "train", "vanilla_lstm_mnist", f"--data-dir={data_dir}"]
    settings = ["--epochs=3", "--units=24", "--dropout=0.2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    log = tmp_path / "log"

    def start(*options):
        with log.open("ab") as file:
            return subprocess.Popen([*command, *options], cwd=tmp_path, env=environment, stdout=file, stderr=file)

    assert start(*settings, "--runs=whole").wait() == 0, log.read_text()
    killed = start(*settings, "--runs=killed", "--checkpoint-minutes=0.0005")
    middle = set(range(60, 105))  # of the second epoch, 55 steps long
    while not middle & {int(p.stem[5:]) for p in (tmp_path / "killed").glob("*/*/checkpoint/ckpt-*.index")}:
        assert killed.poll() is None, log.read_text()
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not list((tmp_path / "killed").glob("*/*/card.json"))
    assert start("--resume", "--runs=killed").wait() == 0, log.read_text()

    (a,), (b,) = ([*(tmp_path / name).glob("*/*")] for name in ("whole", "killed"))
    models = [keras.saving.load_model(folder / "model.keras") for folder in (a, b)]
    for value, expected in zip(models[1].get_weights(), models[0].get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert rows(a) == rows(b)
    assert json.loads((a / "card.json").read_text())["metrics"] == json.loads((b / "card.json").read_text())["metrics"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "events" not in path.name}


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The folder of a run that was stopped in its second epoch."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fit(tmp_path, STEPS + 3, patch)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [("*.index", cut), ("*.data-*", cut), ("*.data-*", pathlib.Path.unlink)],
)
def test_a_damaged_checkpoint_is_named_and_the_run_stays_as_it_is(pattern, damage, stopped):
    (file,) = (stopped / "checkpoint").glob(pattern)
    damage(file)
    before = contents(stopped)
    with pytest.raises(RecipeError, match=rf"checkpoint/ckpt-{STEPS + 3} is damaged \(.*\)\. Train anew"):
        fit(stopped)
    assert contents(stopped) == before


@pytest.mark.parametrize("rows", ["", "epoch,loss\n1", "epoch,loss\n1,x", "epoch,loss\n2,0.5", None])
def test_damaged_metrics_are_named_and_the_run_stays_as_it_is(rows, stopped):
    file = stopped / "metrics.csv"
    file.unlink() if rows is None else file.write_text(rows)
    before = contents(stopped)
    with pytest.raises(RecipeError, match=r"metrics\.csv is damaged: expected a row for each of 1 epochs \("):
        fit(stopped)
    assert contents(stopped) == before


def test_metrics_completed_by_hand_are_taken(stopped, whole):
    lines = (stopped / "metrics.csv").read_text().splitlines()
    (stopped / "metrics.csv").write_text(f"{lines[0]}\n1{',nan' * lines[0].count(',')}\n")
    state, history = fit(stopped)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert np.isnan(history[0]["loss"])
    for value, expected in zip(state, whole[0], strict=True):
        np.testing.assert_array_equal(value, expected)


def test_one_checkpoint_is_kept_and_nothing_of_one_that_was_cut_off(stopped):
    for name in ("ckpt-99_temp", "ckpt-99.data-00000-of-00001"):
        (stopped / "checkpoint" / name).mkdir() if "temp" in name else (stopped / "checkpoint" / name).write_text("")
    assert sessions.newest_checkpoint(stopped) == (str(stopped / f"checkpoint/ckpt-{STEPS + 3}"), STEPS + 3)
    fit(stopped)
    names = {path.name for path in (stopped / "checkpoint").iterdir()}
    assert names == {f"ckpt-{3 * STEPS}.index", f"ckpt-{3 * STEPS}.data-00000-of-00001"}


def test_resume_takes_the_newest_run_with_a_checkpoint_that_is_free(tmp_path):
    for name in ("1", "2", "3", "4"):
        (tmp_path / "r" / name / "checkpoint").mkdir(parents=True)
        (tmp_path / "r" / name / "config.json").write_text("{}")
    for name in ("1", "2", "4"):
        (tmp_path / "r" / name / "checkpoint/ckpt-10.index").write_text("")

    def found():
        return sessions.find_folder(tmp_path, "r", finished=False).name

    assert found() == "4"
    with sessions.locked(tmp_path / "r/4"):
        assert found() == "2"
        (tmp_path / "r/2/card.json").write_text("{}")
        assert found() == "1"
        (tmp_path / "r/1/card.json").write_text("{}")
        assert found() == "3"
        with sessions.locked(tmp_path / "r/3"):
            assert found() == "4"
