"""Checks of arguments where they enter: each returns the value or says what was expected and received."""

import math
import numbers

import keras
import numpy as np
from keras import ops


def positive_integer(name, value):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"Expected `{name}` to be a positive integer, received {value!r}.")
    return int(value)


def integer_between(name, value, low, high):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"Expected `{name}` to be an integer from {low} to {high}, received {value!r}.")
    return int(value)


def grey_image(name, value):
    """(rows, columns, 1) as (rows, columns)."""
    if not isinstance(value, (tuple, list)) or len(value) != 3 or value[2] != 1:
        raise ValueError(f"Expected `{name}` to be (rows, columns, 1) of a grey image, received {value!r}.")
    return tuple(positive_integer(name, size) for size in value[:2])


def flag(name, value):
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"Expected `{name}` to be True or False, received {value!r}.")
    return bool(value)


def rate(name, value):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(f"Expected `{name}` to be a rate in [0, 1), received {value!r}.")
    return float(value)


def number(name, value):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"Expected `{name}` to be a number, received {value!r}.")
    return value


def positive(name, value):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"Expected `{name}` to be a positive number, received {value!r}.")
    return value


def not_negative(name, value):
    if number(name, value) < 0:
        raise ValueError(f"Expected `{name}` to be 0 or more, received {value!r}.")
    return value


def between(name, value, low, high):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"Expected `{name}` to be from {low} to {high}, received {value!r}.")
    return value


def one_of(name, value, known):
    alike = [one for one in known if isinstance(value, type(one)) and isinstance(value, bool) == isinstance(one, bool)]
    if value not in alike:  # True is no 1, and an array equals nothing
        raise ValueError(f"Expected `{name}` to be one of {', '.join(map(repr, known))}, received {value!r}.")
    return value


def noise_size(inputs, features):
    """How many of so many inputs are noise: those beside the features, at least one."""
    if inputs <= features:
        raise ValueError(f"Expected inputs of noise beside the {features} of `features`, received {inputs} in all.")
    return inputs - features


def known(tensor):
    """The value of a tensor as an array, or None in a graph, where it has none yet."""
    if isinstance(tensor, keras.KerasTensor):
        return None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # whose tensors of a graph NumPy warns of before it fails

        return tf.get_static_value(tf.convert_to_tensor(tensor))
    try:
        return ops.convert_to_numpy(tensor)
    except (NotImplementedError, TypeError):
        return None


def dense(name, values):
    """The value given for one tensor; lists of numbers as an array.

    Raises:
        ValueError: rows of different lengths, in a RaggedTensor or in lists; the message says how to pad them.
    """
    is_tree = name == "children"  # of which 0 is the first node, no padding
    if hasattr(values, "row_lengths"):
        if is_tree:
            raise ValueError(
                f"Expected `{name}` to be padded by -1, received a RaggedTensor of shape {values.shape}. Give "
                f"`{name}.to_tensor(-1)`."
            )
        raise ValueError(
            f"Expected `{name}` to be padded, received a RaggedTensor of shape {values.shape}. Give "
            f"`{name}.to_tensor()` and, to a model with `lengths=True`, `{name}.row_lengths()` beside it."
        )
    if isinstance(values, (list, tuple)) and all(
        isinstance(leaf, numbers.Number) for leaf in keras.tree.flatten(values)
    ):
        try:
            return np.asarray(values)
        except ValueError:
            if is_tree:
                raise ValueError(
                    f"Expected `{name}` to be padded by -1, to the same number of nodes and of children of each, "
                    "received lists of different lengths."
                ) from None
            raise ValueError(
                f"Expected `{name}` to be padded, received lists of different lengths. Give "
                f'`keras.utils.pad_sequences({name}, padding="post")` and, to a model with `lengths=True`, '
                f"`np.array([len(row) for row in {name}])` beside it."
            ) from None
    return values


def whole(name, values, kinds=("int", "uint")):
    """A tensor or an array as it is, if it holds integers of 32 bits, of a dtype that begins with one of `kinds`."""
    try:
        kind = keras.backend.standardize_dtype(values.dtype)
    except ValueError:  # strings, or no numbers at all
        kind = repr(values.tolist())[:100]
    if not kind.startswith(kinds):
        raise ValueError(f"Expected `{name}` to be integers, received {kind}.")
    array = None if kind == "int32" else known(values)
    if array is not None:
        with np.errstate(invalid="ignore"):
            wrong = array[array != array.astype("int32")]
        if wrong.size:
            raise ValueError(f"Expected `{name}` to be integers of 32 bits, received {_some(wrong)}.")
    elif "float" in kind:
        return require(values, ops.floor(values) == values, f"Expected `{name}` to be integers")
    return values


def integers(name, values, *axes):
    """A tensor, an array or lists of integers as a tensor of int32.

    Args:
        name: of the argument.
        values: may be a tensor of a graph.
        *axes: their names, for the error.
    """
    values = dense(name, values)
    values = values if ops.is_tensor(values) else np.asarray(values)
    received = tuple(values.shape)
    if len(received) != len(axes) or 0 in received:
        whole(name, values if 0 not in received else np.zeros(received, int))
        shape = ", ".join(axes) + "," * (len(axes) == 1)
        hint = f" For one row give `[{name}]`." if 0 < len(received) < len(axes) else ""
        raise ValueError(f"Expected `{name}` of shape ({shape}), none of them 0, received {received}.{hint}")
    return ops.cast(whole(name, values), "int32")


def within(values, low, high, expected):
    """The int tensor `values`, if all of them are from `low` to `high`; see `require`."""
    return require(values, ops.logical_and(values >= low, values <= high), expected)


def shares(name, values):
    """The float tensor `values`, if all of them are from 0 to 1; see `require`."""
    return require(values, ops.logical_and(values >= 0, values <= 1), f"Expected {name} from 0 to 1")


def require(values, holds, expected):
    """The tensor `values`, if all of `holds` do, a bool tensor of the same shape.

    Within a graph of TensorFlow the check is a part of it, unless XLA compiles the graph; other backends know values
    outside of traced functions only.

    Raises:
        ValueError: they do not; the message begins with `expected`. In a graph, InvalidArgumentError.
    """
    good = known(holds)
    if good is None:
        return asserted(values, holds, expected)
    if not good.all():
        raise ValueError(f"{expected}, received {_some(known(values)[~good])}.")
    return values


def asserted(values, holds, expected):
    """`values` within a graph, where a check of TensorFlow fails unless all of `holds` do, of the same shape."""
    if keras.backend.backend() != "tensorflow":
        return values
    import tensorflow as tf  # for an error that a graph raises, which Keras has not

    from archs._core.compiling import is_within_xla  # imports tensorflow

    if is_within_xla():  # there is no error there
        return values
    wrong = tf.boolean_mask(values, tf.logical_not(holds))
    check = tf.debugging.Assert(tf.reduce_all(holds), [f"{expected}, received", wrong], summarize=5)
    with tf.control_dependencies([check]):
        return tf.identity(values)


def _some(array):
    return ", ".join(map(str, array.flatten()[:5]))
