"""Convolutions over images and sequences: of one image, a layer for each frame, or along time; and backbones."""

import keras
from keras import ops

from archs._core import checks
from archs._core.names import nearest


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


def convolution_settings(filters=None, kernel_size=None, strides=None, normalization=None):
    """Settings of factories with convolutions, checked: the list of `filters` and the other three."""
    filters = (32, 64) if filters is None else filters if isinstance(filters, (tuple, list)) else [filters]
    filters = [checks.positive_integer("filters", n) for n in filters]
    if not filters:
        raise ValueError("Expected `filters` of one convolution at least, received none.")
    kernel_size = checks.positive_integer("kernel_size", 3 if kernel_size is None else kernel_size)
    strides = checks.positive_integer("strides", 2 if strides is None else strides)
    return filters, kernel_size, strides, checks.one_of("normalization", normalization, (None, "batch", "layer"))


def convolve(image, *, dtype, **settings):
    """Puts convolutions with rectified linear units onto a tensor (batch, height, width, channels).

    Args:
        image: of a functional model.
        dtype: dtype policy of the layers.
        **settings: of `convolution_settings`.
    """
    filters, kernel_size, strides, normalization = convolution_settings(**settings)
    kinds = {"batch": keras.layers.BatchNormalization, "layer": keras.layers.LayerNormalization}
    for n in filters:
        activation = "relu" if normalization is None else None
        layer = keras.layers.Conv2D(n, kernel_size, strides, padding="same", activation=activation, dtype=dtype)
        image = layer(image)
        if normalization is not None:
            image = keras.layers.Activation("relu", dtype=dtype)(kinds[normalization](dtype=dtype)(image))
    return image


def backbone_of(backbone, convolutions, shape=None, weights=None):
    """The network that a factory's `backbone=` names or is.

    Args:
        backbone: a `keras.Model` or a layer, or with `shape` a name of `keras.applications`.
        convolutions: dict of the arguments of the convolutions in whose place it stands.
        shape: (height, width, channels) of what it is to see.
        weights: of one by name.

    Raises:
        ValueError: it is neither, or comes with arguments of the convolutions or, no name, with weights.
    """
    given = {name: value for name, value in convolutions.items() if value is not None}
    if given:
        raise ValueError(f"Expected no {', '.join(f'`{name}`' for name in given)} with a `backbone`, received {given}.")
    if isinstance(backbone, str) and shape is not None:
        known = {name for name in dir(keras.applications) if name[0].isupper()}
        if backbone not in known:
            raise ValueError(
                f"Expected `backbone` to be a name of keras.applications, received {backbone!r}. "
                f"{nearest(backbone, known)}"
            )
        return getattr(keras.applications, backbone)(include_top=False, weights=weights, input_shape=tuple(shape))
    if not isinstance(backbone, keras.layers.Layer):
        raise ValueError(f"Expected `backbone` to be a keras.Model or a layer, received {backbone!r}.")
    if weights is not None:
        raise ValueError(f"Expected no `weights` with a `backbone` that is no name, received {weights!r}.")
    return backbone
