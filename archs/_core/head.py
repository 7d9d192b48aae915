"""The head of a model: from what the recurrent layers say in each time step, or at the end, to the answer."""

import keras
from keras import ops

from archs._core import checks

POOLINGS = ("mean", "max", "attention")


def head(sequences, outputs, *, mask=None, pooling=None, activation=None, dtype=None):
    """Puts pooling over time and a dense layer onto the layers of a functional model.

    Args:
        sequences: tensor (batch, time, features), or without `pooling` also (batch, features).
        outputs: size of the answer. None: the features as they are.
        mask: bool tensor (batch, time), or None.
        pooling: None, or one of `POOLINGS`, see `Pooling`.
        activation: of the dense layer; with `outputs`.
        dtype: of the answer. A loss or a client wants no half types: that of the weights.
    """
    if pooling is not None:
        sequences = Pooling(pooling, dtype=dtype, name="pooling")(sequences, mask=mask)
    if outputs is not None:
        return keras.layers.Dense(outputs, activation=activation, dtype=dtype, name="outputs")(sequences)
    if activation is not None:
        raise ValueError(f"Expected no `activation` without `outputs`, received {activation!r}.")
    return keras.layers.Activation("linear", dtype=dtype, name="outputs")(sequences)


def outputs_of(outputs):
    """`outputs` of a factory: None or a positive integer."""
    return None if outputs is None else checks.positive_integer("outputs", outputs)


@keras.saving.register_keras_serializable(package="archs")
class Pooling(keras.layers.Layer):
    """Makes one vector of those of all time steps; what a mask leaves out does not count.

    With `"attention"` it is their mean weighted by softmax(u . tanh(W h + b)), W square, as the word attention of
    Z. Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL 2016, equations 5 to 7.
    A row without any time step gives zeros.

    Args:
        pooling: `"mean"`, `"max"` or `"attention"`.

    Call arguments:
        sequences: float tensor (batch, time, features).
        mask: bool tensor (batch, time), or None.

    Returns:
        A tensor (batch, features).
    """

    def __init__(self, pooling, **kwargs):
        super().__init__(**kwargs)
        self.pooling = checks.one_of("pooling", pooling, POOLINGS)
        self.supports_masking = True

    def build(self, input_shape):
        if self.pooling == "attention":
            size = input_shape[-1]
            self.kernel = self.add_weight(shape=(size, size), initializer="glorot_uniform", name="kernel")
            self.bias = self.add_weight(shape=(size,), initializer="zeros", name="bias")
            self.query = self.add_weight(shape=(size, 1), initializer="glorot_uniform", name="query")

    def call(self, sequences, mask=None):
        inside = ops.ones(ops.shape(sequences)[:2], "bool") if mask is None else ops.cast(mask, "bool")
        inside = inside[..., None]
        if self.pooling == "max":
            lowest = ops.where(inside, sequences, -float("inf"))
            return ops.where(ops.any(inside, axis=1), ops.max(lowest, axis=1), 0)
        if self.pooling == "mean":
            weights = ops.cast(inside, sequences.dtype)
        else:
            scores = ops.matmul(ops.tanh(ops.matmul(sequences, self.kernel) + self.bias), self.query)
            scores = ops.where(inside, scores, -float("inf"))
            highest = ops.stop_gradient(ops.max(scores, axis=1, keepdims=True))
            weights = ops.exp(scores - ops.where(ops.isfinite(highest), highest, 0))
        total = ops.sum(weights, axis=1)
        sums = ops.sum(ops.where(inside, sequences, 0) * weights, axis=1)
        return sums / ops.where(total == 0, 1, total)

    def compute_mask(self, *_):
        return None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])

    def get_config(self):
        return super().get_config() | {"pooling": self.pooling}
