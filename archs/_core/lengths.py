"""Sequences of given lengths: their mask, and zeros after it."""

import keras
from keras import ops

from archs._core import checks


@keras.saving.register_keras_serializable(package="archs")
class CutToLengths(keras.layers.Layer):
    """Cuts sequences at their lengths.

    What stands after a length is set to zero: a mask alone keeps it out of the answer, but a NaN there would still
    reach the gradients.

    Call arguments:
        sequences: float tensor (batch, time, ...).
        lengths: int tensor (batch,), each from 0 to the number of time steps.
        sequences_mask: bool tensor (batch, time), of what else is to be left out, or None.

    Returns:
        The sequences, and a bool mask (batch, time) that is True on the first `lengths[i]` time steps of row i.

    Raises:
        ValueError: lengths out of their range, or not one for each row. In a graph, InvalidArgumentError.
    """

    def call(self, sequences, lengths, sequences_mask=None):
        rows, time = ops.shape(sequences)[:2]
        counts = sequences.shape[0], lengths.shape[0]
        if None not in counts and counts[0] != counts[1]:
            raise ValueError(f"Expected one of `lengths` for each of the {rows} rows, received {counts[1]}.")
        lengths = checks.within(
            ops.cast(lengths, "int32"), 0, time, "Expected lengths from 0 to the number of time steps"
        )
        mask = ops.arange(time) < lengths[:, None]
        if sequences_mask is not None:
            mask = ops.logical_and(mask, sequences_mask)
        cut = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(sequences.shape) - 2)))
        return ops.where(cut, sequences, 0), mask

    def compute_mask(self, *_):
        return None  # it is returned

    def compute_output_spec(self, sequences, lengths, sequences_mask=None):
        cut = keras.KerasTensor(sequences.shape, dtype=self.compute_dtype)
        return cut, keras.KerasTensor(sequences.shape[:2], dtype="bool")
