"""Calls over a socket: of any size, whole however they arrive, and lost when their process dies."""

import asyncio
import os
import pickle
import socket

import numpy as np
import pytest

from recipes._core.server import link
from tests.recipes.server.conftest import in_loop


def test_answers_of_any_size(tmp_path):
    def call(method, arguments, reply):
        reply((method, *arguments))

    async def ask():
        links = link.Links(tmp_path)
        return await asyncio.gather(*(links.call("echo", np.arange(size)) for size in (0, 10, 3_000_000, 7)))

    link.listen(tmp_path, call)
    for size, (method, array) in zip((0, 10, 3_000_000, 7), in_loop(ask()), strict=True):
        assert method == "echo"
        np.testing.assert_array_equal(array, np.arange(size))


@pytest.mark.parametrize("header", [lambda n: n.to_bytes(4, "big"), lambda n: b"\xff" * 4 + n.to_bytes(8, "big")])
def test_answers_in_pieces_and_the_end(tmp_path, monkeypatch, header):
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(
        link.multiprocessing.connection,
        "Client",
        lambda *_: link.multiprocessing.connection.Connection(ours.detach()),
    )
    answers = [header(len(text)) + text for text in (pickle.dumps((number, f"answer {number}")) for number in (1, 0))]

    async def ask():
        one = link.Link(tmp_path)
        calls = [asyncio.ensure_future(one.call("ask")) for _ in range(3)]
        for byte in b"".join(answers):
            await asyncio.sleep(0)
            os.write(theirs.fileno(), bytes([byte]))
        assert await asyncio.gather(*calls[:2]) == ["answer 0", "answer 1"]
        theirs.close()
        with pytest.raises(link.Lost):
            await calls[2]
        assert not one.is_open
        with pytest.raises(link.Lost):
            await one.call("ask")

    in_loop(ask())
