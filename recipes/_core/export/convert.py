"""A signature of numbers as an ONNX or a LiteRT file, which is kept only if it answers as the SavedModel does.

The files check nothing: lengths, tokens and numbers that are not finite are left to the caller.
"""

import contextlib
import importlib
import logging
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from recipes._core.errors import RecipeError, install
from recipes._core.export import artifact

SIGNATURES = ("logits", "step")  # texts and labels, and the searches and draws of the others, stay in the SavedModel
_PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert.interpreter",)}  # by extra
_NEAR = 1e-4


def packages(kind):
    """The modules that "onnx" or "litert" needs.

    Raises:
        RecipeError: one is not installed.
    """
    try:
        return [importlib.import_module(name) for name in _PACKAGES[kind]]
    except ModuleNotFoundError as error:
        raise RecipeError(f"{error}. To convert, {install(kind)}") from error


def onnx(functions, samples, folder):
    """Writes `folder`/<signature>.onnx, for any batch and time.

    Where an input and an output of a signature share a name, which ONNX does not allow, the output is `next_<name>`.

    Args:
        functions: dict of name of a signature to `tf.function` with an input signature.
        samples: dict of name of a signature to `request` and `answer`, dicts of name to array.
        folder: that the files come into.

    Raises:
        RecipeError: a package is missing, there is no signature of numbers, or a file answers otherwise.
    """
    tf2onnx, runtime = packages("onnx")
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    for name, function in _numeric(functions).items():
        renamed = _renamed(function)
        path = _new(folder, f"{name}.onnx")
        with _told(name, "ONNX"):
            tf2onnx.convert.from_function(
                renamed, input_signature=function.input_signature, opset=17, output_path=str(path)
            )
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        keys = [output.name for output in session.get_outputs()]
        received = dict(zip(keys, session.run(None, samples[name]["request"]), strict=True))
        inputs = {spec.name for spec in function.input_signature}
        _compare(path, received, _next(samples[name]["answer"], inputs))


def litert(functions, samples, folder):
    """Writes `folder`/<signature>.tflite, for one row of any time, of LiteRT's own operations only.

    Args:
        functions, samples, folder: as for `onnx`.

    Raises:
        RecipeError: a package is missing, there is no signature of numbers for one row, an operation is not LiteRT's,
            or a file answers otherwise.
    """
    (interpreter,) = packages("litert")
    for name, function in _numeric(functions).items():
        more = {key: value.shape for key, value in samples[name]["request"].items() if len(value) != 1}
        if more:
            raise RecipeError(f"LiteRT takes one row; expected one in the sample request of {name}, received {more}.")
        # A batch of any size would need TensorFlow's lists, which LiteRT has not.
        specs = [tf.TensorSpec((1, *spec.shape[1:]), spec.dtype, name=spec.name) for spec in function.input_signature]
        with tempfile.TemporaryDirectory() as scratch:
            artifact.write(scratch, {name: tf.function(function.python_function, input_signature=specs)})
            converter = tf.lite.TFLiteConverter.from_saved_model(scratch)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            with _told(name, "LiteRT"):
                content = converter.convert()
        path = _new(folder, f"{name}.tflite")
        path.write_bytes(content)
        runner = interpreter.Interpreter(str(path)).get_signature_runner()
        _compare(path, runner(**samples[name]["request"]), samples[name]["answer"])


def _renamed(function):
    """The function, with `_next` of its outputs."""
    inputs = {spec.name for spec in function.input_signature}

    def call(*values):
        return _next(function.python_function(*values), inputs)

    return tf.function(call, input_signature=function.input_signature)


def _next(outputs, inputs):
    return {f"next_{name}" if name in inputs else name: value for name, value in outputs.items()}


@contextlib.contextmanager
def _told(name, form):
    try:
        yield
    except Exception as error:  # the converters' own kinds are not public
        raise RecipeError(f"{form} cannot run {name}: {str(error)[:500]}") from error


def _numeric(functions):
    numeric = {name: functions[name] for name in SIGNATURES if name in functions}
    if not numeric:
        raise RecipeError(f"Expected one of the signatures {', '.join(SIGNATURES)}, received {', '.join(functions)}.")
    return numeric


def _new(folder, name):
    path = pathlib.Path(folder, name)
    path.parent.mkdir(exist_ok=True)
    return path


def _compare(path, received, expected):
    if received.keys() != expected.keys():
        raise RecipeError(f"Expected {path.name} to answer {sorted(expected)}, received {sorted(received)}.")
    for key, value in expected.items():
        if received[key].shape != value.shape or not np.allclose(received[key], value, rtol=_NEAR, atol=_NEAR):
            raise RecipeError(
                f"{path.name} answers otherwise than the SavedModel: expected {key} {value}, received {received[key]}."
            )
