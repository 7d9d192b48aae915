"""The dtype policy of a cell, around what is computed for it outside of its own call."""

import keras


class InPolicyOf(keras.layers.Layer):
    """Calls a function of tensors in a cell's dtype policy: Keras casts them, and the weights that it reads.

    `layer(tensors, function=function)` returns `function(*tensors)`. With `dtype` it is that policy.
    """

    def __init__(self, cell, dtype=None):
        super().__init__(name="in_policy", dtype=dtype or cell.dtype_policy)
        self.built = self.supports_masking = True

    def call(self, tensors, function):
        return function(*tensors)

    def compute_mask(self, tensors, mask=None):
        return None
