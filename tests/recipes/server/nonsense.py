"""Requests that make no sense, drawn at random, for REST and for gRPC."""

import base64
import gzip
import json

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

NUMBERS = [0, -1, 2**31, 2**63, 10**30, 10**400, 1.5, 1e300, -1e300, float("nan"), float("inf"), -float("inf"), True]
TEXTS = ["", "\x00", "\ud800", "é" * 50, "x" * 3000, "a b", "<script>", "test:1", "../../etc/passwd", "{}", "9" * 400]


BOMB = gzip.compress(bytes(200 * 2**20))


def _pieces(body):
    """A body that is sent in chunks."""
    return iter([body[:1], body[1:100], body[100:]])


class Nonsense:
    """Draws requests around right ones.

    Args:
        samples: dict of name of a model to dict of signature to request, a dict of name to nested list.
        draw: NumPy generator.
    """

    def __init__(self, samples, draw):
        self._samples, self._draw = samples, draw

    def _choose(self, things):
        return list(things)[self._draw.integers(len(things))]

    def _value(self):
        kind = self._draw.integers(9)
        if kind < 3:
            return self._choose(NUMBERS)
        if kind == 3:
            return self._choose(TEXTS)
        if kind == 4:
            return [self._value() for _ in range(self._draw.integers(4))]
        if kind == 5:
            return {self._choose(["b64", "inputs", ""]): self._value()}
        if kind == 6:
            return np.zeros(self._draw.integers(0, 4, size=self._draw.integers(5))).tolist()
        return None if kind == 7 else [[self._value()]]

    def _spoilt(self, value):
        """A nested list with one of its parts exchanged."""
        if isinstance(value, list) and value and self._draw.random() < 0.8:
            place = self._draw.integers(len(value))
            return [*value[:place], self._spoilt(value[place]), *value[place + 1 :]]
        return self._value()

    def rest(self):
        """Method, path, body and headers of a request."""
        name = self._choose(self._samples)
        signature = self._choose(self._samples[name])
        inputs = dict(self._samples[name][signature])
        for _ in range(self._draw.integers(1, 3)):
            key = self._choose(inputs) if inputs else "x"
            kind = self._draw.integers(5)
            if kind == 0:
                inputs.pop(key, None)
            elif kind == 1:
                inputs[self._choose(TEXTS)] = self._value()
            else:
                inputs[key] = self._spoilt(inputs.get(key))
        form = self._draw.integers(10)
        body = {"signature_name": signature, "inputs": inputs}
        if form == 0:
            body = {"signature_name": self._value(), "instances": self._value()}
        elif form == 1:
            body = {"signature_name": signature, "instances": [inputs, inputs, self._value()]}
        elif form == 2:
            body = self._value()
        body = json.dumps(body, ensure_ascii=bool(self._draw.integers(2))).encode("utf-8", "surrogatepass")
        form = self._draw.integers(12)
        if form == 0:
            body = body[: self._draw.integers(len(body) + 1)]
        elif form == 1:
            place = self._draw.integers(len(body) + 1)
            body = body[:place] + self._draw.bytes(3) + body[place:]
        elif form == 2:
            body = self._draw.bytes(self._draw.integers(200))
        elif form == 3 and self._draw.random() < 0.1:
            body = b'{"inputs": "' + base64.b64encode(self._draw.bytes(1000)) * 2000 + b'"}'
        version = self._choose([""] * 8 + ["/versions/1", "/versions/x", "/versions/999999999999999999999"])
        name = name if self._draw.random() < 0.95 else self._choose(["nobody", "a%2fb", "%00", "x" * 300])
        method, call, headers = "POST", "predict", {}
        form = self._draw.integers(20)
        if form == 0:
            body, headers = gzip.compress(body), {"Content-Encoding": self._choose(["gzip", "x-gzip", "GZIP"])}
        elif form == 1:
            body, headers = gzip.compress(body)[: self._draw.integers(len(body) + 20)], {"Content-Encoding": "gzip"}
        elif form == 2:
            headers = {"Content-Encoding": self._choose(["gzip", "br", "deflate", "", "gzip, gzip", "\xe4"])}
        elif form == 3:
            offer = self._choose(["h2c", "websocket", "h2c, TLS/1.0"])
            headers = {"Connection": self._choose(["Upgrade", "keep-alive, upgrade, x"]), "Upgrade": offer}
        elif form == 4:
            method = self._choose(["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
        elif form == 5:
            call = self._choose(["predict/", "classify", "regress", "x", "predict?a=b", "Predict", "predict:predict"])
        elif form == 6:
            headers = {"Content-Type": self._choose(["text/plain", "", "application/json; charset=x", "\xe4"])}
        elif form == 7:
            headers = {"Host": self._choose(["[", "", "x/y", "a b", "[::1]:1"]), "Accept-Encoding": "gzip"}
        elif form == 8:
            body, headers = _pieces(body), {"Content-Encoding": self._choose(["identity", "gzip"])}
        elif form == 9 and self._draw.random() < 0.1:
            body, headers = BOMB, {"Content-Encoding": "gzip"}
        return method, f"/v1/models/{name}{version}:{call}", body, headers

    def rpc(self):
        """A `PredictRequest`."""
        name = self._choose(self._samples)
        signature = self._choose(self._samples[name])
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name if self._draw.random() < 0.95 else "nobody"
        request.model_spec.signature_name = signature if self._draw.random() < 0.95 else "nothing"
        if self._draw.random() < 0.1:
            request.model_spec.version.value = int(self._choose([0, -1, 1, 2**62]))
        for key, value in self._samples[name][signature].items():
            array = np.asarray(value)
            if array.dtype.kind == "f":
                array = array.astype(np.float32)
            elif array.dtype.kind == "i":
                array = array.astype(np.uint8 if key == "rows" else np.int32)
            kind = self._draw.integers(8)
            if kind == 0:
                continue
            if kind == 1:
                key = self._choose(["x", "", "inputs"])
            if kind == 2:
                array = (
                    array.astype(self._choose([np.float64, np.int64, np.uint8, bool]))
                    if array.dtype.kind != "U"
                    else array
                )
            if kind == 3:
                array = array[None]
            if kind == 4 and array.dtype.kind == "f":
                array = np.full_like(array, self._choose([np.nan, np.inf, -np.inf]))
            if kind == 5 and array.dtype.kind in "iu":
                array = np.full_like(array, self._draw.integers(-(2**30), 2**30))
            proto = tf.make_tensor_proto(array)
            if kind == 6:
                for dim in proto.tensor_shape.dim:
                    dim.size = int(self._choose([-1, 0, 1, 7, 1000, 16_000_000, 2**40]))
            if kind == 7 and self._draw.random() < 0.3 and array.dtype.kind in "iu":
                proto.tensor_content = b""
                proto.int_val[:] = [self._choose([-1, 256, 2**31 - 1, -(2**31)])]
            elif kind == 7:
                proto.dtype = int(self._choose([0, 1, 3, 7, 21, 99]))
            request.inputs[key].CopyFrom(proto)
        return request
