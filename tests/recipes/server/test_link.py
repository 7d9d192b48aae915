"""Calls over sockets: of any size, to who has least to do, and lost when the process dies."""

import asyncio
import subprocess
import sys

import numpy as np
import pytest

from recipes._core.server import link
from tests.recipes.server.small import in_loop


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


_REPLICA = """
import json, os, sys, threading, time
sys.path.insert(0, {root!r})
from recipes._core.server import link
def call(method, arguments, reply):
    if method == "die":
        os._exit(1)
    def work():
        time.sleep(arguments[0])
        reply(ValueError("no") if method == "fail" else os.getpid())
    threading.Thread(target=work).start()
link.listen({sockets!r}, call)
print("ready", flush=True)
time.sleep(100)
"""


@pytest.fixture
def processes(tmp_path):
    """A function that starts a process which listens in `tmp_path`."""
    started = []

    def start():
        code = _REPLICA.format(root=sys.path[0] if "" not in sys.path else "", sockets=str(tmp_path))
        started.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_calls_go_to_who_has_least_to_do_and_survive_who_dies(processes, tmp_path):
    first, second = processes(), processes()

    async def calls():
        links = link.Links(tmp_path)
        both = await asyncio.gather(*[links.call("work", 0.1) for _ in range(6)])
        assert sorted(both.count(process.pid) for process in (first, second)) == [3, 3]
        with pytest.raises(ValueError, match="no"):
            await links.call("fail", 0)
        waiting = [asyncio.create_task(links.call("work", 0.5)) for _ in range(4)]
        await asyncio.sleep(0.1)
        first.kill()
        assert await asyncio.gather(*waiting) == [second.pid] * 4
        second.kill()
        second.wait()
        waiting = asyncio.create_task(links.call("work", 0))
        await asyncio.sleep(0.3)
        assert not waiting.done()  # until another takes the place
        third = await asyncio.to_thread(processes)
        assert await waiting == third.pid

    in_loop(calls())


def test_what_kills_every_replica_ends(processes, tmp_path):
    for _ in range(2):
        processes()

    async def calls():
        with pytest.raises(link.Lost):
            await link.Links(tmp_path).call("die", tries=2)

    in_loop(calls())
