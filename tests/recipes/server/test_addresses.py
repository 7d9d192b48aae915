"""Addresses of the server: every one of a host, for both of its protocols."""

import asyncio
import contextlib
import http.client
import socket

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from recipes._core.errors import RecipeError
from recipes._core.server import command, serving
from tests.recipes.server.small import in_loop


def is_there(address):
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind((address, 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not is_there("::1"), reason="there is no IPv6")
needs_names = pytest.mark.skipif(
    "::1" not in {each[4][0] for each in socket.getaddrinfo("localhost", 0)} or not is_there("::1"),
    reason="localhost has one address",
)


@pytest.mark.parametrize(
    ("host", "printed", "addresses"),
    [
        ("127.0.0.1", "127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", "0.0.0.0", ["127.0.0.1"]),
        ("localhost", "localhost", ["127.0.0.1"]),
        pytest.param("localhost", "localhost", ["127.0.0.1", "::1"], marks=needs_names),
        pytest.param("::1", "[::1]", ["::1"], marks=needs_ipv6),
        pytest.param("::", "[::]", ["::1", "127.0.0.1"], marks=needs_ipv6),
    ],
)
def test_both_protocols_are_heard_at_every_address(make_front, host, printed, addresses):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "small"

    def ask(address, port):
        with contextlib.closing(http.client.HTTPConnection(address, port, timeout=30)) as client:
            client.request("GET", "/v1/models/small")
            return client.getresponse().status

    async def call():
        front, listeners = make_front(), command.listeners(host, 0, "--port")
        async with (
            serving.rpc_server(front, serving.address(host, 0), 2**20) as rpc_port,
            serving.rest_server(front, listeners, 2**20) as port,
        ):
            assert serving.address(host, port) == f"{printed}:{port}"
            for address in addresses:
                assert await asyncio.to_thread(ask, address, port) == 200
                async with grpc.aio.insecure_channel(serving.address(address, rpc_port)) as channel:
                    answer = await model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(message, timeout=30)
                    assert answer.model_version_status[0].version == 2

    in_loop(call())


@pytest.mark.parametrize("host", ["nobody.invalid", "203.0.113.9", "1.2.3.4.5"])
def test_an_address_of_another_machine_is_told(host):
    with pytest.raises(RecipeError, match=f"Expected an address of this machine, received --host={host} "):
        command.listeners(host, 0, "--port")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_told(port):
    with pytest.raises(RecipeError, match=rf"Expected a free port of 127\.0\.0\.1, received --port={port} "):
        command.listeners("127.0.0.1", port, "--port")


@needs_names
def test_a_port_has_to_be_free_at_every_address():
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        taken.listen()
        with pytest.raises(RecipeError, match="Expected a free port of localhost, received --grpc-port="):
            command.listeners("localhost", taken.getsockname()[1], "--grpc-port")
