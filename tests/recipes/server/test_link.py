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
async def linked(call, count=1):
    """`Links` to so many threads that answer with `call`."""
    pairs = [socket.socketpair() for _ in range(count)]
    threads = [threading.Thread(target=link.answer, args=(theirs, call)) for _, theirs in pairs]
    for thread in threads:
        thread.start()
    made = link.Links([await link.Link.over(ours) for ours, _ in pairs])
    try:
        yield made
    finally:
        made.close()
        for thread, (_, theirs) in zip(threads, pairs, strict=True):
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


def test_as_many_are_answered_at_a_time_as_there_are_links():
    last, asked = threading.Event(), []

    def call(number):
        asked.append(number)
        if number == 2:
            last.set()
        assert last.wait(60)
        return number

    async def ask():
        async with linked(call, 3) as made:
            assert await asyncio.gather(*map(made.call, range(3))) == [0, 1, 2]
            last.clear()
            waiting = [asyncio.create_task(made.call(number)) for number in (3, 4, 5, 6)]
            await asyncio.sleep(0.3)
            assert (sorted(asked), made.load) == ([0, 1, 2, 3, 4, 5], 4)
            last.set()
            assert await asyncio.gather(*waiting) == [3, 4, 5, 6]

    in_loop(ask())


def test_who_gives_up_does_not_leave_an_answer_to_the_next():
    gate = threading.Event()

    def call(number):
        assert gate.wait(60)
        return number

    async def ask():
        async with linked(call) as made:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(made.call(1), 0.1)
            waiting = asyncio.create_task(made.call(2))
            await asyncio.sleep(0.1)
            gate.set()
            assert await waiting == 2

    in_loop(ask())


def test_calls_are_lost_when_the_other_end_is_closed():
    async def ask():
        ours, theirs = socket.socketpair()
        made = link.Links([await link.Link.over(ours)])
        waiting = [asyncio.create_task(made.call("anything")) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert (made.load, made.are_open) == (2, True)
        theirs.close()
        for call in (*waiting, made.call("another")):
            with pytest.raises(link.Lost):
                await call
        assert (made.load, made.are_open) == (0, False)

    in_loop(ask())


def test_half_a_message_ends_it():
    for beginning in (b"\0", (1000).to_bytes(8, "big") + b"..."):
        ours, theirs = socket.socketpair()
        with theirs:
            with ours:
                ours.sendall(beginning)
            link.answer(theirs, lambda: None)
