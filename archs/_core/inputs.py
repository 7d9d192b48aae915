"""The inputs of a model over sequences: vectors or tokens, with or without lengths."""

import keras
from keras import ops

from archs._core import checks
from archs._core.lengths import CutToLengths


@keras.saving.register_keras_serializable(package="archs")
class TokenEmbedding(keras.layers.Embedding):
    """`keras.layers.Embedding` that refuses tokens for which it has no vector, see `checks.within`."""

    def call(self, inputs):
        return super().call(_tokens(inputs, self.input_dim))


def _tokens(inputs, count):
    return checks.within(ops.cast(inputs, "int32"), 0, count - 1, f"Expected tokens from 0 to {count - 1}")


@keras.saving.register_keras_serializable(package="archs")
class TiedEmbedding(keras.layers.ReversibleEmbedding):
    """`keras.layers.ReversibleEmbedding` that, turned round, hands the mask of its input on.

    Under a mixed policy its logits have the dtype of the weights, which are rounded before the product.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True
        self.reverse_dtype = self.variable_dtype

    def compute_output_spec(self, inputs, reverse=False):
        spec = super().compute_output_spec(inputs, reverse)
        return keras.KerasTensor(spec.shape, self.reverse_dtype) if reverse else spec

    def call(self, inputs, reverse=False):
        return super().call(inputs if reverse else _tokens(inputs, self.input_dim), reverse)

    def compute_mask(self, inputs, mask=None):
        is_reverse = keras.backend.is_float_dtype(inputs.dtype)
        return mask if is_reverse or not self.mask_zero else ops.not_equal(inputs, 0)


@keras.saving.register_keras_serializable(package="archs")
class WithNoise(keras.layers.Layer):
    """Puts noise (batch, time, m) beside vectors (batch, time, n), whose mask stays.

    Raises:
        ValueError: they have another number of time steps. In a graph that does not know it, InvalidArgumentError.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, sequences, noise):
        pair = sequences.shape[1], noise.shape[1]
        if None not in pair and pair[0] != pair[1]:
            raise ValueError(f"Expected noise for each of {pair[0]} time steps, received that of {pair[1]}.")
        return ops.concatenate([sequences, noise], axis=-1)


def sequence_inputs(
    features,
    *,
    lengths,
    dtype,
    vocabulary=None,
    mask_zero=False,
    tied=False,
    frames=False,
    batch_size=None,
    noise=None,
    prefix="",
):
    """Inputs of a functional model over sequences.

    Args:
        features: the size of one time step, an integer; with `vocabulary`, of an embedding.
        lengths: whether the model takes the lengths of its sequences as a second input.
        dtype: dtype policy of the layers.
        vocabulary: None, or the number of tokens; the inputs are then ints below it.
        mask_zero: whether token 0 is padding, wherever it stands.
        tied: whether the embedding is also to serve, turned round, as the output layer.
        frames: whether `features` may also be (height, width, channels).
        batch_size: None, or the only one that the model takes.
        noise: None, or the size of the noise in each time step, a second input, which stands beside the first.
        prefix: of the names of the inputs and layers, and of what an error calls `features`.

    Returns:
        The model's inputs (a tensor, or with `lengths` or `noise` a dict of `inputs` and of these), the sequences
        (batch, time, ...), their mask or None, and the embedding layer or None.
    """
    if frames and isinstance(features, (tuple, list)):
        if len(features) != 3:
            raise ValueError(
                "Expected `features` to be a positive integer, or (height, width, channels) of a frame, received "
                f"{features!r}."
            )
        shape = [checks.positive_integer("features", size) for size in features]
    else:
        shape = [checks.positive_integer("features" if vocabulary else f"{prefix}features", features)]
    batch_size = batch_size if batch_size is None else checks.positive_integer("batch_size", batch_size)
    if checks.flag("mask_zero", mask_zero) and (vocabulary is None or lengths):
        raise ValueError(
            "Expected `mask_zero=True` with a `vocabulary`, whose token 0 is the padding, and without `lengths`, "
            f"received vocabulary={vocabulary!r} and lengths={lengths!r}."
        )
    embedding = mask = None
    if vocabulary is None:
        # Keras' default is its global dtype, which would round what a wider model is given.
        wide = keras.backend.result_type(keras.DTypePolicy(dtype).variable_dtype, "float32")
        sequences = keras.Input((None, *shape), batch_size, name=f"{prefix}inputs", dtype=wide)
        inputs = sequences
    else:
        vocabulary = checks.positive_integer("vocabulary", vocabulary)
        kind = TiedEmbedding if tied else TokenEmbedding
        embedding = kind(vocabulary, *shape, mask_zero=mask_zero, dtype=dtype, name=f"{prefix}embedding")
        inputs = keras.Input((None,), batch_size, name=f"{prefix}inputs", dtype="int32")
        sequences, mask = embedding(inputs), embedding.compute_mask(inputs)
    if noise is not None:
        drawn = keras.Input((None, noise), batch_size, name=f"{prefix}noise", dtype=sequences.dtype)
        inputs = {f"{prefix}inputs": inputs, f"{prefix}noise": drawn}
        sequences = WithNoise(dtype=dtype, name=f"{prefix}with_noise")(sequences, drawn)
    if checks.flag("lengths", lengths):
        counts = keras.Input((), batch_size, name=f"{prefix}lengths", dtype="int32")
        inputs = (inputs if isinstance(inputs, dict) else {f"{prefix}inputs": inputs}) | {f"{prefix}lengths": counts}
        sequences, mask = CutToLengths(dtype=dtype, name=f"{prefix}cut")(sequences, counts)
    return inputs, sequences, mask, embedding
