"""Scalars of a training for TensorBoard, named as `keras.callbacks.TensorBoard` names them."""

import keras
import tensorflow as tf

_PER_EPOCH = 20  # steps of an epoch whose figures are written: each waits for the device


class Events(keras.callbacks.Callback):
    """Writes the runs `train` and `validation`, in which a figure has the same tag, so that one chart shows both.

    `epoch_<figure>` has a point for each epoch. `batch_<figure>`, in `train` alone, has some within each epoch: the
    mean of the epoch so far.

    Args:
        folder: of both runs.
        steps_per_epoch: training steps of an epoch.
        step: how many training steps are done.
    """

    def __init__(self, folder, steps_per_epoch, step=0):
        super().__init__()
        self._writers = {name: tf.summary.create_file_writer(str(folder / name)) for name in ("train", "validation")}
        self._every = max(1, steps_per_epoch // _PER_EPOCH)
        self._step = step

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        if logs and self._step % self._every == 0:
            self._write("train", "batch", self._step, logs)

    def append(self, row):
        """Writes the row of an epoch, in which figures of the validation begin with `val_`."""
        figures = {name: value for name, value in row.items() if name != "epoch"}
        validation = {name: figures.pop(name) for name in row if name.startswith("val_")}
        validation = {name.removeprefix("val_"): value for name, value in validation.items()}
        for side, some in (("train", figures), ("validation", validation)):
            self._write(side, "epoch", row["epoch"], some)
            self._writers[side].flush()

    def _write(self, side, kind, step, figures):
        with self._writers[side].as_default(step=step):
            for name, value in figures.items():
                tf.summary.scalar(f"{kind}_{name}", value)
