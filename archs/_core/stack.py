"""Several recurrent layers on top of each other: what factories have in common."""

import keras

from archs._core import checks
from archs._core.recurrent import Recurrent
from archs._core.registry import make_cell, output_size


def make_cells(cell, units, **arguments):
    """The cells of a stack, lowest first.

    Args:
        cell: for all layers, or a list of one per layer: what `make_cell` takes.
        units: a positive integer, for each cell of the list, or for one layer; or a list of one per layer.
        **arguments: further constructor arguments; those that are zero or None are left out.

    Raises:
        ValueError: the lists are empty or differ in length; and see `make_cell`.
    """
    cells, sizes = (list(a) if isinstance(a, (list, tuple)) else None for a in (cell, units))
    count = len(sizes if sizes is not None else cells if cells is not None else [units])
    sizes = [units] * count if sizes is None else sizes
    cells = [cell] * count if cells is None else cells
    if not count or len(cells) != count:
        raise ValueError(f"Expected a list of `units` and of `cell` with one for each layer, received {units}, {cell}.")
    arguments = {name: value for name, value in arguments.items() if value}
    return [make_cell(c, checks.positive_integer("units", n), **arguments) for c, n in zip(cells, sizes, strict=True)]


def equal_sizes(residual, cells):
    """`residual` of a factory: True only where all cells have outputs of one size."""
    sizes = [output_size(cell) for cell in cells]
    if checks.flag("residual", residual) and len(set(sizes)) > 1:
        raise ValueError(f"Expected layers of equal output size with `residual=True`, received {sizes}.")
    return residual


def run_cells(
    cells,
    sequences,
    *,
    mask,
    return_sequences,
    dropout,
    residual=False,
    wrap=None,
    stateful=False,
    starts=None,
    name="recurrent_{}",
):
    """Puts the layers of a stack on top of each other in a functional model, dropout around them.

    Args:
        cells: from `make_cells`.
        sequences: tensor (batch, time, features).
        mask: bool tensor (batch, time), or None.
        return_sequences: whether to return what the last layer says in every time step, or at the end.
        dropout: rate on what goes into each layer and out of the last, a fresh mask in each time step.
        residual: whether each layer but the lowest adds its input to its output.
        wrap: None, or a function of a layer and its number that returns the layer to use.
        stateful: whether a batch starts from the final states of the one before.
        starts: None, or a bool tensor (batch,): rows of a stateful stack that begin anew.
        name: of the layers, with a place for their number.

    Raises:
        ValueError: `stateful` and a batch size that is not fixed.
    """
    if checks.flag("stateful", stateful) and sequences.shape[0] is None:
        raise ValueError("Expected a `batch_size` with `stateful=True`, received None.")
    policy = cells[0].dtype_policy.name

    def dropped(tensor, number):
        return keras.layers.Dropout(dropout, dtype=policy, name=f"dropout_{number}")(tensor) if dropout else tensor

    for number, cell in enumerate(cells, 1):
        layer = Recurrent(
            cell,
            return_sequences=return_sequences or residual or number < len(cells),
            stateful=stateful,
            name=name.format(number),
        )
        layer = wrap(layer, number) if wrap else layer
        given = {} if starts is None else {"starts": starts}
        new = layer(dropped(sequences, number), mask=mask, **given)
        sequences = keras.layers.Add(dtype=policy)([sequences, new]) if residual and number > 1 else new
    if residual and not return_sequences:
        sequences = sequences[:, -1]  # after its length a row repeats its last output
    return dropped(sequences, "out")
