"""TensorFlow Serving's REST API, https://www.tensorflow.org/tfx/serving/api_rest, and what a browser is shown."""

import asyncio
import base64
import binascii
import contextlib
import functools
import itertools
import json
import pathlib
import re
import zlib

import numpy as np
from google.protobuf import json_format
from starlette import convertors
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2

from recipes._core.server.front import Logged
from recipes._core.server.refusal import Refused, Why

_HEADERS = {Why.ENCODED: {"Accept-Encoding": "gzip"}}
_INF = re.compile(r'("(?:[^"\\]|\\.)*")|\bInf\b')  # outside of texts: another way to write Infinity
_TYPES = {"i": {int}, "u": {int}, "f": {int, float}, "b": {bool}, "O": {str, dict}}  # of Python, by kind of NumPy
_DTYPES = {
    "string",
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{kind}{8 * n}" for kind in ("int", "uint") for n in (1, 2, 4, 8)),
}
_WORDS = {"i": "whole numbers", "u": "whole numbers", "f": "numbers", "b": "true or false", "O": "texts"}


def app(front, most_bytes):
    """The ASGI application.

    Args:
        front: `Front`.
        most_bytes: of the body of a request.
    """

    def route(pattern, handler, *methods):
        async def logged(request):
            what = ascii(f"{request.method} {request.scope['path']}")[1:-1][:200]
            with Logged(front, "REST", what) as log:
                try:
                    response = await handler(request, log)
                except Refused as refused:
                    response = JSONResponse({"error": refused.message}, refused.why.http, _HEADERS.get(refused.why))
                except ClientDisconnect:
                    response = Response(status_code=400)
                log.status = response.status_code
            return await finished(request, response)

        return Route(pattern, logged, methods=methods)

    async def finished(request, response):
        """The response, once the body is read: to who sends all of it first, an early answer is a broken connection."""
        is_read = getattr(request.state, "is_read", None)
        if is_read is None and "expect" in request.headers:  # the client waits before it sends
            response.headers["connection"] = "close"
        elif not is_read:
            with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):  # the last: it was read by now
                async with asyncio.timeout(front.seconds):
                    async for _ in request.stream():
                        pass
        return response

    async def predict(request, log):
        with front.place():
            try:
                async with asyncio.timeout(front.seconds):
                    body = await _body(request, most_bytes)
            except TimeoutError:
                request.state.is_read = True  # as far as it will come
                raise Refused(Why.INVALID, f"expected the whole body within {front.seconds:g} seconds") from None
            body = _parse(body)
            by_row = "instances" in body
            if by_row == ("inputs" in body):
                raise Refused(Why.INVALID, "expected either `instances` or `inputs`")
            signature = body.get("signature_name", "")
            if not isinstance(signature, str):
                raise Refused(Why.INVALID, "signature_name: expected a text")
            inputs = functools.partial(rows if by_row else columns, body["instances" if by_row else "inputs"])
            _, _, answer = await front.predict(*_asked(request), signature, inputs, log)
        return Response(_json(predictions(answer) if by_row else outputs(answer)), media_type="application/json")

    async def status(request, log):
        states = [
            {
                "version": str(number),
                "state": state,
                "status": {"error_code": "UNKNOWN" if wrong else "OK", "error_message": wrong},
            }
            for number, state, wrong in front.models.states(*_asked(request))
        ]
        return JSONResponse({"model_version_status": states})

    async def metadata(request, log):
        version = front.models.find(*_asked(request))
        definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=version.definitions)
        text = json_format.MessageToDict(
            definitions, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        spec = {"name": version.name, "signature_name": "", "version": str(version.number)}
        return JSONResponse({"model_spec": spec, "metadata": {"signature_def": text}})

    async def card(request, log):
        return Response(_json(front.models.find(*_asked(request)).card), media_type="application/json")

    async def listed(request, log):
        return JSONResponse({"models": [{"name": name, "version": str(number)} for name, number in front.models]})

    async def page(request, log):
        return HTMLResponse(pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8"))

    async def figures(request, log):
        return PlainTextResponse(front.figures.text())

    async def not_offered(request, log):
        method = request.path_params["method"]
        raise Refused(Why.NOT_OFFERED, f"expected :predict, which this server offers, received :{method[:50]}")

    async def labelled(request, log):
        raise Refused(Why.NOT_FOUND, "labels: expected /versions/NUMBER, this server has no labels of versions")

    async def not_found(request, error):
        text = f"{error.detail}: {request.method} {request.scope['path']}"
        return await finished(request, JSONResponse({"error": text}, error.status_code, error.headers))

    async def failed(request, error):  # whose traceback goes to the log
        return await finished(request, JSONResponse({"error": f"{type(error).__name__}, a fault of the server"}, 500))

    model = "/v1/models/{name:name}"
    version = model + "/versions/{number:name}"
    app = Starlette(
        routes=[
            route("/", page, "GET"),
            route("/metrics", figures, "GET"),
            route("/v1/models", listed, "GET"),
            *(route(place + ":predict", predict, "POST") for place in (model, version)),
            *(route(place + ":{method:name}", not_offered, "POST") for place in (model, version)),
            *(route(place + "/metadata", metadata, "GET") for place in (model, version)),
            *(route(place + "/card", card, "GET") for place in (model, version)),
            *(route(place, status, "GET") for place in (model, version)),
            route(model + "/labels/{label:path}", labelled, "GET", "POST"),
        ],
        exception_handlers={HTTPException: not_found, Exception: failed},
    )

    async def without_slash(scope, receive, send):
        if scope["type"] == "http" and scope["path"].endswith("/") and scope["path"] != "/":
            scope["path"] = scope["path"].rstrip("/") or "/"
        await app(scope, receive, send)

    return without_slash


class _Name(convertors.Convertor):
    """A part of a path up to a colon, which comes before a method."""

    regex = "[^/:]+"

    def convert(self, value):
        return value

    def to_string(self, value):
        return value


convertors.register_url_convertor("name", _Name())


def _asked(request):
    """Name and number of the version, or None, that a path names."""
    name, number = request.path_params["name"], request.path_params.get("number")
    if number is None:
        return name, None
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        raise Refused(Why.NOT_FOUND, f"version: expected a number, received {number[:50]!r}")
    return name, int(number)


async def _body(request, most):
    """The body of a request, unzipped."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise Refused(Why.ENCODED, f"Content-Encoding: expected gzip or none, received {encoding[:50]!r}")
    too_large = Refused(Why.TOO_LARGE, f"expected at most {most:,} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise too_large
    body, chunks, request.state.is_read = bytearray(), request.stream(), False
    async for chunk in _unzipped(chunks, most + 1) if encoding.endswith("gzip") else chunks:
        body += chunk
        if len(body) > most:
            raise too_large
    request.state.is_read = True
    return bytes(body)


async def _unzipped(chunks, most):
    """Unpacks chunks of gzip, at most `most` bytes at a time: a few may stand for gigabytes."""
    unzip = None
    try:
        async for chunk in chunks:
            while chunk:
                unzip = unzip or zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
                yield unzip.decompress(chunk, most)
                chunk = unzip.unconsumed_tail or unzip.unused_data
                if unzip.eof:  # another member may follow
                    unzip = None
    except zlib.error as error:
        raise Refused(Why.INVALID, f"Content-Encoding: expected gzip ({error})") from None
    if unzip:
        raise Refused(Why.INVALID, "Content-Encoding: expected gzip, received its beginning")


def _parse(body):
    try:
        try:
            parsed = json.loads(body)
        except ValueError:
            if b"Inf" not in body:
                raise
            parsed = json.loads(_INF.sub(lambda match: match[1] or "Infinity", body.decode()))
    except (ValueError, RecursionError) as error:
        raise Refused(Why.INVALID, f"expected JSON ({str(error)[:100]})") from None
    if not isinstance(parsed, dict):
        raise Refused(Why.INVALID, "expected a JSON object")
    return parsed


def rows(instances, signature):
    """Inputs out of the row format: a list of objects, or, where there is one input only, of its values."""
    specs = signature["inputs"]
    if not isinstance(instances, list) or not instances:
        raise Refused(Why.INVALID, "instances: expected a list with at least one row")
    if all(isinstance(row, dict) and row.keys() != {"b64"} for row in instances):
        names = {frozenset(row) for row in instances}
        if names != {frozenset(specs)}:
            received = ", ".join(sorted(next(iter(names - {frozenset(specs)}))))[:200]
            raise Refused(
                Why.INVALID, f"instances: expected {', '.join(specs)} in each row, received {received or 'none'}"
            )
        return {name: array([row[name] for row in instances], spec["dtype"], name) for name, spec in specs.items()}
    return {_only(specs): array(instances, specs[_only(specs)]["dtype"], _only(specs))}


def columns(inputs, signature):
    """Inputs out of the columnar format: an object of name to value, or, where there is one input only, its value."""
    specs = signature["inputs"]
    if isinstance(inputs, dict) and inputs.keys() != {"b64"}:
        if inputs.keys() != specs.keys():
            received = ", ".join(sorted(inputs))[:200]
            raise Refused(Why.INVALID, f"inputs: expected {', '.join(specs)}, received {received or 'none'}")
        return {name: array(inputs[name], spec["dtype"], name) for name, spec in specs.items()}
    return {_only(specs): array(inputs, specs[_only(specs)]["dtype"], _only(specs))}


def _only(specs):
    if len(specs) != 1:
        raise Refused(Why.INVALID, f"expected objects with the inputs {', '.join(specs) or 'none'}")
    return next(iter(specs))


def array(value, dtype, name):
    """A nested list of JSON values as an array of a TensorFlow dtype.

    Raises:
        Refused: rows differ in length, or a value is not of that type.
    """
    if dtype not in _DTYPES:
        raise Refused(Why.INVALID, f"{name}: JSON has no {dtype}, gRPC has")
    dtype = np.dtype(object if dtype == "string" else dtype)
    shape, flat, types = [], [value], {type(value)}
    while types == {list}:
        sizes = set(map(len, flat))
        if len(sizes) > 1:
            raise Refused(Why.INVALID, f"{name}: expected lists of one length, received {min(sizes)} to {max(sizes)}")
        shape.append(sizes.pop())
        flat = list(itertools.chain.from_iterable(flat))
        types = set(map(type, flat))
    if not types <= _TYPES[dtype.kind]:
        raise Refused(Why.INVALID, f"{name}: expected {_WORDS[dtype.kind]}, as deep in lists as one another")
    try:
        flat = [_bytes(part) for part in flat] if dtype.kind == "O" else flat
        with np.errstate(over="raise"):
            return np.array(flat, dtype).reshape(shape)
    except FloatingPointError:
        raise Refused(Why.INVALID, f"{name}: expected finite numbers that {dtype} holds") from None
    except (OverflowError, UnicodeEncodeError, binascii.Error, TypeError, ValueError) as error:
        raise Refused(Why.INVALID, f"{name}: expected {_WORDS[dtype.kind]} ({str(error)[:100]})") from None


def _bytes(value):
    if isinstance(value, str):
        return value.encode()
    if value.keys() != {"b64"}:
        raise TypeError('or {"b64": ...}')
    encoded = "".join(value["b64"].split()) if isinstance(value["b64"], str) else value["b64"]
    if isinstance(encoded, str) and "=" not in encoded:  # which may be left out
        encoded += "=" * (-len(encoded) % 4)
    return base64.b64decode(encoded, validate=True)


def predictions(answer):
    """The row format of an answer."""
    sizes = {name: len(array) if array.ndim else None for name, array in answer.items()}
    if None in sizes.values() or len(set(sizes.values())) != 1:
        sizes = ", ".join(f"{name} has {'none' if size is None else size}" for name, size in sizes.items())
        raise Refused(
            Why.INVALID, f"expected as many rows in all outputs, {sizes}: ask with `inputs` instead of `instances`"
        )
    values = {name: _plain(name, array) for name, array in answer.items()}
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    return {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}


def outputs(answer):
    """The columnar format of an answer."""
    values = {name: _plain(name, array) for name, array in answer.items()}
    return {"outputs": next(iter(values.values())) if len(values) == 1 else values}


def _plain(name, array):
    """Nested lists; texts that are no UTF-8, or whose name says that they are none, as {"b64": ...}."""
    if array.dtype.kind in "cV":  # complex numbers, and halves that NumPy has not
        raise Refused(Why.INVALID, f"{name}: JSON has no {array.dtype}, gRPC has")
    if array.dtype.kind != "O":
        return array.tolist()

    def text(value):
        if not name.endswith("_bytes"):
            try:
                return value.decode()
            except UnicodeDecodeError:
                pass
        return {"b64": base64.b64encode(value).decode()}

    flat = np.empty(array.size, object)
    flat[:] = [text(value) for value in array.ravel()]
    return flat.reshape(array.shape).tolist()


def _json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
