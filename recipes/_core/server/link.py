"""Calls from the front to the replicas, over a Unix socket of each: a call through Ray Serve takes milliseconds."""

import asyncio
import itertools
import multiprocessing.connection
import os
import pathlib
import pickle
import threading
import time


class Lost(Exception):
    """The replica died before it answered."""


def listen(folder, call):
    """Answers calls at a socket of this process in `folder`, from a thread, as long as the process lives.

    Args:
        folder: that nobody else may enter.
        call: function of a method's name, its arguments, and a function that takes what it returns or raises, from
            any thread.
    """
    unfinished, path = pathlib.Path(folder, f".{os.getpid()}"), pathlib.Path(folder, str(os.getpid()))
    unfinished.unlink(missing_ok=True)
    listener = multiprocessing.connection.Listener(str(unfinished), "AF_UNIX")
    unfinished.rename(path)  # who finds it there can connect

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept(),), daemon=True).start()

    def serve(connection):
        sending = threading.Lock()

        def reply(number, value):
            with sending:
                connection.send_bytes(pickle.dumps((number, value), protocol=5))

        try:
            while True:
                number, method, arguments = pickle.loads(connection.recv_bytes())
                call(method, arguments, lambda value, number=number: reply(number, value))
        except (EOFError, OSError):
            connection.close()

    threading.Thread(target=accept, daemon=True).start()


class Link:
    """A connection to one replica, in an event loop.

    Raises:
        OSError: nobody listens at that path.
    """

    def __init__(self, path):
        self._connection = multiprocessing.connection.Client(str(path), "AF_UNIX")
        self._loop, self._numbers, self._calls = asyncio.get_running_loop(), itertools.count(), {}
        self._received, self.is_open = bytearray(), True
        # Not a thread: it would wait for the interpreter's lock, which the loop holds when there is most to do.
        self._loop.add_reader(self._connection.fileno(), self._receive)

    @property
    def load(self):
        """Calls that are not yet answered."""
        return len(self._calls)

    async def call(self, method, *arguments):
        """What the replica's method returns; raises what it raises, and `Lost` if it dies before."""
        if not self.is_open:
            raise Lost
        number, future = next(self._numbers), self._loop.create_future()
        self._calls[number] = future
        try:
            self._connection.send_bytes(pickle.dumps((number, method, arguments), protocol=5))
            value = await future
        except OSError:
            raise Lost from None
        finally:
            del self._calls[number]
        if isinstance(value, Exception):
            raise value
        return value

    def _receive(self):
        try:
            part = os.read(self._connection.fileno(), 2**20)
        except OSError:
            part = b""
        if not part:
            return self._close()
        self._received += part
        while len(self._received) >= 4:  # as `multiprocessing.connection` sends them
            size, start = int.from_bytes(self._received[:4], "big", signed=True), 4
            if size == -1:
                size, start = int.from_bytes(self._received[4:12], "big"), 12
            if len(self._received) < start + size:
                return
            number, value = pickle.loads(self._received[start : start + size])
            del self._received[: start + size]
            future = self._calls.get(number)
            if future and not future.done():
                future.set_result(value)

    def _close(self):
        self.is_open = False
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(Lost())


class Links:
    """The replicas that listen in a folder, those that come later included."""

    def __init__(self, folder):
        self._folder, self._links, self._looked = pathlib.Path(folder), {}, 0

    def all(self):
        """The links that are open; those that come are seen within a second."""
        are_open = all(link.is_open for link in self._links.values())
        if self._links and are_open and time.monotonic() - self._looked < 1:
            return list(self._links.values())
        self._looked = time.monotonic()
        for path in self._folder.glob("[0-9]*"):
            if path not in self._links:
                try:
                    self._links[path] = Link(path)
                    print(f"Process {path.name} computes", flush=True)
                except OSError:
                    path.unlink(missing_ok=True)  # its process is dead
        for path in [path for path, link in self._links.items() if not link.is_open]:
            del self._links[path]
            path.unlink(missing_ok=True)
            print(f"Process {path.name} is gone; Ray Serve starts another", flush=True)
        return list(self._links.values())

    async def call(self, method, *arguments, tries=5):
        """The call, to the replica that has least to do; where it dies, to another, or to the one that takes its place.

        Raises:
            Lost: all of them died of it.
        """
        for _ in range(tries):
            while not (links := self.all()):
                await asyncio.sleep(0.1)
            try:
                return await min(links, key=lambda link: link.load).call(method, *arguments)
            except Lost:
                continue
        raise Lost
