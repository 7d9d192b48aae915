"""TensorFlow Serving's gRPC services, asked by its own client."""

import contextlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from recipes._core.server import rpc
from recipes._core.server.refusal import Refused
from tests.recipes.server.small import in_loop, request


@contextlib.asynccontextmanager
async def stubs(front, most_bytes=2**20):
    server = rpc.server(front, most_bytes)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
            channel,
        )
    await server.stop(None)


def asked(inputs, name="small", signature="", version=None, outputs=()):
    result = predict_pb2.PredictRequest(output_filter=outputs)
    result.model_spec.name, result.model_spec.signature_name = name, signature
    if version is not None:
        result.model_spec.version.value = version
    for key, value in inputs.items():
        result.inputs[key].CopyFrom(value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value))
    return result


@pytest.fixture
def ask(make_front):
    def ask(message, method="Predict", service=0, most_bytes=2**20):
        async def call():
            async with stubs(make_front(), most_bytes) as both:
                return await getattr(both[service], method)(message)

        return in_loop(call())

    return ask


def test_predict(ask):
    inputs = request(4, rows=2)
    for version, factor in ((None, 3), (2, 3), (1, 2)):
        response = ask(asked(inputs, version=version))
        spec = response.model_spec
        assert (spec.name, spec.version.value, spec.signature_name) == ("small", version or 2, "serving_default")
        answer = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
        np.testing.assert_allclose(answer["sum"], factor * inputs["inputs"].sum(axis=1), rtol=1e-5)
        assert answer["label"].tolist() == [b"4", b"4"]
    assert set(ask(asked(inputs, outputs=["label"])).outputs) == {"label"}
    response = ask(asked({"text": np.array(["ä", "b"])}, signature="shout"))
    assert tf.make_ndarray(response.outputs["text"]).tolist() == ["ä".encode(), b"B"]


def test_metadata_and_status(ask):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "small"
    response = ask(message, "GetModelMetadata")
    definitions = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(definitions)
    assert set(definitions.signature_def) == {"serving_default", "steps", "shout"}
    assert definitions.signature_def["serving_default"].inputs["lengths"].dtype == tf.int32.as_datatype_enum
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "small"
    states = ask(message, "GetModelStatus", 1).model_version_status
    assert [(state.version, state.state) for state in states] == [(2, 30), (1, 30)]


def tensor(value, sizes=None, dtype=None):
    """A tensor that says of itself what is not so."""
    proto = tf.make_tensor_proto(value)
    if sizes is not None:
        del proto.tensor_shape.dim[:]
        for size in sizes:
            proto.tensor_shape.dim.add(size=size)
    if dtype is not None:
        proto.dtype = dtype
    return proto


RIGHT = request(2)


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (asked(RIGHT, name="nobody"), "NOT_FOUND", "expected one of other, small, received 'nobody'"),
        (asked(RIGHT, version=7), "NOT_FOUND", r"expected one of \[1, 2\], received 7"),
        (asked(RIGHT, signature="x"), "INVALID_ARGUMENT", "serving_default, shout, steps, received 'x'"),
        (asked({}), "INVALID_ARGUMENT", "expected the inputs inputs, lengths, received none"),
        (asked(RIGHT | {"lengths": [5]}), "INVALID_ARGUMENT", "no more than there are time steps"),
        (asked(RIGHT | {"lengths": np.array([2])}), "INVALID_ARGUMENT", "expected int32 .*, received int64"),
        (asked(RIGHT | {"lengths": np.int32(2)}), "INVALID_ARGUMENT", r"\(any,\), received int32 of shape \(\)"),
        (asked(RIGHT, outputs=["nothing"]), "INVALID_ARGUMENT", "output_filter: expected some of"),
        (asked(RIGHT | {"inputs": tensor(1.0, [2**40, 2, 2])}), "INVALID_ARGUMENT", "at most 1000 rows"),
        (asked(RIGHT | {"inputs": tensor(1.0, [1, 2**40, 2])}), "INVALID_ARGUMENT", "its shape is too large"),
        (asked(RIGHT | {"inputs": tensor(1.0, [-1, 2, 2])}), "INVALID_ARGUMENT", "its shape is not known"),
        (asked(RIGHT | {"inputs": tensor(RIGHT["inputs"], [5, 2, 2])}), "INVALID_ARGUMENT", "expected a tensor"),
        (asked(RIGHT | {"inputs": tensor(1.0, [1, 2, 2], 99)}), "INVALID_ARGUMENT", "expected a tensor"),
        (asked(RIGHT | {"lengths": tensor(2, [16_000_000])}), "INVALID_ARGUMENT", "at most 1000 rows"),
        (asked({"text": tensor("a", [16_000_000])}, signature="shout"), "INVALID_ARGUMENT", "at most 1000 rows"),
        (asked({"text": tensor("a", [1000, 1000])}, signature="shout"), "INVALID_ARGUMENT", r"of shape \(any,\), rec"),
        (asked(RIGHT | {"x": tensor("a", [100_000])}), "INVALID_ARGUMENT", "received inputs, lengths, x"),
        (asked(RIGHT | {"inputs": np.full((1, 2, 2), np.nan, np.float32)}), "INVALID_ARGUMENT", "finite numbers"),
        (asked({"text": np.array([""])}, signature="shout"), "INVALID_ARGUMENT", "received an empty one"),
        (asked(request(200_000)), "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
def test_refused(ask, message, code, words):
    with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
        ask(message)
    assert caught.value.code().name == code


def test_labels_of_versions_are_refused(ask):
    message = asked(RIGHT)
    message.model_spec.version_label = "stable"
    with pytest.raises(grpc.aio.AioRpcError, match="expected a version number, received 'stable'"):
        ask(message)


@pytest.mark.parametrize(
    ("dtype", "field", "value"),
    [
        ("uint8", "int_val", 256),
        ("uint8", "int_val", -1),
        ("int8", "int_val", -129),
        ("int16", "int_val", 2**15),
        ("float16", "half_val", 2**16),
    ],
)
def test_numbers_out_of_the_range_of_their_dtype_are_refused(dtype, field, value):
    spec, proto = {"dtype": dtype, "shape": [None]}, tf.make_tensor_proto(np.array([1], dtype))
    assert rpc.array("x", proto, spec, 100).tolist() == [1]
    proto.tensor_content = b""
    getattr(proto, field)[:] = [value]
    with pytest.raises(Refused, match=r"x: expected a tensor \(.*out of bounds"):
        rpc.array("x", proto, spec, 100)


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (tensor("a", [1000, 2100]), "its shape is too large"),
        (tensor("a", [2001, 1]), "at most 1000 rows, received 2001"),
        (tensor("a", [2**60, 2**60]), "at most 1000 rows"),
        (tensor("a", [16_000_000]), r"expected string of shape \(any, any\), received string of shape \(16000000,\)"),
        (tensor(1.0, [1, 16_000_000]), "received float32"),
        (tensor("a", [-1, 1]), "its shape is not known"),
        (tensor("a", [1, 1], 99), "expected a tensor"),
        (tensor("a", [1, 1], tf.variant.as_datatype_enum), "received variant"),
    ],
)
def test_a_shape_is_refused_before_it_is_expanded(proto, message, monkeypatch):
    monkeypatch.setattr(tf, "make_ndarray", lambda proto: pytest.fail("expanded"))
    with pytest.raises(Refused, match=message):
        rpc.array("x", proto, {"dtype": "string", "shape": [None, None]}, 2**24 - 1)


NOT_OFFERED = {
    "Classify": classification_pb2.ClassificationRequest(),
    "Regress": regression_pb2.RegressionRequest(),
    "MultiInference": inference_pb2.MultiInferenceRequest(),
    "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest(),
    "SessionRun": b"",
}


@pytest.mark.parametrize("method", NOT_OFFERED)
def test_what_is_not_offered(make_front, method):
    async def call():
        async with stubs(make_front()) as (prediction, service, channel):
            run = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")  # it has no stub
            stub = service if method.startswith("Handle") else prediction
            return await getattr(stub, method, run)(NOT_OFFERED[method])

    with pytest.raises(grpc.aio.AioRpcError, match=f"which this server offers, received {method}") as caught:
        in_loop(call())
    assert caught.value.code().name == "UNIMPLEMENTED"


def test_a_fault_of_ours_is_told_and_logged(make_front, monkeypatch, capfd):
    def broken(*_):
        raise RuntimeError("oh")

    async def call():
        front = make_front()
        monkeypatch.setattr(front, "predict", broken)
        async with stubs(front) as (prediction, *_):
            await prediction.Predict(asked(RIGHT))

    with pytest.raises(grpc.aio.AioRpcError, match="RuntimeError, a fault of the server") as caught:
        in_loop(call())
    assert caught.value.code().name == "INTERNAL"
    out, err = capfd.readouterr()
    assert "gRPC Predict INTERNAL" in out
    assert "Traceback" in err
    assert "RuntimeError: oh" in err
