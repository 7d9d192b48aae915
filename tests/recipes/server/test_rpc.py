"""TensorFlow Serving's gRPC services, asked by its own client."""

import contextlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from recipes._core.server import rpc
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
