"""A worker of `recipes bench --serve`, asked line by line: clients of a server, or calls of a SavedModel in here."""

import asyncio
import base64
import contextlib
import importlib.metadata
import json
import sys
import time

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from recipes._core.export import artifact
from recipes._core.server import rest

WARM_UP = 0.3  # seconds before each run that are not counted


def arrays(subject):
    """The request of a subject as arrays, by the signature of its SavedModel."""
    return rest.rows(subject["instances"], artifact.describe(artifact.meta_graph(subject["path"]))["serving_default"])


@contextlib.asynccontextmanager
async def call(subject):
    """A function that calls the SavedModel here."""
    signature = tf.saved_model.load(subject["path"]).signatures["serving_default"]
    inputs = arrays(subject)

    async def ask():
        answer = signature(**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: value.numpy() for name, value in answer.items()}

    yield ask, lambda answer: rest.predictions(answer)["predictions"]


@contextlib.asynccontextmanager
async def over_rest(subject):
    """A connection of a client of TensorFlow Serving's REST, which both servers speak."""
    reader, writer = await asyncio.open_connection("127.0.0.1", subject["port"])
    body = json.dumps({"instances": subject["instances"]}, separators=(",", ":")).encode()
    head = f"POST /v1/models/{subject['name']}:predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    message = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask():
        writer.write(message)
        status, *headers = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(header[15:]) for header in headers if header.startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        if status.split()[1] != b"200":
            raise OSError(answer.decode()[:300])
        return answer

    try:
        yield ask, lambda answer: json.loads(answer)["predictions"]
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def over_grpc(subject):
    """A connection of a client of TensorFlow Serving's gRPC, or, where there is a `descriptor`, of KServe's."""
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with grpc.aio.insecure_channel(f"127.0.0.1:{subject['port']}", options=options) as channel:
        if "descriptor" not in subject:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            inputs = {name: tf.make_tensor_proto(array) for name, array in arrays(subject).items()}
            request = predict_pb2.PredictRequest(inputs=inputs)
            request.model_spec.name = subject["name"]
            yield (lambda: stub.Predict(request)), _of_tensorflow
        else:
            # What KServe's stub does, without KServe, which does not go into this environment.
            file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(subject["descriptor"]))
            pool = descriptor_pool.DescriptorPool()
            pool.Add(file)
            request, response = (
                message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
                for name in ("ModelInferRequest", "ModelInferResponse")
            )
            stub = channel.unary_unary(
                f"/{file.package}.GRPCInferenceService/ModelInfer",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            message = request.FromString(base64.b64decode(subject["request"]))
            yield (lambda: stub(message)), _of_kserve


def _of_tensorflow(response):
    return rest.predictions({name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()})["predictions"]


def _of_kserve(response):
    answer = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "BYTES":  # each with its length before it
            array, at = [], 0
            while at < len(raw):
                end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
                array.append(raw[at + 4 : end])
                at = end
            array = np.array(array, object)
        else:
            array = np.frombuffer(raw, output.datatype.lower().replace("fp", "float"))
        answer[output.name] = array.reshape(output.shape)
    return rest.predictions(answer)["predictions"]


KINDS = {"in-process": call, "REST": over_rest, "gRPC": over_grpc}


async def run(subject):
    """Measures of `clients` in `seconds`, each asking again when it is answered; and the last answer."""
    async with contextlib.AsyncExitStack() as stack:
        made = [await stack.enter_async_context(KINDS[subject["do"]](subject)) for _ in range(subject["clients"])]
        began = time.perf_counter() + WARM_UP
        times, ends = [], began + subject["seconds"]

        async def client(ask):
            while (start := time.perf_counter()) < ends:
                answer = await ask()
                if start >= began:
                    times.append(time.perf_counter() - start)
            return answer

        answer, *_ = await asyncio.gather(*(client(ask) for ask, _ in made))
        rate = len(times) / (time.perf_counter() - began)
        p50, p99 = 1000 * np.percentile(times, [50, 99])
        return {"rate": rate, "p50_ms": p50, "p99_ms": p99, "requests": len(times), "answer": made[0][1](answer)}


def main():
    for line in sys.stdin:
        try:
            subject = json.loads(line)
            if subject["do"] == "facts":
                packages = ("grpcio", "protobuf", "starlette", "uvicorn")
                answer = {name: importlib.metadata.version(name) for name in packages}
                answer = {"tensorflow": tf.__version__, **answer}
            else:
                answer = asyncio.run(run(subject))
        except Exception as error:  # the other subjects go on
            answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
