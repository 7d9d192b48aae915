"""Weights to and from `torch.nn` and `keras.layers`, as arrays by name; neither torch nor a model is needed for it.

`from_torch` and `from_keras` make the weights of a cell of the catalog, `to_torch` and `to_keras` go back,
`get_weights` and `set_weights` read and write a built cell:

>>> import numpy as np, archs
>>> state_dict = {"weight_ih_l0": np.ones((24, 4)), "weight_hh_l0": np.ones((24, 6))}
>>> state_dict |= {"bias_ih_l0": np.ones(24), "bias_hh_l0": np.ones(24)}
>>> layer = archs.Recurrent(archs.LSTMCell(6))
>>> layer.build((None, None, 4))
>>> archs.exchange.set_weights(layer.cell, archs.exchange.from_torch("lstm", state_dict))

| cell | torch.nn | keras.layers |
|---|---|---|
| lstm | LSTM | LSTM |
| projected_lstm with peepholes=False | LSTM with proj_size | - |
| gru with reset_after=True | GRU | GRU |
| gru | - | GRU with reset_after=False |
| simple_rnn, irnn | RNN with nonlinearity "tanh", "relu" | SimpleRNN with the same activation |
"""

import numpy as np

from archs._core.names import nearest

# For each cell: the gates in torch's order, and in ours.
_TORCH = {
    "lstm": ("ifgo", "ifgo"),
    "projected_lstm": ("ifgo", "ifgo"),
    "gru": ("rzh", "zrh"),
    "simple_rnn": ("h", "h"),
    "irnn": ("h", "h"),
}
_KERAS = ("lstm", "gru", "simple_rnn", "irnn")


def from_torch(name, state_dict, *, layer=0, reverse=False):
    """The weights of one layer and direction of a torch module, for a cell of the catalog.

    Args:
        name: catalog name of the cell.
        state_dict: `state_dict()` of a `torch.nn.LSTM`, `GRU` or `RNN`: name to array or CPU tensor.
        layer: which of its layers.
        reverse: whether the backward direction of a bidirectional one.

    Returns:
        A dict of weight name to array, as `set_weights` takes it. torch's two biases are summed where both are only
        ever added; those of a GRU stay apart. A GRU without biases fits a `gru` of either kind, but computes the same
        with `reset_after=True` only.

    Raises:
        ValueError: the cell has no counterpart, or an array is missing, left over or of a wrong shape.
    """
    theirs, ours = _entry(name, _TORCH, "torch.nn")
    suffix = _suffix(layer, reverse)
    state_dict = _arrays(state_dict)
    found = {key.removesuffix(suffix): a for key, a in state_dict.items() if key.endswith(suffix)}
    if not reverse:
        found = {key: a for key, a in found.items() if not key.endswith("_reverse")}
    expected = ["weight_ih", "weight_hh"] + ["weight_hr"] * (name == "projected_lstm")
    if "bias_ih" in found or "bias_hh" in found:
        expected += ["bias_ih", "bias_hh"]
    if sorted(found) != sorted(expected):
        names = ", ".join(key + suffix for key in expected)
        hint = " It has a projection: take projected_lstm." if "weight_hr" in found else ""
        raise ValueError(f"Expected {names} for {name}, received {', '.join(state_dict) or 'nothing'}.{hint}")
    for key in expected[: 2 + (name == "projected_lstm")]:
        _check_matrix(key + suffix, found[key])
    n = len(found["weight_hh"]) // len(theirs)
    p = found["weight_hr"].shape[0] if "weight_hr" in found else n
    d = found["weight_ih"].shape[-1]
    shapes = {"weight_ih": (len(theirs) * n, d), "weight_hh": (len(theirs) * n, p), "weight_hr": (p, n)}
    for key in expected:
        _check_shape(key + suffix, found[key], shapes.get(key, (len(theirs) * n,)))
    weights = {
        "kernel": _reorder(found["weight_ih"].T, theirs, ours),
        "recurrent_kernel": _reorder(found["weight_hh"].T, theirs, ours),
    }
    if "weight_hr" in found:
        weights["projection_kernel"] = found["weight_hr"].T
    if "bias_ih" in found:
        rows = np.stack([_reorder(found[key], theirs, ours) for key in ("bias_ih", "bias_hh")])
        weights["bias"] = rows if name == "gru" else rows.sum(axis=0)
    return weights


def to_torch(name, weights, *, layer=0, reverse=False):
    """The reverse of `from_torch`: a dict of arrays to update a state dict with.

    Where torch has two biases for one of ours, the second is zero.

    Args:
        name: catalog name of the cell.
        weights: its weights, as `get_weights` returns them.
        layer: which layer of the torch module.
        reverse: whether the backward direction.

    Raises:
        ValueError: the cell has no counterpart, or a weight is missing, left over or of a wrong shape.
    """
    theirs, ours = _entry(name, _TORCH, "torch.nn")
    suffix = _suffix(layer, reverse)
    weights = _checked(name, weights, ["projection_kernel"] * (name == "projected_lstm"))
    state_dict = {
        "weight_ih": _reorder(weights["kernel"], ours, theirs).T,
        "weight_hh": _reorder(weights["recurrent_kernel"], ours, theirs).T,
    }
    if "bias" in weights:
        bias = weights["bias"]
        if name == "gru" and bias.ndim != 2:
            raise ValueError(
                "Expected the weights of a gru with `reset_after=True`, whose bias has the shape (2, 3n), received "
                f"{bias.shape}: torch.nn.GRU has no other."
            )
        rows = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
        state_dict["bias_ih"], state_dict["bias_hh"] = _reorder(rows, ours, theirs)
    if "projection_kernel" in weights:
        state_dict["weight_hr"] = weights["projection_kernel"].T
    return {key + suffix: np.ascontiguousarray(a) for key, a in state_dict.items()}


def from_keras(name, weights):
    """The weights of a Keras layer or cell, for a cell of the catalog.

    Args:
        name: catalog name of the cell.
        weights: `get_weights()` of a `keras.layers.LSTM`, `GRU` or `SimpleRNN`, or of their cells.

    Returns:
        A dict of weight name to array, as `set_weights` takes it.

    Raises:
        ValueError: the cell has no counterpart, or an array is missing, left over or of a wrong shape.
    """
    _entry(name, _KERAS, "keras.layers")
    if not isinstance(weights, (list, tuple)) or len(weights) not in (2, 3):
        received = f"{len(weights)} arrays" if isinstance(weights, (list, tuple)) else repr(weights)
        raise ValueError(
            f"Expected a list of kernel, recurrent_kernel and perhaps bias for {name}, received {received}."
        )
    names = ["kernel", "recurrent_kernel", "bias"][: len(weights)]
    return _checked(name, dict(zip(names, weights, strict=True)))


def to_keras(name, weights):
    """The reverse of `from_keras`: a list for `set_weights` of the Keras layer.

    Raises:
        ValueError: the cell has no counterpart, or a weight is missing, left over or of a wrong shape.
    """
    _entry(name, _KERAS, "keras.layers")
    weights = _checked(name, weights)
    return [weights[key] for key in ("kernel", "recurrent_kernel", "bias") if key in weights]


def get_weights(cell):
    """The weights of a built cell: a dict of name to array.

    Raises:
        ValueError: it is not built, or not one cell.
    """
    return {name: np.asarray(w) for name, w in _variables(cell).items()}


def set_weights(cell, weights):
    """Writes the weights of a built cell from a dict of name to array: all of them, or none if one does not fit.

    Raises:
        ValueError: it is not built, or not one cell, or a weight is missing, left over or of a wrong shape.
    """
    expected, weights = _variables(cell), _arrays(weights)
    if expected.keys() != weights.keys():
        raise ValueError(f"Expected the weights {', '.join(expected)}, received {', '.join(weights)}.")
    for name, variable in expected.items():
        _check_shape(name, weights[name], tuple(variable.shape))
    for name, variable in expected.items():
        variable.assign(weights[name])


def _variables(cell):
    variables = {w.name: w for w in cell.weights}
    if not variables:
        raise ValueError(f"Expected a cell that is built, received {cell!r}, which has no weights yet.")
    if len(variables) != len(cell.weights):
        raise ValueError(f"Expected one cell, received {cell!r}, in which several have weights of the same name.")
    return variables


def _arrays(weights):
    if not hasattr(weights, "items"):
        raise ValueError(f"Expected a dict of name to array, received {weights!r}.")
    try:
        return {key: np.asarray(a) for key, a in weights.items()}
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"Expected arrays, or CPU tensors of `state_dict()`, received what is none: {error}"
        ) from error


def _check_matrix(name, array):
    if array.ndim != 2:
        raise ValueError(f"Expected {name} to have two axes, received the shape {array.shape}.")


def _entry(name, known, library):
    if name not in known:
        raise ValueError(f"Expected a cell with a counterpart in {library}, received {name!r}. {nearest(name, known)}")
    return known[name] if isinstance(known, dict) else None


def _suffix(layer, reverse):
    return f"_l{layer}" + "_reverse" * bool(reverse)


def _reorder(a, order, wanted):
    """`a` with the blocks of its last axis, which are in `order`, as `wanted`."""
    blocks = dict(zip(order, np.split(a, len(order), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted], axis=-1)


def _check_shape(name, array, shape):
    if array.shape != shape:
        raise ValueError(f"Expected {name} of the shape {shape}, received {array.shape}.")


def _checked(name, weights, further=()):
    """The weights as arrays, their names and shapes checked against each other."""
    weights = _arrays(weights)
    expected = ["kernel", "recurrent_kernel", *further]
    if sorted(weights.keys() - {"bias"}) != sorted(expected):
        hint = " One with peepholes has no counterpart." if "peephole_kernel" in weights else ""
        raise ValueError(f"Expected {', '.join(expected)} and perhaps bias, received {', '.join(weights)}.{hint}")
    for key in expected:
        _check_matrix(key, weights[key])
    blocks = len(_TORCH[name][1])
    width = weights["kernel"].shape[1]
    if width % blocks:
        raise ValueError(f"Expected kernel to have {blocks} blocks of columns for {name}, received {width} columns.")
    outputs = weights["projection_kernel"].shape[1] if further else width // blocks
    _check_shape("recurrent_kernel", weights["recurrent_kernel"], (outputs, width))
    if further:
        _check_shape("projection_kernel", weights["projection_kernel"], (width // blocks, outputs))
    if "bias" in weights and not (name == "gru" and weights["bias"].shape == (2, width)):
        _check_shape("bias", weights["bias"], (width,))
    return weights
