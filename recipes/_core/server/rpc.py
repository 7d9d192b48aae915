"""TensorFlow Serving's gRPC services: PredictionService, and the status of ModelService."""

import math
import traceback

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from recipes._core.server.front import Logged, check_form, check_names
from recipes._core.server.refusal import Refused, Why

_POINTER = 8  # bytes that each text of an array takes besides


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

    async def session_run(_, context):  # of which the package has no stub
        await _refuse(front, "SessionRun", context)

    run = {"SessionRun": grpc.unary_unary_rpc_method_handler(session_run)}
    result.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tensorflow.serving.SessionService", run)])
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
        check_names(described, request.inputs)
        specs = described["inputs"]
        return {name: array(name, tensor, specs[name], self._most_bytes) for name, tensor in request.inputs.items()}

    async def Classify(self, request, context):
        await _refuse(self._front, "Classify", context)

    async def Regress(self, request, context):
        await _refuse(self._front, "Regress", context)

    async def MultiInference(self, request, context):
        await _refuse(self._front, "MultiInference", context)


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

    async def HandleReloadConfigRequest(self, request, context):
        await _refuse(self._front, "HandleReloadConfigRequest", context)


def array(name, tensor, spec, most_bytes):
    """A tensor as an array, once it is known to be what a signature takes: a few bytes may stand for a large one.

    Raises:
        Refused: it is another one, or none at all, or larger than `most_bytes`.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    try:
        dtype = tf.dtypes.as_dtype(tensor.dtype)
        if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0:
            raise ValueError("its shape is not known")
        check_form(name, spec, dtype.name, shape)
        if (_POINTER if dtype == tf.string else dtype.size) * math.prod(shape) > most_bytes:
            raise ValueError("its shape is too large")
        return tf.make_ndarray(tensor)
    except (ArithmeticError, TypeError, ValueError, KeyError, IndexError) as error:
        raise Refused(Why.INVALID, f"{name}: expected a tensor ({str(error)[:100]})") from None


def _asked(spec):
    """Name and number of the version, or None, that a request names."""
    if spec.WhichOneof("version_choice") == "version_label":
        raise Refused(Why.NOT_FOUND, f"version_label: expected a version number, received {spec.version_label[:50]!r}")
    return spec.name, spec.version.value if spec.HasField("version") else None


def _name(spec, version, signature):
    spec.name, spec.version.value, spec.signature_name = version.name, version.number, signature


async def _refuse(front, method, context):
    async def answer(log):
        offered = "Predict, GetModelMetadata and GetModelStatus"
        raise Refused(Why.NOT_OFFERED, f"expected one of {offered}, which this server offers, received {method}")

    await _logged(front, method, context, answer)


async def _logged(front, method, context, answer):
    refused = None
    with Logged(front, "gRPC", method) as log:
        try:
            response = await answer(log)
            log.status = "OK"
        except Refused as error:
            refused = error
        except Exception as error:
            traceback.print_exc()
            refused = Refused(Why.FAILED, f"{type(error).__name__}, a fault of the server")
        if refused:
            log.status = refused.why.rpc.name
    if refused:
        await context.abort(refused.why.rpc, refused.message)
    return response
