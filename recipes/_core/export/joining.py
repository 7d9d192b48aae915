"""Requests that wait for the same signature, joined to one batch, and its answer taken apart."""

import numpy as np

MOST_ROWS = 64  # of a batch of several requests
_FEW = 16  # what is written in a trial


def key(signature, inputs):
    """Batching key: requests with equal keys can share a batch. None: never batch.

    Only a signature that was seen to answer rows alike, alone and together, is batched: see `is_joinable`.

    Where the answers have a fixed shape, sequences with their `lengths` may be padded: zeros past a length are never
    read. Where they have not, such as a tag for each step, an answer would be padded to the longest of the batch; then
    only requests of one shape and one setting go together, and texts, whose length is not known here, go alone. So does
    a request whose inputs are not all one for each row, or of several sequences, whose rows may be those of one
    another.

    Args:
        signature: `inputs`, `outputs` and `joinable`, as `artifact.signatures` has them.
        inputs: dict of name to array, checked.
    """
    return _key(signature, inputs) if signature.get("joinable") else None


def _key(signature, inputs):
    specs = [*signature["inputs"].values(), *signature["outputs"].values()]
    if not inputs or any(spec["shape"] is None or spec["shape"][:1] != [None] for spec in specs):
        return None  # not all of them have rows
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


def is_joinable(signature, request, call):
    """True if rows that could be batched are seen to be answered the same alone and in a batch.

    The request is asked alone, and so is another one made of it; then both are asked in one batch.

    Args:
        signature: `inputs` and `outputs`, as `artifact.describe` has them.
        request: dict of name to array.
        call: function from a request to its answer, a dict of name to array.
    """
    if _key(signature, request) is None:
        return False
    few = {name: np.minimum(array, _FEW).astype(array.dtype) for name, array in request.items() if name[:4] == "max_"}
    request = request | few  # a drawn text that is long may differ for the rounding of one number
    for other in _others(signature, request):
        if all(np.array_equal(other[name], request[name]) for name in request):
            continue  # it could not be told from the request
        try:
            alone, batch = call(other), [other, request, request]
        except Exception:  # not every change of a request makes sense to its model
            continue
        try:
            expected, together = [alone, *[call(request)] * 2], call(join(batch))
        except Exception:  # alone it would have been answered
            return False
        counts = [rows(each) for each in batch]
        return has_rows(together, sum(counts)) and all(map(_alike, split(together, counts), expected))
    return False


def _others(signature, request):
    """Requests of other values made from one, the likeliest to be seen through first."""
    turned = {name: array[:, ::-1] if array.ndim > 1 else array for name, array in request.items()}
    moved = {
        name: array / 2 + array.dtype.type(0.25)
        for name, array in turned.items()
        if array.dtype.kind == "f" and array.ndim > 1
    }
    shorter = {}
    if all(None not in spec["shape"][1:] for spec in signature["outputs"].values()):  # then rows may differ in length
        growing = [name for name, spec in signature["inputs"].items() if spec["shape"][1:2] == [None]]
        if growing and "lengths" in request:
            half = max(1, request[growing[0]].shape[1] // 2)
            shorter = {name: (turned | moved)[name][:, :half] for name in growing}
            shorter["lengths"] = np.minimum(request["lengths"], half).astype(request["lengths"].dtype)
    halved = {
        name: np.vectorize(_half, otypes=[object])(array)
        for name, array in request.items()
        if array.dtype.kind in "OSU"
    }
    yield turned | moved | shorter | halved
    yield turned | moved | halved
    yield turned | halved
    yield turned


def _half(text):
    text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return text[: (len(text) + 1) // 2].encode()


def _alike(one, other):
    return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)


def _same(one, other):
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    size = np.max(np.abs(other), initial=0, where=np.isfinite(other))
    return np.allclose(one, other, rtol=1e-4, atol=1e-4 * size, equal_nan=True)


def rows(inputs):
    """Number of rows of a request; 1 if its inputs have none."""
    return max((len(array) for array in inputs.values() if array.ndim), default=1)


def join(requests):
    """One request out of several that have the same `key`: sequences are padded with zeros at their ends."""
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


def has_rows(answer, count):
    """True if all of an answer has one for each of so many rows."""
    return all(array.ndim and len(array) == count for array in answer.values())


def split(answer, counts):
    """The answers, one after the other, of requests of so many rows each, out of that of the joined one."""
    ends = np.cumsum(counts)[:-1]
    parts = {name: np.split(array, ends) for name, array in answer.items()}
    return [{name: parts[name][i] for name in parts} for i in range(len(counts))]
