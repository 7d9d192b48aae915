"""Sequences of given lengths: their mask, and nothing behind it."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="archs")
class CutToLengths(keras.layers.Layer):
    """Cuts sequences at their lengths.

    What stands behind a length is set to zero: a mask alone keeps it out of the answer, but a NaN there would still
    reach the gradients.

    Call arguments:
        sequences: float tensor (batch, time, ...).
        lengths: int tensor (batch,).

    Returns:
        The sequences, and a bool mask (batch, time) that is True on the first `lengths[i]` time steps of row i.
    """

    def call(self, sequences, lengths):
        mask = ops.arange(ops.shape(sequences)[1]) < ops.cast(lengths, "int32")[:, None]
        cut = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(sequences.shape) - 2)))
        return ops.where(cut, sequences, 0), mask

    def compute_output_spec(self, sequences, lengths):
        cut = keras.KerasTensor(sequences.shape, dtype=self.compute_dtype)
        return cut, keras.KerasTensor(sequences.shape[:2], dtype="bool")
