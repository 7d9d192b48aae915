"""A run that was stopped goes on as if nothing had happened."""

import collections
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
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.train import events, run, session as sessions, training

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

    train = batching.Batches(columns, 3, noisy, seed=1)
    validation = batching.Batches(columns, 20, lambda batch, seed: (batch["x"], batch["y"]))
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


@pytest.mark.sampled(3)
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


def points(folder):
    """Step -> value of each figure in TensorBoard's files, by run and tag."""
    found = collections.defaultdict(dict)
    for path in sorted(folder.glob("tensorboard/*/events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found[path.parent.name, value.tag][event.step] = tf.make_ndarray(value.tensor).item()
    return found


@pytest.mark.sampled(2)
@pytest.mark.parametrize("stop_at", [None, STEPS + 3])
def test_a_chart_of_tensorboard_has_a_figure_in_training_and_validation(stop_at, tmp_path, monkeypatch):
    if stop_at:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            fit(tmp_path, stop_at, patch)
    fit(tmp_path)
    found = points(tmp_path)
    figures = {"epoch_loss", "epoch_accuracy"}
    assert {tag for run, tag in found if run == "validation"} == figures
    assert {tag for run, tag in found if run == "train"} == figures | {
        *("epoch_learning_rate", "epoch_seconds", "batch_loss", "batch_accuracy")
    }
    written = rows(tmp_path)
    for side, prefix in (("train", ""), ("validation", "val_")):
        curve = [(epoch, pytest.approx(float(row[f"{prefix}loss"]))) for epoch, row in enumerate(written, 1)]
        assert sorted(found[side, "epoch_loss"].items()) == curve
    steps = found["train", "batch_loss"]
    assert list(steps) == list(range(1, 3 * STEPS + 1))
    for epoch in (1, 2, 3):  # the mean of the epoch so far, at its end
        assert steps[epoch * STEPS] == pytest.approx(found["train", "epoch_loss"][epoch])


def test_long_epochs_have_a_few_points_in_tensorboard(tmp_path):
    written = events.Events(tmp_path / "tensorboard", steps_per_epoch=1000, step=990)
    for batch in range(990, 2000):
        written.on_train_batch_end(batch, {"loss": 0.5})
    written.append({"epoch": 2, "loss": 0.5, "val_loss": 0.6})
    assert list(points(tmp_path)["train", "batch_loss"]) == list(range(1000, 2001, 50))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dropout", [0.3, 0.0])  # other shapes; and fewer variables
def test_the_state_of_another_model_is_refused(dropout, tmp_path):
    fit(tmp_path)
    _, train, validation = problem()
    other = archs.vanilla_lstm(4, 7, 2, dropout=dropout, recurrent_dropout=0.2)
    other.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    with pytest.raises(RecipeError, match=r"is of another version of this recipe \("):
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
    batches = batching.Batches(columns, 3, lambda batch, seed: (batch["x"], batch["y"]))
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


@pytest.mark.sampled(3)
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


def padded(batch_size, folder):
    """Trains a tagger on sequences of very different lengths; returns its figures, itself and all data."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(1)
    lengths = np.array([1, 9, 1, 8, 1, 9, 2, 1], np.int32)
    columns = {"x": rng.normal(size=(8, 9, 3)).astype("float32"), "n": lengths, "y": rng.integers(2, size=(8, 9))}
    columns = {name: tf.constant(column) for name, column in columns.items()}
    train = batching.Batches(columns, 4, lambda one, _: ({"inputs": one["x"], "lengths": one["n"]}, one["y"]), seed=1)
    model = archs.stacked_lstm(3, [4], 2, return_sequences=True, lengths=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    validation = batching.Batches(columns, batch_size, train.transform)
    session = sessions.Session("test", folder)
    history = training.fit(model, train, validation=validation, epochs=1, session=session)
    return history[0], model, next(iter(batching.Batches(columns, 8, train.transform).epoch()))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_validation_counts_time_steps_whatever_the_batches(batch_size, tmp_path):
    figures, model, (inputs, targets) = padded(batch_size, tmp_path)
    chances = keras.ops.log_softmax(model(inputs)).numpy()
    costs = -np.take_along_axis(chances, targets.numpy()[..., None], axis=-1)[..., 0]
    inside = np.arange(9) < inputs["lengths"].numpy()[:, None]
    np.testing.assert_allclose(figures["val_loss"], costs[inside].mean(), rtol=1e-5)
    right = chances.argmax(-1) == targets.numpy()
    np.testing.assert_allclose(figures["val_accuracy"], right[inside].mean(), rtol=1e-5)


def overfitted(folder, stop_at=None, monkeypatch=None, *, epochs=12, callbacks=(), **options):
    """Trains with labels at random, so that the validation soon becomes worse; returns history and model."""
    model, train, validation = problem()
    model.compile(keras.optimizers.Adam(0.05), model.loss, metrics=["accuracy"])
    validation = batching.Batches(validation.columns, 20, lambda batch, _: (batch["x"], 1 - batch["y"]))
    if stop_at is not None:
        stop_in_step(stop_at, monkeypatch)
    session = sessions.Session("test", folder)
    return training.fit(
        model, train, validation=validation, epochs=epochs, session=session, callbacks=callbacks, **options
    ), model


def test_the_best_epoch_is_kept_and_patience_ends_the_training(tmp_path):
    (tmp_path / "a").mkdir()
    history, model = overfitted(tmp_path / "a", patience=3)
    losses = [row["val_loss"] for row in history]
    best = int(np.argmin(losses))
    assert len(history) == best + 4 < 12
    assert training.kept_epoch(history, patience=3) == best + 1
    (tmp_path / "b").mkdir()
    _, expected = overfitted(tmp_path / "b", epochs=best + 1)
    for value, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(value, other)
    kept = keras.saving.load_model(tmp_path / "a" / "model.keras")
    np.testing.assert_array_equal(kept.get_weights()[0], model.get_weights()[0])


def test_a_training_with_patience_and_callbacks_is_resumed_to_the_same(tmp_path, monkeypatch):
    def callbacks():
        return [keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5)]

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    options = {"patience": 7, "monitor": "val_accuracy"}
    whole, expected = overfitted(tmp_path / "whole", callbacks=callbacks(), **options)
    assert len({row["learning_rate"] for row in whole}) > 1
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        overfitted(tmp_path / "stopped", 2 * STEPS + 2, patch, callbacks=callbacks(), **options)
    _, model = overfitted(tmp_path / "stopped", callbacks=callbacks(), **options)
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
    for value, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(value, other)


def test_a_callback_ends_the_training_and_sees_the_validation(tmp_path):
    seen = []
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, logs["val_loss"])))
    begun = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: seen.append("begin"))
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True)
    history, _ = overfitted(tmp_path, callbacks=[begun, record, stopping])
    best = int(np.argmin([row["val_loss"] for row in history]))
    assert len(history) == best + 3
    assert seen == ["begin", *((row["epoch"] - 1, row["val_loss"]) for row in history)]


def test_a_figure_that_is_not_there_is_told_before_the_training(tmp_path):
    with pytest.raises(RecipeError, match=r"monitor to be a figure of an epoch, of .*val_loss.*, received 'val_acc'"):
        overfitted(tmp_path, monitor="val_acc")
    assert not (tmp_path / "metrics.csv").exists()


def test_weights_to_start_from_are_taken_by_name_and_shape():
    start, model = archs.stacked_lstm(3, [4, 5], 2), archs.stacked_lstm(3, [4, 5], 7)
    before = [layer.get_weights() for layer in model.layers]
    words = run.take_weights(model, start)
    assert words == "2 of 3 layers with weights, not outputs"
    for layer, other, old in zip(model.layers, start.layers, before, strict=True):
        expected = old if layer.name == "outputs" else other.get_weights()
        for value, weight in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(value, weight)
    with pytest.raises(RecipeError, match=r"names and shapes of this model's .*warm_start, found none"):
        run.take_weights(archs.stacked_lstm(3, [6], 7), start)


def shapeless(truth, answer):
    return keras.ops.mean(keras.ops.square(truth - answer), axis=-1)


class OfRows(keras.losses.Loss):
    """A loss whose call is its own, as that of CTC."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(y_true, y_pred) * 2

    def call(self, y_true, y_pred):
        return keras.losses.mean_squared_error(y_true, y_pred)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("options", [{"loss": shapeless}, {"loss": "mse", "loss_weights": 0.1}, {"loss": OfRows()}])
@pytest.mark.parametrize("batch_size", [3, 8])
def test_losses_of_all_kinds_are_those_of_keras(options, batch_size, tmp_path):
    rng = np.random.default_rng(0)
    columns = {"x": tf.constant(rng.normal(size=(8, 4)), tf.float32), "y": tf.constant(rng.normal(size=8), tf.float32)}
    batches = batching.Batches(columns, batch_size, lambda batch, _: (batch["x"], batch["y"]), seed=0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_regularizer="l2")])
    model.compile(keras.optimizers.SGD(0.1), **options)
    session = sessions.Session("test", tmp_path)
    history = training.fit(model, batches, validation=batches, epochs=1, session=session)
    expected = model.evaluate(columns["x"], columns["y"], batch_size=8, verbose=0)
    np.testing.assert_allclose(history[0]["val_loss"], expected, rtol=1e-5)


def test_callbacks_see_each_batch_and_epoch_once_however_often_it_is_stopped(tmp_path, monkeypatch):
    class Count(keras.callbacks.Callback):
        epochs = batches = 0

        def on_epoch_begin(self, epoch, logs=None):
            self.epochs += 1

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1

    for stop_at in (STEPS + 2, 2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            overfitted(tmp_path, stop_at, patch, epochs=3, callbacks=[Count()])
    count = Count()
    overfitted(tmp_path, epochs=3, callbacks=[count])
    assert (count.epochs, count.batches) == (3, 3 * STEPS)


def test_a_training_that_a_callback_ended_stays_ended(tmp_path):
    stopping = keras.callbacks.EarlyStopping(patience=1)
    history, _ = overfitted(tmp_path, callbacks=[stopping])
    again, _ = overfitted(tmp_path, callbacks=[keras.callbacks.EarlyStopping(patience=1)])
    assert again == history
    assert len(history) < 12
