"""ONNX and LiteRT files answer as the functions do that they come from, also for other lengths and batches."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.errors import RecipeError
from recipes._core.export import convert, signatures
from recipes.tasks import language_modelling

RNG = np.random.default_rng(0)


def floats(time, *features):
    return {
        "inputs": RNG.normal(size=(1, time, *features)).astype(np.float32),
        "lengths": np.array([time - 1], np.int32),
    }


def tokens(time, prefix=""):
    inputs = RNG.integers(0, 5, (1, time), np.int32)
    return {f"{prefix}inputs": inputs, f"{prefix}lengths": np.array([time - 1], np.int32)}


def vanilla():
    return signatures.logits(archs.vanilla_lstm(3, 4, 2, lengths=True)), [floats(time, 3) for time in (7, 12)]


def frames():
    model = archs.cnn_lstm((16, 16, 1), 4, 2, filters=[2, 3], lengths=True)
    return signatures.logits(model), [floats(time, 16, 16, 1) for time in (4, 6)]


def signals():
    model = archs.cnn_lstm(6, 4, 2, filters=[2, 3], kernel_size=5, lengths=True)
    return signatures.logits(model), [floats(time, 6) for time in (14, 21)]


def tags():
    model = archs.bidirectional_lstm(4, 4, 2, vocabulary=5, return_sequences=True, lengths=True)
    return signatures.logits(model, inputs=5), [tokens(time) for time in (7, 12)]


def translation():
    settings = {"attention": "bahdanau", "bidirectional": True, "vocabulary": 5, "lengths": True}
    model = archs.encoder_decoder_lstm(4, 6, 5, **settings)
    requests = [tokens(time) | tokens(time - 2, "decoder_") for time in (7, 12)]
    return signatures.logits(model, inputs=5, decoder_inputs=5), requests


def step():
    model = archs.generative_lstm(4, [6, 5], 9, cell="coupled_lstm")
    first = language_modelling.first_step(model)
    later = {name: value if name == "token" else value + np.float32(0.5) for name, value in first.items()}
    return language_modelling.step(model, 9), [first, later]


def asked(function, request):
    return {name: value.numpy() for name, value in function(**request).items()}


@pytest.mark.slow
@pytest.mark.parametrize("make", [vanilla, frames, signals, tags, translation, step])
@pytest.mark.parametrize("kind", ["onnx", "litert"])
def test_files_answer_as_the_signature_does(make, kind, tmp_path):
    keras.utils.set_random_seed(0)
    function, (request, other) = make()
    name = "step" if make is step else "logits"
    sample = {name: {"request": request, "answer": asked(function, request)}}
    getattr(convert, kind)({name: function, "serving_default": None}, sample, tmp_path / kind)
    expected = asked(function, other)
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(tmp_path / f"onnx/{name}.onnx"))
        keys = [output.name.removeprefix("next_") for output in session.get_outputs()]
        two = {key: np.concatenate([value, value]) for key, value in other.items()}
        received = {key: value[1:] for key, value in zip(keys, session.run(None, two), strict=True)}
    else:
        from ai_edge_litert import interpreter

        received = interpreter.Interpreter(str(tmp_path / f"litert/{name}.tflite")).get_signature_runner()(**other)
    assert received.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(received[key], value, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "litert"])
def test_a_file_that_answers_otherwise_is_refused(kind, tmp_path):
    function, (request, _) = vanilla()
    answer = {"logits": asked(function, request)["logits"] + 0.001}
    with pytest.raises(RecipeError, match="answers otherwise than the SavedModel: expected logits"):
        getattr(convert, kind)(
            {"logits": function}, {"logits": {"request": request, "answer": answer}}, tmp_path / kind
        )


@pytest.mark.slow
def test_what_cannot_be_converted_is_told(tmp_path):
    function, (request, _) = vanilla()
    two = {name: np.concatenate([value, value]) for name, value in request.items()}
    with pytest.raises(RecipeError, match=r"LiteRT takes one row.*logits, received {'inputs': \(2, 7, 3\)"):
        convert.litert({"logits": function}, {"logits": {"request": two, "answer": {}}}, tmp_path)
    with pytest.raises(RecipeError, match="Expected one of the signatures logits, step, received serving_default"):
        convert.onnx({"serving_default": function}, {}, tmp_path)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def logits(x):
        return {"logits": tf.raw_ops.Betainc(a=x, b=x, x=x)}

    request = {"x": np.full((1, 2), 0.5, np.float32)}
    with pytest.raises(RecipeError, match="LiteRT cannot run logits"):
        convert.litert({"logits": logits}, {"logits": {"request": request, "answer": {}}}, tmp_path)


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(RecipeError, match=r"install the extra `onnx`"):
        convert.onnx({"logits": None}, {}, tmp_path)
