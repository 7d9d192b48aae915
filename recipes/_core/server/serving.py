"""The process of the front: both protocols before it, replicas behind it, and a watch on the folder."""

import asyncio
import contextlib
import gc
import signal
import sys

import uvicorn

from recipes._core.errors import RecipeError
from recipes._core.server import connection, front, models, rest, rpc
from recipes._core.server.link import Lost
from recipes._core.server.refusal import Refused, Why

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(arguments, folder, replicas, host, ours):
    """Serves until SIGINT or SIGTERM, and finishes what is asked by then.

    Args:
        arguments: of `recipes serve`.
        folder: of all exports.
        replicas: what calls them, as `Replicas` does.
        host: that gRPC listens on.
        ours: sockets that REST listens on.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask_to_stop():
        stop.set()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)  # a second one ends it at once

    for number in _SIGNALS:
        loop.add_signal_handler(number, ask_to_stop)
    served = models.Models(folder, arguments.names)

    async def answer(*request):
        try:
            return await replicas.call("answer", *request)
        except Lost:
            raise Refused(
                Why.UNAVAILABLE, "the replica that computed it died, and so did those that tried again"
            ) from None

    between = front.Front(
        served, answer, slots=2 * arguments.replicas, queue=arguments.queue, seconds=arguments.timeout
    )
    while served.changes():
        await _follow(served, replicas)
        await asyncio.sleep(0.1)
    if not list(served):
        raise RecipeError(f"Expected a model that loads in {folder}, found none.")
    gc.freeze()  # what TensorFlow brought; to look through it takes a quarter of a second each time
    most_bytes = arguments.max_request_mb * 2**20
    async with (
        rpc_server(between, address(host, arguments.grpc_port), most_bytes) as rpc_port,
        rest_server(between, ours, most_bytes) as port,
    ):
        print(f"REST and a page to try the models: http://{address(host, port)}\ngRPC: {address(host, rpc_port)}")
        print("Ctrl-C stops the server when all that was asked is answered.", flush=True)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1)
            await _follow(served, replicas)
        print("Stopping: new requests are refused, those that came before are answered", flush=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(between.stop(), arguments.timeout)


def address(host, port):
    """Host and port as one text, an address of IPv6 between brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _follow(served, replicas):
    """Lets new versions answer as soon as the replicas have loaded them, and passes over those that do not load."""
    for name, number in served.changes():
        try:
            wrong = next(filter(None, await replicas.call_all("prepare", name, number)), None)
            if not wrong:
                served.switch(name, number)
                print(f"{name}: version {number} answers", flush=True)
        except Lost:
            return  # the next time: what takes its place loads it
        except Exception as error:  # whatever a file that somebody put there may cause
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            served.refuse(name, number, wrong)
            print(f"{name}: version {number} does not load, and is passed over ({wrong})", file=sys.stderr, flush=True)


@contextlib.asynccontextmanager
async def rpc_server(between, place, most_bytes):
    """Answers over gRPC at a place, as `address` writes it; yields the port."""
    server = rpc.server(between, most_bytes)
    port = server.add_insecure_port(place)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=10)


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield  # they stop the whole, not this server alone


@contextlib.asynccontextmanager
async def rest_server(between, ours, most_bytes):
    """Answers over REST at sockets of one port, and shows the page; yields the port."""
    server = _Uvicorn(connection.config(rest.app(between, most_bytes)))
    task = asyncio.create_task(server.serve(ours))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if task.done():
        task.result()  # raises why
    try:
        yield ours[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task
