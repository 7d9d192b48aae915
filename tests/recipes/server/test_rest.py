"""TensorFlow Serving's REST API: what is asked, what is answered, what is refused and with which words."""

import asyncio
import base64
import gzip
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from recipes._core.server import front, models, rest
from recipes._core.server.refusal import Refused
from tests.recipes.server.small import in_loop, request, rest_client

PATH = "/v1/models/small:predict"
TWO = {"inputs": [[1, 2], [3, 4]], "lengths": 2}
ONE = {"inputs": [[0.5, 1]], "lengths": 1}


@pytest.fixture
def ask(make_front):
    """A function from a method, a path and a body (an object or bytes) to status and parsed answer."""

    def ask(method, path, body=None, most_bytes=2**20, **options):
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()

        async def call():
            async with rest_client(rest.app(make_front(**options), most_bytes)) as client:
                response = await client.request(method, path, content=content)
                return response.status_code, response.json()

        return in_loop(call())

    return ask


def test_rows_and_columns(ask):
    padded = ONE | {"inputs": [*ONE["inputs"], [9, 9]]}
    status, answer = ask("POST", PATH, {"instances": [TWO, padded]})
    assert status == 200
    assert answer == {"predictions": [{"sum": [12, 18], "label": "2"}, {"sum": [1.5, 3], "label": "1"}]}
    columns = {name: [row[name] for row in (TWO, padded)] for name in TWO}
    status, answer = ask("POST", PATH, {"signature_name": "serving_default", "inputs": columns})
    assert status == 200
    assert answer == {"outputs": {"sum": [[12, 18], [1.5, 3]], "label": ["2", "1"]}}


def test_one_input_and_one_output_need_no_name(ask):
    encoded = {"b64": base64.b64encode(b"b").decode()}
    for body in ({"instances": ["ä", encoded]}, {"instances": [{"text": "ä"}, {"text": encoded}]}):
        assert ask("POST", PATH, body | {"signature_name": "shout"}) == (200, {"predictions": ["ä", "B"]})
    for inputs in (["ä", encoded], {"text": ["ä", encoded]}):
        body = {"inputs": inputs, "signature_name": "shout"}
        assert ask("POST", PATH, body) == (200, {"outputs": ["ä", "B"]})


def test_what_is_no_text_comes_as_base64(ask):
    encoded = base64.b64encode(b"\xff\x00").decode()
    body = {"inputs": [{"b64": encoded}], "signature_name": "shout"}
    assert ask("POST", PATH, body) == (200, {"outputs": [{"b64": encoded}]})


@pytest.mark.parametrize("text", ["a", "ab", "abc", "ä"])
def test_base64_needs_no_padding(ask, text):
    for encoded in (base64.b64encode(text.encode()).decode(), base64.b64encode(text.encode()).decode().rstrip("=")):
        body = {"inputs": [{"b64": encoded}, {"b64": f" {encoded[:2]}\n{encoded[2:]}"}], "signature_name": "shout"}
        status, answer = ask("POST", PATH, body)
        assert (status, answer) == (200, {"outputs": [tf.strings.upper(text).numpy().decode()] * 2})


def test_numbers_that_are_none_are_read_and_written_as_tensorflow_serving_does():
    values = [math.nan, math.inf, -math.inf, 1.0]
    for text in (b'{"x": [NaN, Infinity, -Infinity, 1]}', b'{"x": [NaN, Inf, -Inf, 1.0], "Inf": "\\"Inf"}'):
        parsed = rest._parse(text)
        np.testing.assert_array_equal(rest.array(parsed["x"], "float32", "x"), values)
        assert parsed.get("Inf") in (None, '"Inf')
    written = rest._json(rest.outputs({"x": np.array(values, np.float32)}))
    assert written == b'{"outputs":[NaN,Infinity,-Infinity,1.0]}'


def test_outputs_of_different_rows_have_no_row_format():
    scores, classes = np.zeros((2, 1)), np.array([b"cat", b"dog", b"owl"], object)
    assert rest.predictions({"y": scores, "z": classes[:2]})["predictions"] == [
        {"y": [0], "z": "cat"},
        {"y": [0], "z": "dog"},
    ]
    for other, has in ((classes, 3), (np.float32(1), "none")):
        with pytest.raises(Refused, match=f"y has 2, z has {has}: ask with `inputs`"):
            rest.predictions({"y": scores, "z": other})
        assert rest.outputs({"y": scores, "z": other})["outputs"]["z"] == rest._plain("z", other)


def test_a_card_with_numbers_that_are_none_is_shown(folder, tmp_path):
    shutil.copytree(folder / "other/1", tmp_path / "other/1")
    (tmp_path / "other/1/card.json").write_text('{"metrics": {"loss": NaN}}')
    served = models.Models(tmp_path)
    served.switch(*served.changes()[0])

    async def call():
        async with rest_client(rest.app(front.Front(served, None), 2**20)) as client:
            return await client.get("/v1/models/other/card")

    response = in_loop(call())
    assert (response.status_code, response.text) == (200, '{"metrics":{"loss":NaN}}')


def test_versions(ask):
    for path, factor in (("small", 3), ("small/versions/2", 3), ("small/versions/1", 2), ("other", 5)):
        _, answer = ask("POST", f"/v1/models/{path}:predict", {"instances": [ONE]})
        assert answer["predictions"][0]["sum"] == [0.5 * factor, factor]
    okay = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    both = [{"version": "2"} | okay, {"version": "1"} | okay]
    assert ask("GET", "/v1/models/small") == (200, {"model_version_status": both})
    assert ask("GET", "/v1/models/small/versions/1") == (200, {"model_version_status": both[1:]})
    listed = [{"name": "other", "version": "1"}, {"name": "small", "version": "2"}]
    assert ask("GET", "/v1/models") == (200, {"models": listed})


def test_metadata(ask):
    status, answer = ask("GET", "/v1/models/small/versions/1/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "small", "signature_name": "", "version": "1"}
    definitions = answer["metadata"]["signature_def"]["signature_def"]
    assert set(definitions) == {"serving_default", "steps", "shout"}
    inputs = definitions["serving_default"]["inputs"]["inputs"]
    assert inputs["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in inputs["tensor_shape"]["dim"]] == ["-1", "-1", "2"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (PATH, b"", 400, "expected JSON"),
        (PATH, b'{"instances": [', 400, "expected JSON"),
        (PATH, b"\xff\xfe", 400, "expected JSON"),
        (PATH, b"[" * 100_000, 400, "expected JSON"),
        (PATH, [TWO], 400, "expected a JSON object"),
        (PATH, {}, 400, "either `instances` or `inputs`"),
        (PATH, {"instances": [TWO], "inputs": {}}, 400, "either `instances` or `inputs`"),
        (PATH, {"instances": [TWO], "signature_name": 3}, 400, "signature_name: expected a text"),
        (PATH, {"instances": [TWO], "signature_name": "x"}, 400, "one of serving_default, shout, steps, received 'x'"),
        (PATH, {"instances": []}, 400, "at least one row"),
        (PATH, {"instances": {}}, 400, "at least one row"),
        (PATH, {"instances": [1, 2]}, 400, "expected objects with the inputs inputs, lengths"),
        (PATH, {"instances": [TWO, {}]}, 400, "expected inputs, lengths in each row, received none"),
        (PATH, {"instances": [TWO | {"more": 1}]}, 400, "received inputs, lengths, more"),
        (PATH, b'{"inputs": {"\\ud800": 1}}', 400, r"received \ud800"),
        (PATH, {"instances": [TWO, ONE]}, 400, "inputs: expected lists of one length, received 1 to 2"),
        (PATH, {"instances": [TWO | {"lengths": 2.0}]}, 400, "lengths: expected whole numbers"),
        (PATH, {"instances": [TWO | {"lengths": True}]}, 400, "lengths: expected whole numbers"),
        (PATH, {"instances": [TWO | {"lengths": "2"}]}, 400, "lengths: expected whole numbers"),
        (PATH, {"instances": [TWO | {"lengths": None}]}, 400, "lengths: expected whole numbers"),
        (PATH, {"instances": [TWO | {"lengths": [2]}]}, 400, "int32 of shape (any,), received int32 of shape (1, 1)"),
        (PATH, {"instances": [TWO | {"lengths": 2**31}]}, 400, "lengths: expected whole numbers"),
        (PATH, {"instances": [TWO | {"lengths": 3}]}, 400, "lengths: expected no more than there are time steps"),
        (PATH, {"instances": [TWO | {"lengths": 0}]}, 400, "lengths: expected 1 or more"),
        (PATH, {"instances": [TWO | {"inputs": [[1, 2], [3, "4"]]}]}, 400, "inputs: expected numbers"),
        (PATH, {"instances": [TWO | {"inputs": [[1, 2], 3]}]}, 400, "as deep in lists as one another"),
        (PATH, {"instances": [TWO | {"inputs": [1, 2]}]}, 400, "received float32 of shape (1, 2)"),
        (PATH, {"instances": [TWO | {"inputs": [[1], [2]]}]}, 400, "received float32 of shape (1, 2, 1)"),
        (PATH, {"instances": [TWO | {"inputs": [[1e300, 2], [3, 4]]}]}, 400, "finite numbers that float32 holds"),
        (PATH, {"instances": [TWO | {"inputs": [[10**400, 2], [3, 4]]}]}, 400, "inputs: expected numbers"),
        (PATH, b'{"instances": [{"inputs": [[NaN, 1]], "lengths": 1}]}', 400, "inputs: expected finite numbers"),
        (PATH, b'{"instances": [{"inputs": [[-Inf, 1]], "lengths": 1}]}', 400, "inputs: expected finite numbers"),
        (PATH, b'{"instances": [{"inputs": [["Inf", Inf]], "lengths": 1}]}', 400, "inputs: expected numbers"),
        (PATH, b'{"instances": [{"inputs": [[Inff, 1]], "lengths": 1}]}', 400, "expected JSON"),
        (PATH, b'{"instances": [{"inputs": [[1, 1]], "lengths": 1}]} and more', 400, "expected JSON"),
        (PATH, {"inputs": {"inputs": [], "lengths": []}}, 400, "received float32 of shape (0,)"),
        (PATH, {"inputs": {"lengths": [1]}}, 400, "inputs: expected inputs, lengths, received lengths"),
        (PATH, {"instances": [ONE] * 1001}, 400, "at most 1000 rows, received 1001"),
        (PATH, {"instances": [""], "signature_name": "shout"}, 400, "text: expected one, received an empty one"),
        (PATH, {"instances": [3], "signature_name": "shout"}, 400, "text: expected texts"),
        (PATH, {"instances": [{"b64": "="}], "signature_name": "shout"}, 400, "text: expected texts"),
        (PATH, {"instances": [{"b64": 3}], "signature_name": "shout"}, 400, "text: expected texts"),
        (PATH, {"instances": [{"b64": "YQ="}], "signature_name": "shout"}, 400, "text: expected texts"),
        (PATH, {"instances": [{"b64": "Y"}], "signature_name": "shout"}, 400, "text: expected texts"),
        (PATH, {"instances": [{"b64": "Y*=="}], "signature_name": "shout"}, 400, "text: expected texts"),
        (PATH, b'{"instances": ["\\ud800"], "signature_name": "shout"}', 400, "text: expected texts"),
        (PATH, b" " * 2**21, 413, "at most 1,048,576 bytes"),
        ("/v1/models/nobody:predict", {"instances": [TWO]}, 404, "model: expected one of other, small"),
        ("/v1/models/only_cards:predict", {"instances": [TWO]}, 404, "model: expected one of other, small"),
        ("/v1/models/..%2fsmall:predict", {"instances": [TWO]}, 404, "Not Found"),
        ("/v1/models/small/versions/3:predict", {"instances": [TWO]}, 404, "expected one of [1, 2], received 3"),
        ("/v1/models/small/versions/x:predict", {"instances": [TWO]}, 404, "expected a number, received 'x'"),
        ("/v1/models/small/versions/²:predict", {"instances": [TWO]}, 404, "expected a number"),
        ("/v1/models/small:classify", {"instances": [TWO]}, 501, "expected :predict, which this server offers"),
        ("/v1/models/small/versions/1:regress", {}, 501, "received :regress"),
        ("/v1/models/small/labels/stable:predict", {}, 404, "labels: expected /versions/NUMBER"),
        ("/v1/models/small", {}, 405, "Method Not Allowed"),
        ("/elsewhere", {}, 404, "Not Found"),
    ],
)
def test_refused(ask, path, body, status, message):
    received, answer = ask("POST", path, body)
    assert (received, message in answer["error"]) == (status, True), answer


def test_a_request_too_many_is_refused(ask):
    assert ask("POST", PATH, {"instances": [TWO]}, queue=1)[0] == 200
    status, answer = ask("POST", PATH, {"instances": [TWO]}, queue=0)
    assert status == 429
    assert "try again later" in answer["error"]


def test_a_body_that_does_not_come_gives_its_place_back(make_front):
    async def stalls():
        yield b"{"
        await asyncio.sleep(10)

    async def call():
        front = make_front(queue=1, seconds=0.1)
        async with rest_client(rest.app(front, 2**20)) as client:
            response = await client.post(PATH, content=stalls())
            assert (await client.post(PATH, json={"instances": [TWO]})).status_code == 200
            return response

    response = in_loop(call())
    assert response.status_code == 400
    assert "within 0.1 seconds" in response.json()["error"]


def test_figures_are_of_models_that_exist(make_front):
    async def calls():
        front = make_front()
        async with rest_client(rest.app(front, 2**20)) as client:
            for name in ("small", "other", "nobody"):
                await client.post(f"/v1/models/{name}:predict", json={"instances": [TWO]})
            await client.post(PATH, json={"instances": [TWO | {"lengths": 9}]})
            return (await client.get("/metrics")).text

    text = in_loop(calls())
    labels = 'protocol="REST",signature="serving_default"'
    assert f'recipes_requests_total{{model="small",{labels},status="200"}} 1.0' in text
    assert f'recipes_requests_total{{model="small",{labels},status="400"}} 1.0' in text
    assert f'recipes_request_seconds_count{{model="other",{labels}}} 1.0' in text
    assert "recipes_queued_requests 0.0" in text
    assert "recipes_batch_rows_sum 3.0" in text
    assert "nobody" not in text


def test_a_request_is_a_line_of_the_log(ask, capsys):
    ask("POST", PATH, {"instances": [TWO]})
    ask("POST", "/v1/models/ä:predict", {"instances": [TWO]})
    first, second = capsys.readouterr().out.splitlines()
    assert " REST POST /v1/models/small:predict 200 " in first
    assert first.endswith(" ms")
    assert r"/v1/models/\xe4:predict 404 " in second


def test_arrays_go_there_and_back():
    inputs = request(5, rows=3)
    for name, dtype in (("inputs", "float32"), ("lengths", "int32")):
        array = rest.array(inputs[name].tolist(), dtype, name)
        assert array.dtype == inputs[name].dtype
        np.testing.assert_array_equal(array, inputs[name])


def test_what_json_has_not_is_told():
    for dtype in ("complex64", "bfloat16", "resource", "qint8"):
        with pytest.raises(Refused, match=f"x: JSON has no {dtype}, gRPC has"):
            rest.array([1], dtype, "x")
    for dtype in (tf.complex64, tf.bfloat16):
        with pytest.raises(Refused, match=f"x: JSON has no {dtype.name}, gRPC has"):
            rest.outputs({"x": tf.ones(2, dtype).numpy()})
    assert rest.outputs({"x": np.ones(2, np.float16)}) == {"outputs": [1, 1]}
    for dtype in (np.int8, np.uint64, np.float16, np.bool_):
        assert rest.array([1 if dtype != np.bool_ else True], np.dtype(dtype).name, "x").dtype == dtype


def test_a_signature_without_inputs():
    signature = {"inputs": {}}
    assert rest.columns({}, signature) == rest.rows([{}], signature) == {}
    for values, read in (([1], rest.rows), (3, rest.columns)):
        with pytest.raises(Refused, match="expected objects with the inputs none"):
            read(values, signature)


def test_unzipped_pieces_are_bounded():
    async def chunks():
        yield gzip.compress(bytes(2**24))

    async def pieces():
        return [len(piece) async for piece in rest._unzipped(chunks(), 1000)]

    sizes = in_loop(pieces())
    assert (max(sizes), sum(sizes)) == (1000, 2**24)
