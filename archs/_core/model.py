"""The model that every factory returns."""

import keras

from archs._core import checks


@keras.saving.register_keras_serializable(package="archs")
class SequenceModel(keras.Model):
    """A functional `keras.Model` with the dtype policy of its layers, whatever Keras' global one is.

    So `compile` scales the loss of a model of `mixed_float16`. Its inputs may come with a mask, for instance from a
    `keras.layers.Masking`, and what its layers make of it is the mask of its output. Rows of different lengths are
    refused with the way to pad them.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        layers = [layer for layer in self.layers if not isinstance(layer, keras.layers.InputLayer)]
        self.dtype_policy = layers[0].dtype_policy  # the last computes in the dtype of the weights

    def __call__(self, inputs, *args, **kwargs):
        takes = self.input
        if isinstance(takes, keras.KerasTensor):
            if not isinstance(inputs, dict):
                inputs = _checked(takes, inputs)
        elif isinstance(inputs, dict):
            inputs = {name: _checked(takes[name], value) if name in takes else value for name, value in inputs.items()}
        return super().__call__(inputs, *args, **kwargs)

    def compute_mask(self, inputs, mask=None):
        return None  # its layers give their own to the output


def _checked(takes, values):
    """The values for an input `takes`, if they are padded and, where it takes integers, integers."""
    values = checks.dense(takes.name, values)
    if takes.dtype != "int32" or isinstance(values, keras.KerasTensor) or not hasattr(values, "dtype"):
        return values
    # Tokens may come as floats, from a table for instance. Lengths that do were computed wrongly.
    kinds = ("int", "uint") if takes.name.endswith("lengths") else ("int", "uint", "float", "bfloat")
    return checks.whole(takes.name, values, kinds)
