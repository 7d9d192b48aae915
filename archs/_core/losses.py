"""Losses that Keras has not, or not for sequences with padding."""

import keras
from keras import ops

from archs._core import checks


@keras.saving.register_keras_serializable(package="archs")
class CTC(keras.losses.Loss):
    """Connectionist temporal classification: labels in their order, without a time step for each.

    A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
    Sequence Data with Recurrent Neural Networks", ICML 2006. It is `keras.losses.CTC`, with the same conventions, for
    models whose answers carry a mask, as those of `lengths=True` or `mask_zero=True` do: the padding is left out, which
    Keras' own takes for time steps. Class 0 is the blank. `archs.decoding.ctc_decode` reads the labels off.

    Args:
        reduction: as of `keras.losses.CTC`.
        name: of the loss.
        dtype: of its computation.

    Call arguments:
        y_true: ints (batch, labels) from 1 to classes - 1; zeros are padding, wherever they stand.
        y_pred: logits (batch, time, classes). What their mask leaves out does not count.
        sample_weight: None, or floats (batch,).

    Returns:
        The mean over the batch of the negative log probability of each row's labels, or what `reduction` says.

    Raises:
        ValueError: another rank, a label out of its range, or a row with too few time steps for its labels: one for
            each, and one between two equal ones. In a graph that XLA does not compile: InvalidArgumentError.

    Example:

    >>> import archs
    >>> model = archs.bidirectional_lstm(features=4, units=6, outputs=5, lengths=True)
    >>> model.compile("adam", archs.losses.CTC())
    """

    def __init__(self, reduction="sum_over_batch_size", name="ctc", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Keras would lay the mask over the losses, one for each row.
        return super().__call__(y_true, without_padding(y_pred), sample_weight)

    def call(self, y_true, y_pred):
        logits, steps = y_pred
        if len(y_true.shape) != 2:
            raise ValueError(f"Expected labels of shape (batch, labels), received {tuple(y_true.shape)}.")
        labels, steps, classes = ops.cast(y_true, "int32"), ops.cast(steps, "int32"), logits.shape[-1]
        labels = checks.within(labels, 0, classes - 1, f"Expected labels from 1 to {classes - 1}, and 0 for padding")
        labels, counts = _in_front(labels, labels > 0)
        repeats = ops.logical_and(labels[:, 1:] == labels[:, :-1], labels[:, 1:] > 0)
        needed = counts + ops.sum(ops.cast(repeats, "int32"), axis=1)
        expected = "Expected a time step for each label, and one between two equal ones; in the rows that have fewer"
        steps = checks.require(steps, steps >= needed, expected)
        return ops.ctc_loss(labels, logits, counts, steps, mask_index=0)


def without_padding(sequences):
    """Sequences (batch, time, size), what their mask leaves in to the front, and how many steps of each row that is."""
    if len(sequences.shape) != 3:
        raise ValueError(
            f"Expected an answer for each time step, (batch, time, classes), received {tuple(sequences.shape)}. Give "
            "the model `return_sequences=True`, where it has this argument, and no `pooling`."
        )
    mask = getattr(sequences, "_keras_mask", None)
    if mask is None:
        return ops.copy(sequences), ops.full(ops.shape(sequences)[:1], ops.shape(sequences)[1], dtype="int32")
    return _in_front(sequences, mask)


def _in_front(values, inside):
    """The values (batch, places, ...) in their order, those inside before the others, and how many are inside."""
    places = ops.shape(inside)[1]
    order = ops.argsort(ops.where(inside, 0, places) + ops.arange(places), axis=1)
    order = ops.reshape(order, (*ops.shape(order), *[1] * (len(values.shape) - 2)))
    return ops.take_along_axis(values, order, axis=1), ops.sum(ops.cast(inside, "int32"), axis=1)
