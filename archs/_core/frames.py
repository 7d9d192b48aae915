"""One layer for each frame of a sequence."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="archs")
class EachFrame(keras.layers.Wrapper):
    """Calls a layer on each time step: `keras.layers.TimeDistributed`, all steps at once.

    That one, in Keras 3.15, takes the batch size for the number of steps where this is not known before the call.
    """

    def build(self, shape):
        super().build((None, *shape[2:]))

    def call(self, frames):
        batch, time = ops.shape(frames)[:2]
        answers = self.layer(ops.reshape(frames, (-1, *frames.shape[2:])))
        return ops.reshape(answers, (batch, time, *answers.shape[1:]))

    def compute_output_shape(self, shape):
        return (*shape[:2], *self.layer.compute_output_shape((None, *shape[2:]))[1:])
