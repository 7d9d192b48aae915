"""Calls from the front to a replica over sockets: messages of a length and a pickle."""

import asyncio
import pickle

_SIZE = 8  # bytes that tell how long a message is


class Lost(Exception):
    """The replica died before it answered."""


def _message(content):
    content = pickle.dumps(content, protocol=5)
    return len(content).to_bytes(_SIZE, "big") + content


def answer(connection, call):
    """Answers calls over a socket, one after the other, until its other end is closed.

    Args:
        connection: the socket.
        call: function of a method's name and its arguments; the caller raises an exception that it returns.
    """
    with connection.makefile("rb") as stream:
        while head := stream.read(_SIZE):
            content = stream.read(int.from_bytes(head, "big"))
            if len(head) < _SIZE or len(content) < int.from_bytes(head, "big"):
                return
            connection.sendall(_message(call(*pickle.loads(content))))


class Link(asyncio.Protocol):
    """The front's end of one socket, in an event loop: one call at a time."""

    @classmethod
    async def over(cls, connection):
        """Calls over a socket."""
        _, link = await asyncio.get_running_loop().create_unix_connection(cls, sock=connection)
        return link

    def connection_made(self, transport):
        self._transport, self._received, self._answer, self.is_open = transport, bytearray(), None, True

    def ask(self, method, *arguments):
        """A future of what the replica's method returns, of an exception that it returns, or of `Lost`."""
        self._answer = asyncio.get_running_loop().create_future()
        if self.is_open:
            self._transport.write(_message((method, *arguments)))
        else:
            self._answer.set_exception(Lost())
        return self._answer

    def close(self):
        self._transport.close()

    def data_received(self, data):
        self._received += data
        if len(self._received) == _SIZE + int.from_bytes(self._received[:_SIZE], "big"):
            value = pickle.loads(self._received[_SIZE:])
            self._received.clear()
            if self._answer.done():
                pass  # a ping that was given up
            elif isinstance(value, Exception):
                self._answer.set_exception(value)
            else:
                self._answer.set_result(value)

    def connection_lost(self, _):
        self.is_open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(Lost())


class Links:
    """Calls to one replica: as many at a time as there are links, each of which the replica answers from a thread.

    The link that was free last is taken first: the thread that waits there ran last. To hand calls from one thread to
    another would take longer.

    Attributes:
        load: calls that are not yet answered.
    """

    def __init__(self, links):
        self._links, self._free, self.load = links, asyncio.LifoQueue(), 0
        for link in links:
            self._free.put_nowait(link)

    @property
    def are_open(self):
        return all(link.is_open for link in self._links)

    async def call(self, method, *arguments):
        """Returns what the replica's method returns; raises an exception that it returns, and `Lost` if it dies."""
        self.load += 1
        try:
            link = await self._free.get()
            answer = link.ask(method, *arguments)
            answer.add_done_callback(lambda _: self._free.put_nowait(link))
            return await asyncio.shield(answer)  # who gives up leaves the link to its answer
        finally:
            self.load -= 1

    def close(self):
        """Gives up all calls."""
        for link in self._links:
            link.close()
