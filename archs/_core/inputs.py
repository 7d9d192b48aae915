"""The inputs of a model over sequences: vectors or tokens, with or without lengths."""

import keras

from archs._core import checks
from archs._core.lengths import CutToLengths


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

    def compute_mask(self, inputs, mask=None):
        return mask


def sequence_inputs(features, *, lengths, dtype, vocabulary=None, tied=False, frames=False, batch_size=None):
    """What a functional model over sequences starts from.

    Args:
        features: the size of one time step, an integer; with `vocabulary`, of an embedding.
        lengths: whether the model takes the lengths of its sequences as a second input.
        dtype: dtype policy of the layers.
        vocabulary: None, or the number of tokens; the inputs are then ints below it.
        tied: whether the embedding is also to serve, turned round, as the output layer.
        frames: whether `features` may also be (height, width, channels).
        batch_size: None, or the only one that the model takes.

    Returns:
        The model's inputs (a tensor, or with `lengths` a dict of `inputs` and `lengths`), the sequences
        (batch, time, ...), their mask or None, and the embedding layer or None.
    """
    shape = features if frames and isinstance(features, (tuple, list)) and len(features) == 3 else [features]
    shape = [checks.positive_integer("features", size) for size in shape]
    batch_size = batch_size if batch_size is None else checks.positive_integer("batch_size", batch_size)
    embedding = None
    if vocabulary is None:
        sequences = keras.Input((None, *shape), batch_size, name="inputs")
        inputs = sequences
    else:
        vocabulary = checks.positive_integer("vocabulary", vocabulary)
        kind = TiedEmbedding if tied else keras.layers.Embedding
        embedding = kind(vocabulary, *shape, dtype=dtype, name="embedding")
        inputs = keras.Input((None,), batch_size, name="inputs", dtype="int32")
        sequences = embedding(inputs)
    mask = None
    if lengths:
        inputs = {"inputs": inputs, "lengths": keras.Input((), batch_size, name="lengths", dtype="int32")}
        sequences, mask = CutToLengths(dtype=dtype, name="cut")(sequences, inputs["lengths"])
    return inputs, sequences, mask, embedding
