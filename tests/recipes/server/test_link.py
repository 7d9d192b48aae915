"""Calls over sockets: of any size, several at a time, and lost when the other end is closed."""

import asyncio
import contextlib
import socket
import threading

import numpy as np
import pytest

from recipes._core.server import link
from tests.recipes.server.small import in_loop


@contextlib.asynccontextmanager
async def linked(call, threads=1):
    """A `Link` to a thread that answers with `call`."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=link.answer, args=(theirs, call, threads))
    thread.start()
    made = await link.Link.over(ours)
    try:
        yield made
    finally:
        made.close()
        await asyncio.to_thread(thread.join)  # it ends when our end is closed
        theirs.close()


def test_answers_of_any_size():
    sizes = 0, 10, 3_000_000, 7

    async def ask():
        async with linked(lambda *called: called) as made:
            return await asyncio.gather(*(made.call("echo", np.arange(size)) for size in sizes))

    for size, (method, array) in zip(sizes, in_loop(ask()), strict=True):
        assert method == "echo"
        np.testing.assert_array_equal(array, np.arange(size))


def test_an_exception_that_is_returned_is_raised():
    async def ask():
        async with linked(lambda method: ValueError(method)) as made:
            with pytest.raises(ValueError, match="no"):
                await made.call("no")
            assert made.load == 0

    in_loop(ask())


def test_threads_answer_at_a_time_in_any_order():
    last = threading.Event()

    def call(number):
        if number == 2:
            last.set()
        assert last.wait(60)
        return number

    async def ask():
        async with linked(call, threads=3) as made:
            assert await asyncio.gather(*map(made.call, range(3))) == [0, 1, 2]

    in_loop(ask())


def test_calls_are_lost_when_the_other_end_is_closed():
    async def ask():
        ours, theirs = socket.socketpair()
        made = await link.Link.over(ours)
        waiting = asyncio.create_task(made.call("anything"))
        await asyncio.sleep(0.1)
        assert made.load == 1
        theirs.close()
        for call in (waiting, made.call("another")):
            with pytest.raises(link.Lost):
                await call
        assert (made.load, made.is_open) == (0, False)

    in_loop(ask())


def test_half_a_message_ends_it():
    for beginning in (b"\0", (1000).to_bytes(8, "big") + b"..."):
        ours, theirs = socket.socketpair()
        with theirs:
            with ours:
                ours.sendall(beginning)
            link.answer(theirs, lambda: None, threads=2)
