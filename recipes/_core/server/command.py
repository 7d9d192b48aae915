"""`python -m recipes serve`: what is asked is checked, addresses are taken, and replicas and their front started."""

import contextlib
import errno
import resource
import socket
import sys

import uvloop

from recipes._core import page
from recipes._core.errors import RecipeError
from recipes._core.export import layout
from recipes._core.server.replicas import Replicas

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
        uvloop.run(_serve(arguments, folder, host, ours))


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


async def _serve(arguments, folder, host, ours):
    count = arguments.replicas
    print(f"Starting {count} replica{'s' * (count > 1)}, each a process with TensorFlow", flush=True)
    command = [sys.executable, "-m", "recipes._core.server", str(folder), *arguments.names]
    async with Replicas(command, count, arguments.ping_timeout) as replicas:
        # TensorFlow is imported here at the same time as there.
        serving = page.quiet_import("recipes._core.server.serving")
        await replicas.started()
        await serving.serve(arguments, folder, replicas, host, ours)
