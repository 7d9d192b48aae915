"""An exported SavedModel, and the files beside it: its signatures, warm-up requests, a page to read."""

import functools
import gc
import json
import os
import pathlib
import tempfile

import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from recipes._core.data.batching import described
from recipes._core.errors import RecipeError
from recipes._core.export import joining, layout
from recipes._core.export.signatures import words

WARM_UP = "assets.extra/tf_serving_warmup_requests"
_REFUSED = {  # beginnings of the names of operations that a server without our process or our device cannot run
    "Cudnn": "a kernel of one maker's devices: give keras.layers.LSTM and GRU use_cudnn=False",
    "PyFunc": "a call of the Python process that wrote it",
    "EagerPyFunc": "a call of the Python process that wrote it",
    "Flex": "an operation of TensorFlow Lite",
}


def write(path, functions):
    """Writes a SavedModel with a signature for each of the functions, and each of their variables and tables once.

    Args:
        path: of the folder, which is made.
        functions: dict of name to `tf.function` with an input signature of named inputs, that returns a dict.
    """
    # Keras' own ways store every weight twice, https://github.com/keras-team/keras/issues/23553, or every function.
    holder = tf.Module()
    signatures = {name: function.get_concrete_function() for name, function in functions.items()}
    variables = {id(variable): variable for function in signatures.values() for variable in function.variables}
    holder.weights = list(variables.values())
    holder.tables = _tables(signatures.values())
    # What is exported is not trained on: without this, the gradients of all loops are stored, too.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(holder, str(path), signatures=signatures, options=options)


def _tables(functions):
    """The lookup tables that concrete functions use, wherever they were made: in a layer, a task or a closure."""
    # A function knows the handles of its tables, not the tables; TensorFlow has no list of those.
    variables = {id(variable.handle) for function in functions for variable in function.variables}
    captured = {id(tensor): tensor for function in functions for tensor in function.captured_inputs}
    handles = [tensor for key, tensor in captured.items() if tensor.dtype == tf.resource and key not in variables]
    if not handles:
        return []
    # Not by `gc.get_objects`: that takes hold of what other threads are building, a tuple, say, which then fails.
    holders = gc.get_referrers(*handles)
    holders += gc.get_referrers(*[holder for holder in holders if type(holder) is dict])
    kinds = tf.lookup.StaticHashTable, tf.lookup.experimental.MutableHashTable, tf.lookup.experimental.DenseHashTable
    # By the type: `isinstance` asks the object, and objects of other libraries answer with a warning, or fail.
    return list({id(holder): holder for holder in holders if issubclass(type(holder), kinds)}.values())


def write_requests(path, recipe, sample):
    """Writes requests as a server's warm-up file has them.

    Args:
        path: of the file.
        recipe: name of it, under which a server has the model.
        sample: dict of name of a signature to a request, a dict of input name to array.
    """
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, request in sample.items():
            spec = model_pb2.ModelSpec(name=recipe, signature_name=name)
            inputs = {key: tf.make_tensor_proto(value) for key, value in request.items()}
            log = prediction_log_pb2.PredictLog(request=predict_pb2.PredictRequest(model_spec=spec, inputs=inputs))
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def requests(path):
    """Yields signature name and inputs, a dict of name to array, of each request to predict in a warm-up file.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                continue
            request = log.predict_log.request
            inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            yield request.model_spec.signature_name or "serving_default", inputs
    except (tf.errors.OpError, message.DecodeError, TypeError, ValueError) as error:
        raise ValueError(f"Expected requests in {path}, received a damaged file ({str(error)[:200]}).") from None


def load(path):
    """The SavedModel in a folder, whatever its name: TensorFlow takes one for a pattern.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    with tempfile.TemporaryDirectory() as scratch:
        link = pathlib.Path(scratch, "model")
        link.symlink_to(pathlib.Path(path).resolve())
        try:
            return tf.saved_model.load(str(link))
        except Exception as error:  # whatever somebody put there may cause
            message = words(error).replace(str(link), str(path))
            raise ValueError(f"Expected a whole SavedModel in {path} ({message}).") from None


def call(model, signature, inputs):
    """The answer of a loaded SavedModel, a dict of output name to array, in the order of names."""
    answer = model.signatures[signature](**{name: tf.constant(array) for name, array in inputs.items()})
    return {name: value.numpy() for name, value in sorted(answer.items())}


def signatures(path, parameters):
    """Describes each signature: `inputs` and `outputs`, name to dtype and shape, and `joinable`.

    `joinable` says that rows of different requests may be asked together: the requests of the warm-up file were
    answered the same alone and together. A server joins no others.

    Args:
        path: of the SavedModel.
        parameters: how many the model has.

    Raises:
        RecipeError: it holds what a server cannot run, asks for a fixed number of rows, answers in a half type, or is
            larger than its weights account for.
    """
    path = pathlib.Path(path)
    meta = meta_graph(path)
    functions = meta.graph_def.library.function
    nodes = [*meta.graph_def.node, *(node for function in functions for node in function.node_def)]
    for operation in sorted({node.op for node in nodes}):
        for beginning, what in _REFUSED.items():
            if operation.startswith(beginning):
                raise RecipeError(f"The model holds {operation}, {what}.")
    wants_xla = any(function.attr["_XlaMustCompile"].b for function in functions)
    if wants_xla and "xla" not in meta.signature_def:
        raise RecipeError("The model asks for XLA, which many servers have not, outside of a signature `xla`.")
    if not wants_xla and "xla" in meta.signature_def:
        raise RecipeError("Expected a recipe that calls its model as a whole: there is nothing in `xla` for XLA.")
    described = describe(meta)
    for name, sides in described.items():
        for key, spec in sides["inputs"].items():
            if not spec["shape"] or spec["shape"][0] is not None:
                raise RecipeError(f"Expected any number of rows, received {name}: {key} of shape {spec['shape']}.")
        for key, spec in sides["outputs"].items():
            if spec["dtype"] in ("float16", "bfloat16"):
                raise RecipeError(f"Expected float32, received {name}: {key} of {spec['dtype']}, which REST has not.")
    size = sum(file.stat().st_size for file in (path / "variables").iterdir())
    if size > 1.1 * 4 * parameters + 1e6:
        raise RecipeError(f"Expected each of {parameters:,} parameters once, received {size:,} bytes of weights.")
    joinable = _joinable(path, described)
    return {name: sides | {"joinable": name in joinable} for name, sides in described.items()}


def _joinable(path, described):
    """The names of the signatures whose rows are answered the same alone and together."""
    samples = dict(requests(path / WARM_UP)) if (path / WARM_UP).exists() else {}
    if "serving_default" in samples and "xla" in described:  # which the warm-up file leaves out
        samples["xla"] = samples["serving_default"]
    with tf.device("CPU:0"):  # a GPU may multiply with fewer bits for other sizes
        model = load(path)
        return {
            name
            for name, request in samples.items()
            if joining.is_joinable(described[name], request, functools.partial(call, model, name))
        }


def meta_graph(path):
    """The first graph of the SavedModel in a folder, with its signatures, as TensorFlow's protocol buffer has it.

    Raises:
        OSError, ValueError: there is none.
    """
    try:
        return saved_model_pb2.SavedModel.FromString((pathlib.Path(path) / "saved_model.pb").read_bytes()).meta_graphs[
            0
        ]
    except (message.DecodeError, IndexError):
        raise ValueError(f"Expected a SavedModel in {path}, received a damaged saved_model.pb.") from None


def describe(meta):
    """For each signature of a `meta_graph` its `inputs` and `outputs`: name to dtype and shape.

    None for a size is any size, None for a shape any shape.
    """
    return {
        name: {side: _specs(getattr(signature, side)) for side in ("inputs", "outputs")}
        for name, signature in sorted(meta.signature_def.items())
        if not name.startswith("__")  # TensorFlow's own
    }


def _specs(infos):
    """Name to dtype and shape."""
    return {
        name: {
            "dtype": tf.dtypes.as_dtype(info.dtype).name,
            "shape": None
            if info.tensor_shape.unknown_rank
            else [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim],
        }
        for name, info in sorted(infos.items())
    }


def shape(sizes):
    """The sizes of axes, None being any, as text."""
    if sizes is None:
        return "any shape"
    return f"({', '.join('any' if size is None else str(size) for size in sizes)}{',' * (len(sizes) == 1)})"


def markdown(card):
    """The card as a page to read."""

    def table(head, rows):
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in lines)

    dataset, training = card["dataset"], card["training"]
    parts = [
        f"# {card['recipe']}",
        table(
            ["", ""],
            [
                ["dataset", f"{described(dataset)}, sha256 of the values {dataset['sha256']}"],
                ["licence of the data", dataset.get("licence") or "not stated by the dataset"],
                ["parameters", f"{card['parameters']:,}"],
                ["trained", f"{training['seconds']} s on {training['device']}, {card['precision']}"],
                ["versions", ", ".join(f"{name} {version}" for name, version in card["versions"].items())],
                ["commit", card["commit"] or "none: installed, not checked out"],
            ],
        ),
        "## Results",
        table(["test split", ""], [[name.replace("_", " "), f"{x:.6g}"] for name, x in card["metrics"].items()]),
    ]
    if card.get("published"):
        parts += ["Published:", table(["", ""], card["published"].items())]
    parts += ["## Settings", table(["", ""], card["config"].items()), "## Signatures"]
    for name, sides in card["signatures"].items():
        rows = [
            [side[:-1], key, spec["dtype"], shape(spec["shape"])]
            for side in ("inputs", "outputs")
            for key, spec in sides[side].items()
        ]
        parts += [f"### {name}", table(["", "name", "dtype", "shape"], rows)]
        for what in ("request", "answer"):
            text, told = _short_json(card["sample"][name][what])
            parts.append(f"A sample {what}{told}:\n\n```json\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def _short_json(value):
    """A value as JSON of some 2,000 characters, and in words what was left out of its lists and texts for that."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) < 2000:
        return text, ""
    for most in (100, 50, 20, 10, 5, 3, 2, 1):
        text = json.dumps(_first(value, most), ensure_ascii=False)
        if len(text) < 2000:
            break
    return text, f", of each list the first {most} and of each text the first {20 * most} characters"


def _first(value, most):
    """A value with the first `most` entries of each list in it, and the first characters of each text."""
    if isinstance(value, dict):
        return {name: _first(part, most) for name, part in value.items()}
    if isinstance(value, list):
        return [_first(part, most) for part in value[:most]]
    return value[: 20 * most] if isinstance(value, str) else value


def write_models_config(folder):
    """Writes `models.config` into the folder of all exports, for `tensorflow_model_server --model_config_file`.

    It names every recipe that has a version, below the folder /models, where the server's container image has them.
    """
    folder = pathlib.Path(folder)
    lines = []
    for path in sorted(folder.iterdir()):
        if layout.versions(path):
            config = model_server_config_pb2.ModelConfig(
                name=path.name, base_path=f"/models/{path.name}", model_platform="tensorflow"
            )
            lines.append(config)
    text = str(model_server_config_pb2.ModelServerConfig(model_config_list={"config": lines}))
    new = folder / f".models.config.{os.getpid()}"
    new.write_text(text)
    new.replace(folder / "models.config")
