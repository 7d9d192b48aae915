"""`python -m recipes serve`: replicas, what is in front of them, and a watch on the folder."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import tempfile

# Before Ray is imported: all of its own connections stay on this machine, and none is made without a token.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
os.environ |= {"RAY_SERVE_LOG_TO_STDERR": "0"}
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

import ray
import uvicorn
import uvloop
from ray import serve

from recipes._core.errors import RecipeError
from recipes._core.export import layout
from recipes._core.server import connection, front, link, models, replica, rest, rpc
from recipes._core.server.refusal import Refused, Why

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FILES = 2**16  # that may be open, where the system allows it: connections are files


def run(arguments):
    """Serves until SIGINT or SIGTERM, finishes what is asked by then, and returns."""
    folder = arguments.saved_models.resolve()
    there = layout.on_disk(folder, arguments.names)
    missing = set(arguments.names) - there.keys()
    if missing or not there:
        wanted = f"exported models of {', '.join(sorted(missing))}" if missing else "exported models"
        raise RecipeError(
            f"Expected {wanted} in {folder}. To train and export one: python -m recipes train RECIPE --export"
        )
    if arguments.port and arguments.port == arguments.grpc_port:
        raise RecipeError(f"Expected two ports, received {arguments.port} for --port and --grpc-port.")
    host = arguments.host.strip("[]")
    with contextlib.ExitStack() as stack:  # before all the work
        for listener in listeners(host, arguments.grpc_port, "--grpc-port"):
            listener.close()  # gRPC has its own
        ours = [stack.enter_context(each) for each in listeners(host, arguments.port, "--port")]
        few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(few, min(most, _FILES)), most))
        sockets = stack.enter_context(_replicas(folder, arguments.names, arguments.replicas))
        uvloop.run(_serve(arguments, folder, sockets, host, ours))


def listeners(host, port, option):
    """Sockets of one port at each address of a host; `::` is for both protocols."""
    made, failed = [], None
    try:
        found = [each[4] for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        for place in dict.fromkeys(found):
            try:
                made.append(_bound(host, (place[0], port, *place[2:])))
                port = port or made[0].getsockname()[1]
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failed = error  # such as ::1 of localhost, where there is no IPv6
        if not made:
            raise failed
        return made
    except (OSError, OverflowError) as error:
        for listener in made:
            listener.close()
        if error is failed or isinstance(error, socket.gaierror):
            raise RecipeError(f"Expected an address of this machine, received --host={host} ({error}).") from None
        raise RecipeError(f"Expected a free port of {host}, received {option}={port} ({error}).") from None


def _bound(host, address):
    listener = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        listener.bind(address)
        return listener
    except (OSError, OverflowError):
        listener.close()
        raise


def address(host, port):
    """Host and port as one text, an address of IPv6 between brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _replicas(folder, names, count):
    """A folder with the sockets of the replicas, which Ray Serve starts, and starts again when they die."""
    print(f"Starting {count} replica{'s' * (count > 1)}, each a process with TensorFlow", flush=True)
    with tempfile.TemporaryDirectory() as sockets:
        ray.init(
            address="local",  # never that of another server on this machine
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            num_cpus=count,
            object_store_memory=100 * 2**20,  # nothing is stored
            log_to_driver=False,
            logging_level="error",
        )
        try:
            logging.getLogger("ray.serve").setLevel("WARNING")
            serve.start(proxy_location="Disabled")
            logging.getLogger("ray.serve").setLevel("WARNING")  # which `start` has just set
            deployment = serve.deployment(
                replica.Replica,
                num_replicas=count,
                health_check_period_s=1,
                ray_actor_options={"num_cpus": 1},
            )
            serve.run(deployment.bind(str(folder), list(names), sockets), name="models", route_prefix=None)
            yield sockets
        finally:
            ray.shutdown()


async def _serve(arguments, folder, sockets, host, ours):
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask_to_stop():
        stop.set()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)  # a second one ends it at once

    for number in _SIGNALS:
        loop.add_signal_handler(number, ask_to_stop)
    served, replicas = models.Models(folder, arguments.names), link.Links(sockets)

    async def answer(*request):
        try:
            return await replicas.call("answer", *request)
        except link.Lost:
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
    gc.freeze()  # what TensorFlow and Ray brought; to look through it takes a quarter of a second each time
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


async def _follow(served, replicas):
    """Lets new versions answer as soon as the replicas have loaded them, and passes over those that do not load."""
    for name, number in served.changes():
        links = await replicas.all()
        if not links:
            return  # until there is one
        try:
            wrong = next(
                filter(None, await asyncio.gather(*[one.call("prepare", name, number) for one in links])), None
            )
            if not wrong:
                served.switch(name, number)
                print(f"{name}: version {number} answers", flush=True)
        except link.Lost:
            return  # the next time: whoever takes its place loads it
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
