"""Calls from the front to the replicas, over a Unix socket of each: a call through Ray Serve takes milliseconds."""

import asyncio
import itertools
import os
import pathlib
import pickle
import socket
import threading
import time

_SIZE = 8  # bytes that tell how long a message is


class Lost(Exception):
    """The replica died before it answered."""


def _message(*parts):
    content = pickle.dumps(parts, protocol=5)
    return len(content).to_bytes(_SIZE, "big") + content


def listen(folder, call):
    """Answers calls at a socket of this process in `folder`, from threads, as long as the process lives.

    Args:
        folder: that nobody else may enter.
        call: function of a method's name, its arguments, and a function that takes what it returns or raises, from
            any thread.
    """
    unfinished, path = pathlib.Path(folder, f".{os.getpid()}"), pathlib.Path(folder, str(os.getpid()))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(unfinished))
    listener.listen()
    unfinished.rename(path)  # who finds it there can connect

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection):
        sending = threading.Lock()

        def reply(number, value):
            with sending:
                connection.sendall(_message(number, value))

        with connection, connection.makefile("rb") as stream:
            while size := stream.read(_SIZE):
                number, method, arguments = pickle.loads(stream.read(int.from_bytes(size, "big")))
                call(method, arguments, lambda value, number=number: reply(number, value))

    threading.Thread(target=accept, daemon=True).start()


class Link:
    """A connection to one replica, in an event loop."""

    @classmethod
    async def to(cls, path):
        """Connects to the socket at a path.

        Raises:
            OSError: nobody listens there.
        """
        link = cls()
        link._numbers, link._calls, link.is_open = itertools.count(), {}, True
        reader, link._writer = await asyncio.open_unix_connection(str(path))
        link._receiving = asyncio.create_task(link._receive(reader))
        return link

    @property
    def load(self):
        """Calls that are not yet answered."""
        return len(self._calls)

    async def call(self, method, *arguments):
        """Returns what the replica's method returns; raises what it raises, and `Lost` if it dies before."""
        if not self.is_open:
            raise Lost
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            self._writer.write(_message(number, method, arguments))
            value = await future
        finally:
            del self._calls[number]
        if isinstance(value, Exception):
            raise value
        return value

    async def _receive(self, reader):
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(_SIZE), "big")
                number, value = pickle.loads(await reader.readexactly(size))
                future = self._calls.get(number)
                if future and not future.done():
                    future.set_result(value)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:  # also where the loop ends
            self.is_open = False
            self._writer.close()
            for future in self._calls.values():
                if not future.done():
                    future.set_exception(Lost())


class Links:
    """The replicas that listen in a folder, those that come later included."""

    def __init__(self, folder):
        self._folder, self._links, self._looked = pathlib.Path(folder), {}, 0
        self._looking = asyncio.Lock()

    async def all(self):
        """The links that are open; those that come are seen within a second."""
        links = list(self._links.values())
        if links and all(link.is_open for link in links) and time.monotonic() - self._looked < 1:
            return links
        async with self._looking:
            self._looked = time.monotonic()
            for path in [path for path, link in self._links.items() if not link.is_open]:
                del self._links[path]
                print(f"Process {path.name} is gone; Ray Serve starts another", flush=True)
            for path in self._folder.glob("[0-9]*"):
                if path not in self._links:
                    try:
                        self._links[path] = await Link.to(path)
                        print(f"Process {path.name} computes", flush=True)
                    except OSError:
                        path.unlink(missing_ok=True)  # its process is dead
            return list(self._links.values())

    async def call(self, method, *arguments, tries=5):
        """The call, to the replica that has least to do; where it dies, to another, or to the one that takes its place.

        Raises:
            Lost: all of them died of it.
        """
        for _ in range(tries):
            while not (links := await self.all()):
                await asyncio.sleep(0.1)
            try:
                return await min(links, key=lambda link: link.load).call(method, *arguments)
            except Lost:
                continue
        raise Lost
