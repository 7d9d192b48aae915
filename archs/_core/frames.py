"""Convolutions over sequences: a layer for each frame, or along time; and what goes with them."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="archs")
class EachFrame(keras.layers.Wrapper):
    """Calls a layer on each time step: `keras.layers.TimeDistributed`, all steps at once.

    That one, in Keras 3.15, takes the batch size for the number of steps where this is not known before the call.

    `model.summary(expand_nested=True)` goes into it. `keras.utils.plot_model` expands models alone, not wrappers: it
    draws what is inside when it is given `layer`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    @property
    def layers(self):
        """The layer, in a list: where `summary` looks for what is inside."""
        return [self.layer]

    def build(self, shape):
        super().build((None, *shape[2:]))

    def call(self, frames):
        batch, time = ops.shape(frames)[:2]
        answers = self.layer(ops.reshape(frames, (-1, *frames.shape[2:])))
        return ops.reshape(answers, (batch, time, *answers.shape[1:]))

    def compute_output_shape(self, shape):
        return (*shape[:2], *self.layer.compute_output_shape((None, *shape[2:]))[1:])


@keras.saving.register_keras_serializable(package="archs")
class TimeBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over sequences of anything, whose mask (batch, time) it leaves out."""

    def call(self, sequences, training=None, mask=None):
        if mask is not None:
            inside = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(sequences.shape) - 2)))
            sequences = ops.where(inside, sequences, 0)
            mask = ops.broadcast_to(inside[..., 0], ops.shape(sequences)[:-1])
        return super().call(sequences, training=training, mask=mask)


@keras.saving.register_keras_serializable(package="archs")
class TimeConvolution(keras.layers.Conv1D):
    """`keras.layers.Conv1D` along time with zeros around each sequence and in the place of what its mask leaves out.

    It answers for the steps that its strides meet, and hands their mask on. Not `padding="same"`, which pads by the
    length of the whole batch.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def call(self, sequences, mask=None):
        if mask is not None:
            sequences = ops.where(mask[..., None], sequences, 0)
        return super().call(ops.pad(sequences, ((0, 0), self._sides(), (0, 0))))

    def _sides(self):
        (size,) = self.kernel_size
        return (size - 1) // 2, size // 2

    def compute_mask(self, sequences, mask=None):
        return mask if mask is None else mask[:, :: self.strides[0]]

    def compute_output_shape(self, shape):
        time = shape[1] if shape[1] is None else shape[1] + sum(self._sides())
        return super().compute_output_shape((shape[0], time, shape[2]))


def holds_batch_normalization(layer):
    """Tells whether a layer, or one within it, is a trainable `keras.layers.BatchNormalization`."""
    within = [*getattr(layer, "layers", []), *([layer.layer] if isinstance(layer, keras.layers.Wrapper) else [])]
    is_one = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    return is_one or any(map(holds_batch_normalization, within))
