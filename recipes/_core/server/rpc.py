"""TensorFlow Serving's gRPC services: PredictionService, and the status of ModelService."""

import math

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from recipes._core.server.front import Logged
from recipes._core.server.refusal import Refused, Why


def server(front, most_bytes):
    """A `grpc.aio` server, to which an address is still to be given."""
    options = [
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # so that a port that is taken is told
    ]
    result = grpc.aio.server(options=options, maximum_concurrent_rpcs=front.queue + 64)  # and some that ask for status
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(front, most_bytes), result)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(front), result)
    return result


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, front, most_bytes):
        self._front, self._most_bytes = front, most_bytes

    async def Predict(self, request, context):
        async def answer(log):
            with self._front.place():
                version, signature, outputs = await self._front.predict(
                    *_asked(request.model_spec),
                    request.model_spec.signature_name,
                    lambda described: self._inputs(request, described),
                    log,
                )
            response = predict_pb2.PredictResponse()
            _name(response.model_spec, version, signature)
            for key in request.output_filter or outputs:
                response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
            return response

        return await _logged(self._front, "Predict", context, answer)

    async def GetModelMetadata(self, request, context):
        async def answer(log):
            if list(request.metadata_field) != ["signature_def"]:
                raise Refused(Why.INVALID, "metadata_field: expected signature_def")
            version = self._front.models.find(*_asked(request.model_spec))
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            _name(response.model_spec, version, "")
            definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=version.definitions)
            response.metadata["signature_def"].Pack(definitions)
            return response

        return await _logged(self._front, "GetModelMetadata", context, answer)

    def _inputs(self, request, described):
        if not described["outputs"].keys() >= set(request.output_filter):
            raise Refused(Why.INVALID, f"output_filter: expected some of {', '.join(described['outputs'])}")
        return {name: self._array(name, tensor) for name, tensor in request.inputs.items()}

    def _array(self, name, tensor):
        sizes = [dim.size for dim in tensor.tensor_shape.dim]
        try:
            dtype = tf.dtypes.as_dtype(tensor.dtype)
            # One value may stand for all of a shape, and a few bytes ask for all the memory there is.
            if min(sizes, default=0) < 0 or max(dtype.size, 1) * math.prod(sizes) > self._most_bytes:
                raise ValueError("its shape is too large")
            return tf.make_ndarray(tensor)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise Refused(Why.INVALID, f"{name}: expected a tensor ({str(error)[:100]})") from None


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, front):
        self._front = front

    async def GetModelStatus(self, request, context):
        async def answer(log):
            response = get_model_status_pb2.GetModelStatusResponse()
            for number, state, wrong in self._front.models.states(*_asked(request.model_spec)):
                added = response.model_version_status.add(version=number, state=state)
                added.status.error_code = 2 if wrong else 0  # UNKNOWN, OK
                added.status.error_message = wrong
            return response

        return await _logged(self._front, "GetModelStatus", context, answer)


def _asked(spec):
    """Name and number of the version, or None, that a request names."""
    if spec.WhichOneof("version_choice") == "version_label":
        raise Refused(Why.NOT_FOUND, f"version_label: expected a version number, received {spec.version_label[:50]!r}")
    return spec.name, spec.version.value if spec.HasField("version") else None


def _name(spec, version, signature):
    spec.name, spec.version.value, spec.signature_name = version.name, version.number, signature


async def _logged(front, method, context, answer):
    refused = None
    with Logged(front, "gRPC", method) as log:
        try:
            response = await answer(log)
            log.status = "OK"
        except Refused as error:
            refused = error
            log.status = refused.why.rpc.name
    if refused:
        await context.abort(refused.why.rpc, refused.message)
    return response
