"""KServe's server on a SavedModel: PYTHON -I kserve.py NAME PATH PORT GRPC_PORT REQUEST.

`recipes bench --serve` runs it with the interpreter of an environment that has KServe and TensorFlow, not this project.
It prints a line of JSON: the versions, what gRPC's messages are, and REQUEST, a file of JSON, as one of them.
"""

import base64
import importlib.metadata
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import kserve
import numpy as np
import tensorflow as tf
import uvicorn
from kserve.protocol.grpc import grpc_predict_v2_pb2
from kserve.utils.numpy_codec import from_np_dtype


class Model(kserve.Model):
    def __init__(self, name, path):
        super().__init__(name)
        self._model = tf.saved_model.load(path)
        self._signature = self._model.signatures["serving_default"]
        specs = self._signature.structured_input_signature[1]
        self._dtypes = {name: spec.dtype.as_numpy_dtype for name, spec in specs.items()}  # of texts: object
        self.ready = True

    def arrays(self, rows):
        return {name: np.array([row[name] for row in rows], self._dtypes[name]) for name in self._dtypes}

    def predict(self, payload, headers=None):
        """Of version 1, TensorFlow Serving's row format, a dict; of version 2, an `InferRequest`."""
        is_first = isinstance(payload, dict)
        inputs = self.arrays(payload["instances"]) if is_first else {i.name: i.as_numpy() for i in payload.inputs}
        answer = self._signature(**{name: tf.constant(array) for name, array in inputs.items()})
        answer = {name: value.numpy() for name, value in answer.items()}
        if not is_first:
            outputs = [filled(kserve.InferOutput, name, array) for name, array in answer.items()]
            return kserve.InferResponse(payload.id, self.name, outputs)
        columns = {name: texts(array).tolist() for name, array in answer.items()}
        if len(columns) == 1:
            return {"predictions": next(iter(columns.values()))}
        return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


def filled(kind, name, array):
    datatype = from_np_dtype(array.dtype)
    tensor = kind(name=name, shape=list(array.shape), datatype=datatype)
    tensor.set_data_from_numpy(array, binary_data=True)
    return tensor


def texts(array):
    return np.vectorize(bytes.decode, otypes=[object])(array) if array.dtype.kind == "O" else array


def main(name, path, port, grpc_port, request):
    model = Model(name, path)
    inputs = model.arrays(json.loads(pathlib.Path(request).read_text(encoding="utf-8"))["instances"])
    inputs = [filled(kserve.InferInput, key, array) for key, array in inputs.items()]
    message = kserve.InferRequest(name, inputs).to_grpc().SerializeToString()
    versions = {package: importlib.metadata.version(package) for package in ("kserve", "grpcio")}
    described = grpc_predict_v2_pb2.DESCRIPTOR.serialized_pb
    encoded = {"descriptor": described, "request": message}
    encoded = {key: base64.b64encode(value).decode() for key, value in encoded.items()}
    print(json.dumps({"versions": versions | {"tensorflow": tf.__version__}, **encoded}), flush=True)
    # KServe listens on all addresses, and has no option for it.
    bind, config = grpc.aio.Server.add_insecure_port, uvicorn.Config
    grpc.aio.Server.add_insecure_port = lambda self, _: bind(self, f"127.0.0.1:{grpc_port}")
    uvicorn.Config = lambda *args, **options: config(*args, **options | {"host": "127.0.0.1"})
    kserve.ModelServer(http_port=int(port), grpc_port=int(grpc_port)).start([model])


if __name__ == "__main__":
    main(*sys.argv[1:])
