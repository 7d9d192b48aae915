"""A cell within a cell: how it is made, what the two share, and one step of it on what the outer cell feeds it."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell
from archs._core.registry import make_cell

_SHARED = ("activation", "use_bias", "dtype")
_SHARED += tuple(
    f"{role}_{kind}"
    for role in ("kernel", "recurrent", "bias")
    for kind in ("initializer", "regularizer", "constraint")
)


def make_inner(cell, units, arguments):
    """An inner cell of the catalog.

    Args:
        cell: a catalog name, a cell class, a function `units -> cell`, or a cell.
        units: positive integer.
        arguments: dict of the outer cell's arguments. Those of activations, biases, kernels and dtype are the inner
            cell's, too, unless `cell` is one already. What the inner cell has of dropout becomes their default.

    Raises:
        ValueError: it is no cell of the catalog; and see `make_cell`.
    """
    if not isinstance(cell, keras.layers.Layer):
        units = checks.positive_integer("units", units)
        given = {name: arguments[name] for name in _SHARED if arguments.get(name) is not None}
        cell = make_cell(cell, units, **given | ({"name": "inner"} if isinstance(cell, (str, type)) else {}))
    if not isinstance(cell, Cell):
        raise ValueError(f"Expected `cell` to make an inner cell of the catalog, received {cell!r}.")
    for name in ("dropout", "recurrent_dropout", "dropout_method"):
        arguments.setdefault(name, getattr(cell, name))
    return cell


def twin(cell, prefix):
    """Another cell like `cell`, not built, for the same outer cell; the names of its weights begin with `prefix`."""
    config = cell.get_config()
    made = type(cell).from_config(config | {"name": prefix + config["name"]})
    made.weight_prefix = prefix
    return made


def zoneout_of(cell, before, after):
    """The inner cell's rates of zoneout among as many states without before and after its own; 0 where it has none."""
    rates = cell.zoneout if isinstance(cell.zoneout, list) else [cell.zoneout] * len(cell.states)
    return [0.0] * before + rates + [0.0] * after if any(rates) else 0.0


def serialized(cell):
    """The config of an inner cell, which the outer one builds."""
    config = keras.saving.serialize_keras_object(cell)
    config.pop("build_config", None)
    return config


def deserialized(config):
    """The config of the outer cell with an inner cell in place of its config."""
    if isinstance(config["cell"], dict):
        config = config | {"cell": keras.saving.deserialize_keras_object(config["cell"])}
    return config


def splits_inputs(cell):
    """True if what the inner cell reads is a sum of products, so that the one with x can leave a loop over time."""
    return type(cell).project is Cell.project


def project(cell, inputs, first=0):
    """Computes what of an inner cell depends on the inputs (..., d) alone, d input features after the `first` ones."""
    rows = slice(first, first + inputs.shape[-1])
    return cell.add_bias(ops.matmul(inputs, cell.kernel[rows])) if splits_inputs(cell) else inputs


def run(cell, x, fed, states, step, product, is_first=False):
    """The new states of an inner cell.

    Args:
        cell: the inner cell.
        x: from `project`. None: what is fed is all that the cell reads.
        fed: (batch, m), the input features after those of x.
        states: tuple of its states.
        step: `Step` of the outer cell.
        product: function of `fed` and its rows of the kernel.
        is_first: whether what is fed comes before the features of x.
    """
    if x is None:
        x = cell.add_bias(product(fed, cell.kernel)) if splits_inputs(cell) else ops.cast(cell.project(fed), fed.dtype)
    elif splits_inputs(cell):
        size = fed.shape[-1]
        x = x + product(fed, cell.kernel[:size] if is_first else cell.kernel[-size:])
    else:
        read = [fed, x] if is_first else [x, fed]
        x = ops.cast(cell.project(ops.concatenate(read, axis=-1)), fed.dtype)
    return cell.recur(x, states, step.of(cell))
