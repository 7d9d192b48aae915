"""Calls from the front to a replica, over a socket: messages of a length and a pickle."""

import asyncio
import concurrent.futures
import itertools
import pickle
import threading

_SIZE = 8  # bytes that tell how long a message is


class Lost(Exception):
    """The replica died before it answered."""


def _message(*parts):
    content = pickle.dumps(parts, protocol=5)
    return len(content).to_bytes(_SIZE, "big") + content


def answer(connection, call, threads=1):
    """Answers calls until the other end of a socket is closed.

    Each thread reads a call, computes and replies: to hand calls from one thread to another would take time.

    Args:
        connection: the socket.
        call: function of a method's name and its arguments; the caller raises an exception that it returns.
        threads: calls that are computed at a time.
    """
    stream, reading, sending = connection.makefile("rb"), threading.Lock(), threading.Lock()

    def work():
        while True:
            with reading:
                size = int.from_bytes(stream.read(_SIZE), "big")
                content = stream.read(size)
            if len(content) < max(size, 1):
                return
            number, *called = pickle.loads(content)
            reply = _message(number, call(*called))
            with sending:
                connection.sendall(reply)

    pool = concurrent.futures.ThreadPoolExecutor(threads)
    working = [pool.submit(work) for _ in range(threads)]
    for ended in concurrent.futures.wait(working, return_when="FIRST_COMPLETED").done:
        ended.result()  # raises what went wrong


class Link(asyncio.Protocol):
    """The front's end, in an event loop."""

    @classmethod
    async def over(cls, connection):
        """Calls over a socket."""
        _, link = await asyncio.get_running_loop().create_unix_connection(cls, sock=connection)
        return link

    def connection_made(self, transport):
        self._transport, self._received = transport, bytearray()
        self._numbers, self._calls, self.is_open = itertools.count(), {}, True

    @property
    def load(self):
        """Calls that are not yet answered."""
        return len(self._calls)

    async def call(self, method, *arguments):
        """Returns what the replica's method returns; raises an exception that it returns, and `Lost` if it dies."""
        if not self.is_open:
            raise Lost
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            self._transport.write(_message(number, method, *arguments))
            value = await future
        finally:
            del self._calls[number]
        if isinstance(value, Exception):
            raise value
        return value

    def close(self):
        """Gives up all calls."""
        self._transport.close()

    def data_received(self, data):
        self._received += data
        while len(self._received) >= (end := _SIZE + int.from_bytes(self._received[:_SIZE], "big")):
            number, value = pickle.loads(self._received[_SIZE:end])
            del self._received[:end]
            future = self._calls.get(number)
            if future and not future.done():
                future.set_result(value)

    def connection_lost(self, _):
        self.is_open = False
        for future in self._calls.values():
            if not future.done():
                future.set_exception(Lost())
