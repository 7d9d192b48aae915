"""From the lengths of sequences to a mask over their time steps."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="archs")
class LengthMask(keras.layers.Layer):
    """True on the first `lengths[i]` time steps of row i.

    Call arguments:
        sequences: tensor (batch, time, ...).
        lengths: int tensor (batch,).

    Returns:
        Bool tensor (batch, time).
    """

    def call(self, sequences, lengths):
        return ops.arange(ops.shape(sequences)[1]) < ops.cast(lengths, "int32")[:, None]

    def compute_output_spec(self, sequences, lengths):
        return keras.KerasTensor(sequences.shape[:2], dtype="bool")
