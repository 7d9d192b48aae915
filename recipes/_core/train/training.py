"""Fit, with progress, metrics on disk, and checkpoints from which a killed run goes on as if nothing had happened."""

import contextlib
import csv
import json
import math
import shutil
import signal
import sys
import threading
import time

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from recipes._core.errors import RecipeError, other_version, reason
from recipes._core.train.events import Events
from recipes._core.train.session import newest_checkpoint


def fit(model, train, *, validation, epochs, session, monitor=None, patience=None, callbacks=()):
    """Trains a compiled model and returns its history, a list of one dict per epoch.

    The run goes on from the checkpoint in the session's folder, if there is one: weights, optimizer, dropout seeds,
    running metrics and the place in the shuffled data are restored, so that on a CPU the result equals that of a run
    that was never stopped. Ctrl-C and SIGTERM write a checkpoint first. Stateful layers start each epoch, and each
    validation, from their initial state.

    Figures of the validation are means over all that counts in it: where masks leave time steps out, `val_loss` is the
    mean over the others, however they are spread over batches.

    Args:
        model: a compiled `keras.Model`.
        train: `Batches` with a seed.
        validation: `Batches`, run at the end of each epoch.
        epochs: how often to go through `train`.
        session: `Session`, whose folder gets `checkpoint/`, `metrics.csv`, `tensorboard/` and `model.keras`.
        monitor: name of a figure in `metrics.csv`: the model is left with the weights of the epoch where it was best.
            None: `val_loss` with `patience`; without, the weights of the last epoch stay.
        patience: how many epochs in a row without a better figure end the training. None: all are trained.
        callbacks: of Keras. Of their attributes, numbers and texts are in the checkpoints, but no arrays: the best
            weights are kept by `monitor`. One that sets `model.stop_training` ends the training.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        RecipeError: what the run's folder holds is damaged, or of another version of the recipe; or there is no figure
            of the name `monitor`.
    """
    # Keras makes these variables in the first step, too late to restore them.
    model.optimizer.build(model.trainable_variables)
    validate = _Validation(model, validation)
    names = validate(1).keys()
    names |= {name.removeprefix("val_") for name in names}
    best = _Best(model, session.folder, monitor, patience, names)
    guests = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs, steps=len(train), verbose=0)
    keeper = _Keeper(model, session, len(train), callbacks, guests)
    stopped = session.folder / "stopped"  # by a callback
    history = _Metrics(session.folder, done=keeper.step // len(train))
    events = Events(session.folder / "tensorboard", len(train), keeper.step)
    guests.on_train_begin()
    with _Progress(epochs, len(train), keeper.step) as progress, _signals_to(keeper):
        for epoch in range(keeper.step // len(train), epochs):
            if best.is_over(history.rows) or stopped.exists():
                break
            keeper.begin_epoch()
            logs = model.fit(
                train.epoch(epoch, start=keeper.step % len(train)),
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,  # `train` did that
                verbose=0,
                callbacks=[events, keeper, progress],
            ).history
            guests.on_test_begin()
            keeper.reset_states()
            figures = {name: values[-1] for name, values in logs.items()} | validate()
            guests.on_test_end(figures)
            row = {"epoch": epoch + 1} | figures
            row["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
            row["seconds"] = round(keeper.seconds(), 3)
            history.append(row)
            events.append(row)
            progress.epoch(row)
            best.keep(history.rows)
            guests.on_epoch_end(epoch, figures)
            keeper.save()
            if model.stop_training:
                stopped.touch()
            keeper.stop_if_asked()
        keeper.restore()  # where nothing was left to fit: killed after the last epoch
    guests.on_train_end()
    best.restore()
    unfinished = session.folder / ".model.keras"
    uncompiled(model).save(unfinished)
    unfinished.replace(session.folder / "model.keras")
    return history.rows


class _Validation:
    """Figures of a model on a split: a function of how many batches to read that returns a dict of name to float."""

    # Keras' own weighs each batch by its rows, whatever share of it a mask leaves out.
    def __init__(self, model, batches):
        self._model, self._batches = model, batches.epoch()
        loss = model.loss
        is_mean = getattr(loss, "reduction", "sum_over_batch_size") == "sum_over_batch_size"
        is_kerass = not isinstance(loss, keras.losses.Loss) or type(loss).__call__ is keras.losses.Loss.__call__
        self._is_of_steps = is_mean and is_kerass
        self._step = tf.function(self._of_batch, jit_compile=bool(model.jit_compile), reduce_retracing=True)

    def _of_batch(self, batch):
        """The loss of a batch, and the weight that it has beside others."""
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(batch)
        outputs = self._model(inputs, training=False)
        self._model.compute_metrics(inputs, targets, outputs, weights)
        output = max(tf.nest.flatten(outputs), key=lambda one: len(one.shape))  # of several that with most axes
        weight = _Places()(output, output) if self._is_of_steps else tf.cast(tf.shape(output)[0], tf.float32)
        return weight * self._model.compute_loss(inputs, targets, outputs, weights, training=False), weight

    def __call__(self, most=-1):
        self._model.reset_metrics()
        pairs = [[float(value) for value in self._step(batch)] for batch in self._batches.take(most)]
        loss, count = (sum(values) for values in zip(*pairs, strict=True))
        figures = self._model.get_metrics_result() | {"loss": loss / count if count else math.nan}
        return {f"val_{name}": float(value) for name, value in figures.items()}


class _Places(keras.losses.Loss):
    """Number of places of an output that a loss looks at: of all but the last axis, those that a mask leaves."""

    def __init__(self):
        super().__init__(reduction="sum", name="places")

    def call(self, y_true, y_pred):
        return keras.ops.ones(keras.ops.shape(y_pred)[:-1])


class _Best:
    """The weights of the epoch where a figure was best, in the run's folder; nothing, without a figure."""

    def __init__(self, model, folder, monitor, patience, names):
        if monitor is not None and monitor not in names:
            known = ", ".join(sorted(names))
            raise RecipeError(f"Expected --monitor to be a figure of an epoch, of {known}, received {monitor!r}.")
        self._model, self._monitor, self._patience = model, monitor, patience
        self._file = folder / "best.weights.h5"

    def is_over(self, rows):
        """Says whether the last `patience` epochs had no better figure than one before."""
        if not self._patience or not rows:
            return False
        return len(rows) - kept_epoch(rows, self._monitor, self._patience) >= self._patience

    def keep(self, rows):
        """Keeps the weights if the last of the epochs is the best."""
        if (self._monitor or self._patience) and kept_epoch(rows, self._monitor, self._patience) == len(rows):
            unfinished = self._file.with_name(".best.weights.h5")
            self._model.save_weights(unfinished)
            unfinished.replace(self._file)

    def restore(self):
        """Gives the model the weights of the best epoch."""
        if self._monitor or self._patience:
            self._model.load_weights(self._file)


def kept_epoch(rows, monitor=None, patience=None):
    """The epoch, from 1 on, whose weights a training keeps: the first where a figure was best, or the last.

    A share of right answers, such as `val_accuracy`, is best where it is highest, any other figure where it is lowest.

    Args:
        rows: of the history.
        monitor, patience: as for `fit`.
    """
    if not (monitor or patience):
        return len(rows)
    monitor = monitor or "val_loss"
    sign = -1 if any(word in monitor for word in ("accuracy", "auc", "precision", "recall", "f1")) else 1
    values = [sign * row[monitor] for row in rows]
    return 1 + min(range(len(rows)), key=lambda place: (math.isnan(values[place]), values[place]))


def uncompiled(model):
    """The model without what it was trained with, so that its file loads where only `archs` is known."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


class _Keeper(keras.callbacks.Callback):
    """Writes and restores checkpoints of the whole state of a training, and stops it when a signal asks for it."""

    def __init__(self, model, session, steps_per_epoch, callbacks, guests):
        super().__init__()
        self._guests = guests  # the same callbacks, which this one hands what happens within an epoch
        self._callbacks, self._states = callbacks, tf.Variable("", dtype=tf.string)
        self._stateful = [layer for layer in model.layers if isinstance(layer, keras.layers.RNN) and layer.stateful]
        # The states of stateful layers are not among the variables of their model.
        states = keras.tree.flatten([layer.states for layer in self._stateful])
        variables = [*model.variables, *states, *model.optimizer.variables, *model.metrics_variables]
        self._spent = tf.Variable(0.0, dtype=tf.float64)  # seconds of this epoch in the processes before
        self._run, self._folder = session.folder, session.folder / "checkpoint"
        self._checkpoint = tf.train.Checkpoint(
            variables=[variable.value for variable in variables], seconds=self._spent, callbacks=self._states
        )
        self._interval = 60 * session.checkpoint_minutes
        self._saved_at = self._began = time.monotonic()
        self._steps_per_epoch = steps_per_epoch
        self._restored = self.asked_to_stop = False
        self._latest, self.step = newest_checkpoint(session.folder)

    def begin_epoch(self):
        self._began = time.monotonic()

    def seconds(self):
        """Seconds that the epoch has taken, also before the run was stopped."""
        return float(self._spent) + time.monotonic() - self._began

    def restore(self):
        if not self._restored and self._latest:
            try:
                self._checkpoint.read(self._latest).assert_consumed()
                states = json.loads(self._states.numpy())
            except tf.errors.InvalidArgumentError as error:  # variables of other dtypes
                raise other_version(self._run, error) from error
            except (
                tf.errors.OpError,
                OSError,
                IndexError,
            ) as error:  # the last: of a file that is cut
                raise RecipeError(f"{self._latest} is damaged ({reason(error)}). Train anew.") from error
            except (ValueError, AssertionError) as error:  # of other variables
                raise other_version(self._run, error) from error
            if len(states) != len(self._callbacks):
                expected = f"Expected the {len(states)} callbacks with which {self._run} was started"
                raise RecipeError(f"{expected}, received {len(self._callbacks)}.")
            for callback, state in zip(self._callbacks, states, strict=True):
                vars(callback).update(state)
        self._restored = True

    def on_epoch_begin(self, epoch, logs=None):
        # Here, and not before `fit`: Keras has just set the metrics to zero, which is right between two epochs only.
        self.restore()
        if self.step % self._steps_per_epoch == 0:
            self.model.reset_metrics()
            self.reset_states()
            self._guests.on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        self._guests.on_train_batch_begin(batch, logs)

    def reset_states(self):
        for layer in self._stateful:
            layer.reset_state()

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self._guests.on_train_batch_end(batch, logs)
        if self.step % self._steps_per_epoch == 0:
            return  # the end of the epoch writes its checkpoint, after its metrics
        if self.asked_to_stop or time.monotonic() - self._saved_at >= self._interval:
            self.save()
            self.stop_if_asked()

    def save(self):
        is_whole = self.step % self._steps_per_epoch == 0
        spent, self._began = self.seconds(), time.monotonic()
        self._spent.assign(0.0 if is_whole else spent)
        self._states.assign(json.dumps([_plain_state(callback) for callback in self._callbacks]))
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


def _plain_state(callback):
    """The attributes of a callback that are numbers, texts or None, by name."""
    plain = bool | int | float | str | np.number | None
    values = {name: value for name, value in vars(callback).items() if isinstance(value, plain)}
    return {name: value.item() if isinstance(value, np.number) else value for name, value in values.items()}


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
    """One row per epoch, in `metrics.csv`."""

    def __init__(self, folder, done):
        self._path = folder / "metrics.csv"
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
