"""Requests that wait for the same signature, joined to one batch, and its answer taken apart."""

import numpy as np

MOST_ROWS = 64  # of a batch of several requests


def key(signature, inputs):
    """What requests have in common that one batch can answer as if each were alone; None where there is no such thing.

    Where the answers have a fixed shape, rows are independent, and sequences with their `lengths` may be padded: zeros
    behind a length are never read. Where they have not, such as a tag for each step, an answer would be padded to the
    longest of the batch; then only requests of one shape and one setting go together, and texts, whose length is not
    known here, go alone. So does a request whose inputs are not all one for each row, or of several sequences, whose
    rows may be those of one another.

    Args:
        signature: `inputs` and `outputs`, as `artifact.describe` has them.
        inputs: dict of name to array, checked.
    """
    growing = [name for name, spec in signature["inputs"].items() if spec["shape"][1:2] == [None]]
    if len(growing) > 1 or len({len(array) for array in inputs.values()}) > 1:
        return None
    is_fixed = all(None not in spec["shape"][1:] for spec in signature["outputs"].values())
    shapes = {name: array.shape[1:] for name, array in inputs.items()}
    if not is_fixed:
        if any(spec["dtype"] == "string" for spec in signature["inputs"].values()):
            return None
        settings = [(name, *np.unique(array)) for name, array in inputs.items() if array.ndim == 1]
        return (*shapes.items(), *settings)
    # Rows of a batch that write something are done when the longest is.
    limits = [
        (name, int(np.max(array, initial=0)).bit_length()) for name, array in inputs.items() if name.startswith("max_")
    ]
    if growing and "lengths" in inputs:
        time, *rest = shapes[growing[0]]
        if np.any(inputs["lengths"] > time):
            return None  # padded, it would be taken for right
        shapes[growing[0]] = (time.bit_length(), *rest)  # no more than twice as long as any other
    return (*shapes.items(), *limits)


def rows(inputs):
    """How many rows a request has."""
    return len(next(iter(inputs.values())))


def join(requests):
    """One request out of several that have the same `key`: sequences are padded with zeros behind their ends."""
    joined = {}
    for name in requests[0]:
        arrays = [request[name] for request in requests]
        if arrays[0].ndim > 1:
            longest = max(array.shape[1] for array in arrays)
            arrays = [_padded(array, longest) for array in arrays]
        joined[name] = np.concatenate(arrays)
    return joined


def _padded(array, longest):
    missing = longest - array.shape[1]
    return np.pad(array, [(0, 0), (0, missing), *[(0, 0)] * (array.ndim - 2)]) if missing else array


def split(answer, counts):
    """The answers, one after the other, of requests of so many rows each, out of that of the joined one."""
    ends = np.cumsum(counts)[:-1]
    parts = {name: np.split(array, ends) for name, array in answer.items()}
    return [{name: parts[name][i] for name in parts} for i in range(len(counts))]
