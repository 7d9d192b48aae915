"""The replicas on this machine: processes that are started, pinged, replaced and ended."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

from recipes._core.errors import RecipeError
from recipes._core.server.link import Link, Links, Lost

_THREADS = 8  # calls that a replica computes at a time
_PAUSE = 1  # seconds before each ping, and before a replica is replaced


class Replicas:
    """Calls to replicas, which live as long as the `async with` of this.

    A replica that ends is replaced, and so is one that hangs: what they were computing is computed by another. A
    replica hangs when it does not answer a ping in time, though it has a thread for nothing else: its process was
    stopped, or something in it holds Python's lock. That a computation takes long is no hang, nor is a long start.

    Args:
        command: list that starts the process of one. A last argument is added: the numbers of its sockets, with commas
            between them, the first of pings and the others of calls.
        count: how many.
        ping_timeout: seconds that the answer to a ping may take.
    """

    def __init__(self, command, count, ping_timeout):
        self._command, self._count, self._ping_timeout = command, count, ping_timeout
        self._replicas, self._has_started = [], False

    async def __aenter__(self):
        self._keepers = [asyncio.create_task(self._keep()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_):
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def started(self):
        """Returns when all of them compute.

        Raises:
            RecipeError: one ended before.
        """
        while len(self._replicas) < self._count:
            for keeper in self._keepers:
                if keeper.done():
                    keeper.result()
            await asyncio.sleep(0.05)
        self._has_started = True

    async def call(self, method, *arguments, tries=5):
        """The call, to the replica that has least to do; where it dies, to another, or to the one that takes its place.

        Raises:
            Lost: all of them died of it.
        """
        for _ in range(tries):
            while not (open_ones := self._open()):
                await asyncio.sleep(0.1)
            with contextlib.suppress(Lost):
                return await min(open_ones, key=lambda links: links.load).call(method, *arguments)
        raise Lost

    async def call_all(self, method, *arguments):
        """The call, to each of the replicas; a list of what they return.

        Raises:
            Lost: one died, or there is none.
        """
        open_ones = self._open()
        if not open_ones:
            raise Lost
        return await asyncio.gather(*(links.call(method, *arguments) for links in open_ones))

    def _open(self):
        return [links for links in self._replicas if links.are_open]

    async def _keep(self):
        """One replica after the other."""
        while True:
            try:
                await self._run()
            except Exception as error:  # such as too many processes; later there may be fewer
                if not self._has_started:
                    raise
                print(f"No replica can be started ({type(error).__name__}: {error})", file=sys.stderr, flush=True)
            await asyncio.sleep(_PAUSE)

    async def _run(self):
        """Starts a replica; returns when it has ended."""
        ours, theirs = zip(*(socket.socketpair() for _ in range(1 + _THREADS)), strict=True)
        try:
            numbers = [end.fileno() for end in theirs]
            process = await asyncio.create_subprocess_exec(
                *[*self._command, ",".join(map(str, numbers))],
                stdin=subprocess.DEVNULL,
                pass_fds=numbers,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        finally:
            for end in theirs:
                end.close()
        pings, *links = [await Link.over(end) for end in ours]
        calls = Links(links)
        try:
            await calls.call("ready")
            self._replicas.append(calls)
            print(f"Process {process.pid} computes", flush=True)
            while True:
                await asyncio.sleep(_PAUSE)
                async with asyncio.timeout(self._ping_timeout):
                    await pings.ask("ping")
        except TimeoutError:
            print(f"Process {process.pid} hangs: no answer to a ping in {self._ping_timeout} seconds", flush=True)
        except Lost:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            calls.close()
            pings.close()
            status = await process.wait()
            has_computed = calls in self._replicas
            if has_computed:
                self._replicas.remove(calls)
        if not (has_computed or self._has_started):
            raise RecipeError(f"Expected replicas to start, but one ended with exit status {status}.")
        print(f"Process {process.pid} is gone; another takes its place", flush=True)
