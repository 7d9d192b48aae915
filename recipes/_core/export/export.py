"""Export: a SavedModel that was seen to answer right in another process before a server can see it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import uuid

import numpy as np
import tensorflow as tf

from recipes._core.errors import RecipeError, told
from recipes._core.export import artifact, convert, layout
from recipes._core.files import check_writable, write_json

# Packages are looked for where this process found them, which no option of Python's says, and none of the project's is.
_REPLAY = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
sys.modules["archs"] = sys.modules["recipes"] = None
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
requests, target = sys.argv[2:]
model, replies = tf.saved_model.load("."), {}
for record in tf.data.TFRecordDataset(requests).as_numpy_iterator():
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    name = request.model_spec.signature_name
    inputs = {key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()}
    for key, value in model.signatures[name](**inputs).items():
        replies[name + "/" + key] = value.numpy().astype("S") if value.dtype == tf.string else value.numpy()
np.savez(target, **replies)
"""


def export(signatures, *, sample, card, folder, formats=(), data=None):
    """Writes the SavedModel `folder`/<next version>, for `tensorflow_model_server` and `tf.saved_model.load`.

    It is written beside its place, loaded in a fresh process that knows nothing of this project, compared with the live
    functions on `sample`, and renamed at the end: a server never sees half a model.

    Args:
        signatures: dict of name to `tf.function` with an input signature of named inputs, that returns a dict; one is
            called `serving_default`.
        sample: dict of name of a signature to a request, a dict of input name to array, for each of the signatures.
            The requests are replayed and go into the card with their answers.
        card: dict as `card.card` has it, written to `card.json` and `card.md` beside the model.
        folder: of the recipe's exports.
        formats: of "onnx" and "litert", what the signatures of numbers are also written as, see `convert`.
        data: dict for JSON of what the task keeps of the data, written to `data.json` beside the model; or None.

    Returns:
        The path of the version, and the card with the sample in it.

    Raises:
        RecipeError: the reloaded model answers otherwise than the live one, or holds what a server cannot run; or a
            format cannot be written.
    """
    folder = pathlib.Path(folder)
    check(folder, formats)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    # A server takes only whole numbers for versions, and so passes over this one.
    temporary = folder / f".tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        artifact.write(temporary, signatures)
        # A server that does not allow XLA would refuse the whole version when it warms up.
        warm_up = {name: request for name, request in sample.items() if name != "xla"}
        artifact.write_requests(temporary / artifact.WARM_UP, folder.name, warm_up)
        described = artifact.signatures(temporary, card["parameters"])
        answers = _verify(temporary, signatures, sample)
        samples = {name: {"request": sample[name], "answer": answer} for name, answer in answers.items()}
        for kind in formats:
            getattr(convert, kind)(signatures, samples, temporary / kind)
        samples = {name: {side: as_lists(arrays) for side, arrays in sides.items()} for name, sides in samples.items()}
        card = card | {"signatures": described, "sample": samples}
        write_json(temporary / "card.json", card)
        if data:
            write_json(temporary / "data.json", data)
        (temporary / "card.md").write_text(artifact.markdown(card), encoding="utf-8")
        path = _rename_to_next_version(temporary, folder)
        artifact.write_models_config(folder.parent)
        return path, card
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check(folder, formats=()):
    """Tries what an export will need, before the work that comes before it.

    Args:
        folder, formats: as for `export`.

    Raises:
        RecipeError: the folder cannot be written to, or a package of a format is not installed.
    """
    for kind in formats:
        convert.packages(kind)
    check_writable(pathlib.Path(folder).parent, folder)  # beside the recipes' folders lies `models.config`


def _verify(path, signatures, sample):
    """The answers of the model at `path` to `sample`, from a fresh process; checked against the live functions."""
    with tf.device("CPU:0"):  # as the other process: a GPU multiplies with fewer bits
        live = {name: as_arrays(signatures)(sample[name], name) for name in signatures}
    with tempfile.TemporaryDirectory() as scratch:
        requests, reply = pathlib.Path(scratch, "requests"), pathlib.Path(scratch, "reply.npz")
        artifact.write_requests(requests, path.parent.name, sample)
        places = json.dumps([os.path.abspath(place) for place in sys.path])
        run = subprocess.run(
            [sys.executable, "-c", _REPLAY, places, str(requests), str(reply)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=path,  # so that its name, in which TensorFlow could see a pattern, is not told
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        )
        if run.returncode:
            raise RecipeError(f"The exported model does not load in a fresh process:\n{run.stderr[-2000:]}")
        with np.load(reply) as file:
            loaded = {name: {key: _text(file[f"{name}/{key}"]) for key in answer} for name, answer in live.items()}
    for name, answer in live.items():
        for key, expected in answer.items():
            _compare(f"{name}: {key}", loaded[name][key], expected)
    return loaded


def _compare(what, received, expected):
    is_float = np.issubdtype(expected.dtype, np.floating)
    if is_float and not np.all(np.isfinite(expected)):
        raise RecipeError(f"The model answers {what} {expected}: expected finite numbers. Did its training diverge?")
    same = expected.shape == received.shape and (
        np.allclose(received, expected, rtol=1e-4, atol=1e-5) if is_float else np.array_equal(received, expected)
    )
    if not same:
        raise RecipeError(
            f"The exported model answers otherwise than the live one: expected {what} {expected}, received {received}."
        )


def _remove_leftovers(folder):
    """Removes what a killed export left behind, and nothing of one that is running."""
    for path in folder.glob(".tmp-*"):
        try:
            os.kill(int(path.name.split("-")[1]), 0)
        except (ProcessLookupError, ValueError, IndexError):
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:
            pass  # somebody else's process, alive


def versions(folder):
    """The version numbers in a recipe's folder of exports, ascending."""
    return list(layout.versions(folder))


def _rename_to_next_version(temporary, folder):
    while True:
        target = folder / str(max(versions(folder), default=0) + 1)
        try:
            temporary.rename(target)
            return target
        except OSError:
            if not target.exists():  # otherwise another export took the number
                raise


def load(folder, recipe, version=None):
    """The signatures of an exported model, as `as_arrays` has them, and the path of its version.

    Raises:
        RecipeError: there is no such version.
    """
    there = {number: path for number, path in layout.versions(folder).items() if (path / "saved_model.pb").exists()}
    if not there or version not in (None, *there):
        wanted = f"version {version} of {recipe}" if version is not None else f"an exported model of {recipe}"
        raise RecipeError(
            f"Expected {wanted} in {folder}, found {list(there) or 'none'}. "
            f"To train and export one: python -m recipes train {recipe} --export"
        )
    path = there[max(there) if version is None else version]
    words = f"Expected a whole SavedModel in {path}; export it anew"
    with told(words, OSError, ValueError, LookupError, tf.errors.OpError):
        model = artifact.load(path)
    return as_arrays(model.signatures), path


def as_arrays(signatures):
    """Signatures, by name, as one function from a dict of arrays, and a name, to a dict of arrays."""

    def call(request, signature="serving_default"):
        answer = signatures[signature](**{name: tf.constant(array) for name, array in request.items()})
        return {name: _text(value.numpy()) for name, value in answer.items()}

    return call


def as_request(lists, function):
    """Lists by input name, as JSON holds them, as the arrays that a `tf.function` with an input signature takes."""
    dtypes = {spec.name: spec.dtype for spec in function.input_signature}
    return {
        name: np.asarray(value, None if dtypes[name] == tf.string else dtypes[name].as_numpy_dtype)
        for name, value in lists.items()
    }


def _text(array):
    """The array; one of bytes as one of strings."""
    return np.char.decode(array.astype("S"), "utf-8") if array.dtype.kind in "OS" else array


def as_lists(arrays):
    """Arrays by name as lists, for JSON."""
    return {name: array.tolist() for name, array in arrays.items()}
