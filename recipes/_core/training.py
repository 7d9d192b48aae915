"""Fit, with progress, metrics on disk, and checkpoints from which a killed run goes on as if nothing had happened."""

import contextlib
import csv
import shutil
import signal
import sys
import threading
import time

import keras
import tensorflow as tf
from tqdm import tqdm

from recipes._core.errors import RecipeError, other_version, reason
from recipes._core.session import newest_checkpoint


def fit(model, train, *, validation, epochs, session):
    """Trains a compiled model and returns its history, a list of one dict per epoch.

    The run goes on from the checkpoint in the session's folder, if there is one: weights, optimizer, dropout seeds,
    running metrics and the place in the shuffled data are restored, so that on a CPU the result equals that of a run
    that was never stopped. Ctrl-C and SIGTERM write a checkpoint first. Stateful layers start each epoch, and each
    validation, from their initial state.

    Args:
        model: a compiled `keras.Model`.
        train: `Batches` with a seed.
        validation: `Batches`, run at the end of each epoch.
        epochs: how often to go through `train`.
        session: `Session`, whose folder gets `checkpoint/`, `metrics.csv`, `tensorboard/` and `model.keras`.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        RecipeError: what the run's folder holds is damaged, or of another version of the recipe.
    """
    # Keras makes these variables in the first step, too late to restore them.
    model.optimizer.build(model.trainable_variables)
    model.evaluate(validation.epoch().take(1), verbose=0)
    keeper = _Keeper(model, session, len(train))
    history = _Metrics(session.folder, done=keeper.step // len(train))
    validation_data = validation.epoch()
    with _Progress(epochs, len(train), keeper.step) as progress, _signals_to(keeper):
        for epoch in range(keeper.step // len(train), epochs):
            keeper.begin_epoch()
            logs = model.fit(
                train.epoch(epoch, start=keeper.step % len(train)),
                validation_data=validation_data,
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,  # `train` did that
                verbose=0,
                callbacks=[keeper, progress],
            ).history
            row = {"epoch": epoch + 1} | {name: values[-1] for name, values in logs.items()}
            row["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
            row["seconds"] = round(keeper.seconds(), 3)
            history.append(row)
            progress.epoch(row)
            keeper.save()
            keeper.stop_if_asked()
        keeper.restore()  # where nothing was left to fit: killed after the last epoch
    unfinished = session.folder / ".model.keras"
    uncompiled(model).save(unfinished)
    unfinished.replace(session.folder / "model.keras")
    return history.rows


def uncompiled(model):
    """The model without what it was trained with, so that its file loads where only `archs` is known."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


class _Keeper(keras.callbacks.Callback):
    """Writes and restores checkpoints of the whole state of a training, and stops it when a signal asks for it."""

    def __init__(self, model, session, steps_per_epoch):
        super().__init__()
        self._stateful = [layer for layer in model.layers if isinstance(layer, keras.layers.RNN) and layer.stateful]
        # The states of stateful layers are not among the variables of their model.
        states = keras.tree.flatten([layer.states for layer in self._stateful])
        variables = [*model.variables, *states, *model.optimizer.variables, *model.metrics_variables]
        self._spent = tf.Variable(0.0, dtype=tf.float64)  # seconds of this epoch in the processes before
        self._run, self._folder = session.folder, session.folder / "checkpoint"
        self._checkpoint = tf.train.Checkpoint(
            variables=[variable.value for variable in variables], seconds=self._spent
        )
        self._interval = 60 * session.checkpoint_minutes
        self._saved_at = self._began = time.monotonic()
        self._steps_per_epoch = steps_per_epoch
        self._restored = self.asked_to_stop = False
        self._latest, self.step = newest_checkpoint(session.folder)

    def begin_epoch(self):
        self._began = time.monotonic()

    def seconds(self):
        """How long the epoch has taken, also before the run was stopped."""
        return float(self._spent) + time.monotonic() - self._began

    def restore(self):
        if not self._restored and self._latest:
            try:
                self._checkpoint.read(self._latest).assert_consumed()
            except (
                tf.errors.OpError,
                OSError,
                IndexError,
            ) as error:  # the last: of a file that is cut
                raise RecipeError(f"{self._latest} is damaged ({reason(error)}). Train anew.") from error
            except (ValueError, AssertionError) as error:  # of other variables
                raise other_version(self._run, error) from error
        self._restored = True

    def on_epoch_begin(self, epoch, logs=None):
        # Here, and not before `fit`: Keras has just set the metrics to zero, which is right between two epochs only.
        self.restore()
        if self.step % self._steps_per_epoch == 0:
            self.model.reset_metrics()
            self._reset_states()

    def on_test_begin(self, logs=None):
        self._reset_states()

    def _reset_states(self):
        for layer in self._stateful:
            layer.reset_state()

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step % self._steps_per_epoch == 0:
            return  # the end of the epoch writes its checkpoint, after its metrics
        if self.asked_to_stop or time.monotonic() - self._saved_at >= self._interval:
            self.save()
            self.stop_if_asked()

    def save(self):
        is_whole = self.step % self._steps_per_epoch == 0
        spent, self._began = self.seconds(), time.monotonic()
        self._spent.assign(0.0 if is_whole else spent)
        name = f"ckpt-{self.step}"
        self._checkpoint.write(str(self._folder / name))
        for path in self._folder.glob("ckpt-*"):  # those before, and what was left of one by a process that was killed
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif not path.name.startswith(f"{name}."):
                path.unlink()
        self._saved_at = time.monotonic()

    def stop_if_asked(self):
        if self.asked_to_stop:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _signals_to(keeper):
    """Lets the first SIGINT or SIGTERM ask `keeper` to stop at the next step, and a second one kill."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number, frame):
        keeper.asked_to_stop = True
        signal.signal(number, before[number])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, ask)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Metrics:
    """One row per epoch, in `metrics.csv` and as TensorBoard scalars."""

    def __init__(self, folder, done):
        self._path = folder / "metrics.csv"
        self._writer = tf.summary.create_file_writer(str(folder / "tensorboard"))
        self.rows = []
        if done:
            self.rows = self._read(done)
            self._write()

    def _read(self, done):
        """The rows of the epochs that the checkpoint is after."""
        try:
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
            rows = [row | {"epoch": int(row["epoch"])} for row in rows[:done]]
            if [row["epoch"] for row in rows] != list(range(1, done + 1)):
                raise ValueError(f"received {len(rows)}")
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise RecipeError(
                f"{self._path} is damaged: expected a row for each of {done} epochs ({reason(error)}). Complete it, "
                "with nan for a figure that is lost, and go on with --resume."
            ) from error
        return rows

    def append(self, row):
        self.rows.append(row)
        self._write()
        with self._writer.as_default(step=row["epoch"]):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def _write(self):
        new = self._path.with_suffix(".new")
        with new.open("w", newline="", encoding="utf-8") as file:
            if self.rows:
                writer = csv.DictWriter(file, self.rows[0])
                writer.writeheader()
                writer.writerows(self.rows)
        new.replace(self._path)


class _Progress(keras.callbacks.Callback):
    """A bar over all steps with the time left, on a terminal; elsewhere a line per epoch."""

    def __init__(self, epochs, steps_per_epoch, done):
        super().__init__()
        self._epochs = epochs
        self._bar = tqdm(
            total=epochs * steps_per_epoch, initial=done, unit="step", disable=not sys.stderr.isatty(), leave=False
        )
        self._left = epochs * steps_per_epoch - done
        self._done = 0
        self._started = self._shown_at = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        self._bar.update()
        if logs and not self._bar.disable and time.monotonic() - self._shown_at > 0.5:
            self._bar.set_postfix({name: f"{float(value):.4f}" for name, value in logs.items()}, refresh=False)
            self._shown_at = time.monotonic()

    def epoch(self, row):
        hidden = ("epoch", "learning_rate", "seconds")
        figures = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in hidden)
        seconds = (time.monotonic() - self._started) / self._done * (self._left - self._done)
        line = f"epoch {row['epoch']:>{len(str(self._epochs))}}/{self._epochs}  {figures}"
        self._bar.write(f"{line}  {tqdm.format_interval(seconds)} left", file=sys.stdout)
        sys.stdout.flush()
