"""Clients of HTTP/1.1 as they are: offers of HTTP/2, zipped and large bodies, idle connections, several at a time."""

import contextlib
import gzip
import http.client
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from recipes._core.server import connection, front, models, rest
from tests.recipes.server.small import Counting, listening, request

MOST = 2**20
PATH = "/v1/models/small:predict"
INPUTS = request(3)
BODY = json.dumps({"inputs": {name: array.tolist() for name, array in INPUTS.items()}}).encode()
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n"
LENGTH = f"Content-Length: {len(BODY)}\r\n"


def served(folder, seconds):
    """The application of a server of `small`, whose requests may take so many seconds."""
    found, counting = models.Models(folder), Counting(folder)
    for change in found.changes():
        found.switch(*change)
    return rest.app(front.Front(found, counting, seconds=seconds), MOST)


@pytest.fixture(scope="module")
def port(folder):
    """The place where `small` is served over a socket."""
    with listening(served(folder, 60)) as port:
        yield port


class Raw:
    """A connection, byte by byte."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, *parts):
        self.socket.sendall(b"".join(part if isinstance(part, bytes) else part.encode() for part in parts))

    def answer(self):
        """Status, headers in lower case, and body of the next answer."""
        status = int(self.stream.readline().split()[1])
        lines = iter(lambda: self.stream.readline().strip().decode(), "")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return status, headers, self.stream.read(int(headers.get("content-length", 0)))

    def is_closed(self):
        try:
            return self.stream.read(1) == b""
        except ConnectionError:
            return True


@pytest.fixture
def raw(port):
    with Raw(port) as raw:
        yield raw


def is_right(answer):
    status, _, body = answer
    sums = json.loads(body)["outputs"]["sum"]
    return status == 200 and np.allclose(sums, 3 * INPUTS["inputs"].sum(axis=1), rtol=1e-5)


UPGRADES = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "websocket": "connection: keep-alive, upgrade\r\nUPGRADE: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "several": "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: TLS/1.0\r\n",
}


@pytest.mark.parametrize("offer", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_offer_of_another_protocol_is_read_past(raw, offer, framing):
    body = BODY if framing == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    length = LENGTH if framing == "length" else "Transfer-Encoding: chunked\r\n"
    for pause in (0, 0.05):  # the body with the head, and after it
        raw.send(HEAD, offer, length, "\r\n", *([body] if not pause else []))
        time.sleep(pause)
        raw.send(*([body] if pause else []))
        assert is_right(raw.answer())
    raw.send("GET /v1/models HTTP/1.1\r\nHost: x\r\n", offer, "\r\n")
    assert raw.answer()[0] == 200
    raw.send(HEAD, LENGTH, "\r\n", BODY)  # the connection is as it was
    assert is_right(raw.answer())


def test_an_offer_in_pieces_and_requests_behind_it(raw):
    message = (HEAD + UPGRADES["h2c"] + LENGTH + "\r\n").encode() + BODY
    for part in (message[:70], message[70:95], message[95:130], message[130:] + 2 * message):
        raw.send(part)
        time.sleep(0.02)
    assert all(is_right(raw.answer()) for _ in range(3))


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@pytest.mark.parametrize("size", [len(BODY), MOST // 2])
def test_curl_offers_http_2(port, tmp_path, size):
    body = tmp_path / "body"
    body.write_bytes(BODY + b" " * (size - len(BODY)))
    command = ["curl", "-sS", "--http2", "--data-binary", f"@{body}", "-w", "\n%{http_code} %{http_version}"]
    asked = subprocess.run([*command, f"http://127.0.0.1:{port}{PATH}"], capture_output=True, text=True, check=True)
    answer, told = asked.stdout.splitlines()
    assert told == "200 1.1"
    assert is_right((200, {}, answer))


def test_pipelined_requests_are_answered_in_order(raw):
    ask = "GET /v1/models/{} HTTP/1.1\r\nhost: x\r\n\r\n"
    raw.send(ask.format("small"), HEAD, LENGTH, "\r\n", BODY, ask.format("nobody"), HEAD, LENGTH, "\r\n", BODY)
    assert raw.answer()[0] == 200
    assert is_right(raw.answer())
    assert raw.answer()[0] == 404
    assert is_right(raw.answer())


def test_http_1_0_and_headers_in_lower_case_and_none(raw):
    raw.send(f"POST {PATH} HTTP/1.0\r\n", LENGTH.lower(), "\r\n", BODY)
    assert is_right(raw.answer())
    assert raw.is_closed()


def test_who_only_listens_any_more_is_answered(raw):
    raw.send(HEAD, LENGTH, "\r\n", BODY)
    raw.socket.shutdown(socket.SHUT_WR)
    assert is_right(raw.answer())
    assert raw.is_closed()


@pytest.mark.parametrize("more", [{}, {"Accept-Encoding": "gzip, deflate, br"}, {"Content-Type": "text/plain"}])
def test_headers_that_change_nothing(raw, more):
    raw.send(HEAD, LENGTH, *(f"{name}: {value}\r\n" for name, value in more.items()), "\r\n", BODY)
    status, headers, body = raw.answer()
    assert is_right((status, headers, body))
    assert "content-encoding" not in headers


@pytest.mark.parametrize("host", ["", "[", "a b", "x/y", "[::1]:80", "\u00e9"])
def test_any_host_is_answered(raw, host):
    raw.send(f"GET /v1/models/small HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert raw.answer()[0] == 200


def test_heads_and_slashes(raw):
    for path in ("/", "/v1/models", "/v1/models/small/", "/v1/models/small/versions/1/metadata/"):
        raw.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        status, *headers = iter(lambda: raw.stream.readline().strip(), b"")
        assert status.split()[1] == b"200"
        assert any(name.startswith(b"content-length: ") for name in headers)
    raw.send(HEAD.replace(":predict", ":predict/"), LENGTH, "\r\n", BODY)
    assert is_right(raw.answer())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_what_is_asked_by_post_only(raw, method):
    raw.send(f"{method} {PATH} HTTP/1.1\r\nHost: x\r\n\r\n")
    status, headers, body = raw.answer()
    assert (status, headers["allow"]) == (405, "POST")
    assert json.loads(body)["error"] == f"Method Not Allowed: {method} {PATH}"


# --- bodies


ZIPPED = gzip.compress(BODY)


@pytest.mark.parametrize("body", [ZIPPED, gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])])
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_gzip_is_unzipped(raw, encoding, body):
    raw.send(HEAD, f"Content-Encoding: {encoding}\r\nTransfer-Encoding: chunked\r\n\r\n")
    for part in (body[:1], body[1:30], body[30:]):
        raw.send(b"%x\r\n%b\r\n" % (len(part), part))
        time.sleep(0.01)
    raw.send("0\r\n\r\n")
    assert is_right(raw.answer())


BOMB = gzip.compress(bytes(500 * MOST), 9)


@pytest.mark.parametrize(
    ("encoding", "body", "status", "message"),
    [
        ("gzip", BODY, 400, "Content-Encoding: expected gzip (Error -3"),
        ("gzip", ZIPPED[:-9], 400, "expected gzip, received its beginning"),
        ("gzip", ZIPPED + b"x", 400, "expected gzip, received its beginning"),
        ("gzip", ZIPPED[:-8] + bytes(8), 400, "incorrect data check"),
        ("gzip", b"", 400, "expected JSON"),
        ("gzip", BOMB, 413, f"expected at most {MOST:,} bytes"),
        ("gzip", gzip.compress(BODY + b" " * (MOST - len(BODY))), 200, ""),
        ("gzip", gzip.compress(BODY + b" " * (MOST + 1 - len(BODY))), 413, "expected at most"),
        ("identity", BODY, 200, ""),
        ("br", BODY, 415, "Content-Encoding: expected gzip or none, received 'br'"),
        ("deflate", BODY, 415, "received 'deflate'"),
        ("gzip, gzip", BODY, 415, "received 'gzip, gzip'"),
    ],
)
def test_encodings(raw, encoding, body, status, message):
    raw.send(HEAD, f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n", body)
    received, headers, answer = raw.answer()
    assert received == status, answer
    assert status == 200 or message in json.loads(answer)["error"]
    assert headers.get("accept-encoding") == ("gzip" if status == 415 else None)
    raw.send(HEAD, LENGTH, "\r\n", BODY)
    assert is_right(raw.answer())


LARGE = b" " * (40 * 2**20)


@pytest.mark.parametrize("path", [PATH, "/v1/models/nobody:predict", "/nowhere", "/v1/models/small:classify"])
@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "br"}])
def test_a_large_body_gets_its_answer(port, path, headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", LARGE, headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as error:
        expected = {"/nowhere": 404, "/v1/models/small:classify": 501}.get(path, 415 if headers else 413)
        assert (error.code, "error" in json.load(error)) == (expected, True)


def test_a_large_body_in_chunks_and_on_a_connection_that_is_kept(port):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
        for body in (LARGE, iter([LARGE[: 2**20]] * 40)):
            client.request("POST", PATH, body)
            assert client.getresponse().read().startswith(b'{"error":"expected at most')
        client.request("POST", PATH, BODY)
        assert client.getresponse().status == 200


def test_who_asks_first_is_told_before_the_body(raw):
    raw.send(HEAD, f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\n\r\n")
    assert raw.stream.readline() == b"HTTP/1.1 100 Continue\r\n"
    raw.stream.readline()
    raw.send(BODY)
    assert is_right(raw.answer())
    raw.send(HEAD, f"Content-Length: {len(LARGE)}\r\nExpect: 100-continue\r\n\r\n")
    status, headers, _ = raw.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert raw.is_closed()


def test_a_body_that_stops_is_not_waited_for_for_ever(folder):
    with listening(served(folder, 1)) as port, Raw(port) as raw:
        for path, status in (("/nowhere", 404), (PATH, 400)):
            raw.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n{{")
            began = time.monotonic()
            assert raw.answer()[0] == status
            assert time.monotonic() - began > 0.9
            raw.send(BODY[1:])


def test_a_byte_order_mark_other_encodings_and_inf(raw):
    text = BODY.decode()
    for body in (b"\xef\xbb\xbf" + BODY, text.encode("utf-16"), b" \n" + BODY + b"\r\n"):
        raw.send(HEAD, f"Content-Length: {len(body)}\r\n\r\n", body)
        assert is_right(raw.answer())


# --- how long, and how many


def test_idle_connections_outlive_those_of_proxies():
    assert connection.IDLE_SECONDS > 65


async def at_once(scope, receive, send):
    """An application that answers at once."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("sent", ["", "GET / HT", "GET /", GET, GET + "GET"])
def test_an_idle_connection_is_closed_in_time(monkeypatch, sent):
    monkeypatch.setattr(connection, "IDLE_SECONDS", 1)
    with listening(at_once) as port, Raw(port) as raw:
        raw.send(sent)
        if GET in sent:
            assert raw.answer()[0] == 200
        began = time.monotonic()
        with contextlib.suppress(OSError):  # a byte now and then keeps no connection
            for _ in range(30):
                raw.send("x" if sent == "GET /" else "")
                time.sleep(0.05)
        assert raw.is_closed()
        assert time.monotonic() - began < 20


def test_of_too_many_connections_the_longest_idle_is_closed(monkeypatch):
    monkeypatch.setattr(connection, "MOST_OPEN", 5)
    with listening(at_once) as port, contextlib.ExitStack() as stack:
        several = [stack.enter_context(Raw(port)) for _ in range(5)]
        for raw in [*several, several[0]]:
            raw.send(GET)
            assert raw.answer()[0] == 200
            time.sleep(0.02)  # what the loop's clock tells apart
        new = stack.enter_context(Raw(port))
        assert several[1].is_closed()
        for raw in (new, several[0], *several[2:]):
            raw.send(GET)
            assert raw.answer()[0] == 200


def test_a_head_without_an_end_is_refused(raw):
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            raw.send("GET / HTTP/1.1\r\n" if not _ else f"X-{_}: {'x' * 1000}\r\n")
            time.sleep(0.001)
    with contextlib.suppress(ConnectionError):
        assert raw.answer()[0] == 400
    assert raw.is_closed()


def test_large_bodies_are_no_heads(raw):
    body = BODY + b" " * (MOST // 2)
    for _ in range(3):
        raw.send(HEAD, f"Content-Length: {len(body)}\r\n\r\n", body)
        assert is_right(raw.answer())
    raw.send(2 * (HEAD.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body))
    assert is_right(raw.answer())
    assert is_right(raw.answer())


def test_connect_is_no_offer(raw):
    raw.send("CONNECT x:80 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert raw.answer()[0] in (400, 404)
