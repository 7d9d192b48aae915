"""The model that every factory returns."""

import functools

import keras

from archs._core import checks


def _of_equal_rows(method):
    """A method that takes inputs first, and refuses a dict of unequal rows; Keras fails to tell of one."""

    @functools.wraps(method)
    def call(self, x=None, *args, **kwargs):
        if isinstance(x, dict):
            _check_rows(x)
        return method(self, x, *args, **kwargs)

    return call


def _check_rows(inputs):
    rows = {name: value.shape[0] for name, value in inputs.items() if getattr(value, "shape", ())}
    if len(set(rows.values()) - {None}) > 1:
        raise ValueError(f"Expected as many rows of each input, received {rows}.")


@keras.saving.register_keras_serializable(package="archs")
class SequenceModel(keras.Model):
    """A functional `keras.Model` with the dtype policy of its layers, whatever Keras' global one is.

    So `compile` scales the loss of a model of `mixed_float16`. Its inputs may come with a mask, for instance from a
    `keras.layers.Masking`, and what its layers make of it is the mask of its output. Rows of different lengths are
    refused with the way to pad them, and so are a dict of inputs of other names and inputs of unequal rows.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        policies = [one.dtype_policy for one in self.layers if not isinstance(one, keras.layers.InputLayer)]
        # A backbone has its own policy, and the last layer computes in the dtype of the weights.
        mixed = [policy for policy in policies if policy.compute_dtype != policy.variable_dtype]
        if policies:
            self.dtype_policy = (mixed or policies)[0]

    def __call__(self, inputs, *args, **kwargs):
        takes = self.input
        if isinstance(inputs, dict):
            named = {takes.name: takes} if isinstance(takes, keras.KerasTensor) else takes
            if set(inputs) != set(named):  # Keras would take them in the order of the alphabet
                names = (", ".join(f"`{name}`" for name in sorted(given)) for given in (named, inputs))
                raise ValueError("Expected a dict of {}, received one of {}.".format(*names))
            inputs = {name: _checked(named[name], value) for name, value in inputs.items()}
            _check_rows({name: value for name, value in inputs.items() if not name.endswith("lengths")})
        elif isinstance(takes, keras.KerasTensor):
            inputs = _checked(takes, inputs)
        return super().__call__(inputs, *args, **kwargs)

    fit, evaluate, predict = map(_of_equal_rows, (keras.Model.fit, keras.Model.evaluate, keras.Model.predict))

    def compute_mask(self, inputs, mask=None):
        return None  # its layers give their own to the output


def _checked(takes, values):
    """The values for an input `takes`, if they are padded and, where it takes integers, integers."""
    values = checks.dense(takes.name, values)
    _check_shape(takes, tuple(getattr(values, "shape", ())))
    if takes.dtype != "int32" or isinstance(values, keras.KerasTensor) or not hasattr(values, "dtype"):
        return values
    # Tokens may come as floats, from a table for instance. Lengths that do were computed wrongly.
    kinds = ("int", "uint") if takes.name.endswith("lengths") else ("int", "uint", "float", "bfloat")
    return checks.whole(takes.name, values, kinds)


def _check_shape(takes, received):
    """Refuses images of another shape, and a decoder's inputs without a step, in words that Keras does not have."""
    expected = tuple(takes.shape)
    if len(expected) == 4:  # Keras adds channels where there is one
        full = (*received, 1) if expected[-1] == 1 and len(received) == 3 else received
        if len(full) != 4 or any(None not in pair and len(set(pair)) > 1 for pair in zip(expected, full, strict=True)):
            shape = ", ".join(map(str, ("batch", *expected[1:])))
            raise ValueError(f"Expected `{takes.name}` of shape ({shape}), received {received}.")
    if takes.name == "decoder_inputs" and received[1:2] == (0,):
        raise ValueError(f"Expected `decoder_inputs` with a start token at least, received shape {received}.")
