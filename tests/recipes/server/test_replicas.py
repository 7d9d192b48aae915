"""Processes that compute: asked evenly, replaced when they die or hang, ended with the process that started them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from recipes._core.errors import RecipeError
from recipes._core.server import link
from recipes._core.server.replicas import Replicas
from tests.recipes.server.small import in_loop

_REPLICA = """
import os, socket, sys, threading, time
from recipes._core.server import link

def call(method, seconds=0):
    if method == "die":
        os._exit(1)
    time.sleep(seconds)
    return ValueError("no") if method == "fail" else os.getpid()

pings, *calls = (socket.socket(fileno=int(number)) for number in sys.argv[-1].split(","))
for connection in calls:
    threading.Thread(target=link.answer, args=(connection, call), daemon=True).start()
link.answer(pings, lambda method: None)
"""
COMMAND = [sys.executable, "-c", _REPLICA]


@contextlib.asynccontextmanager
async def started(count, ping_timeout=60):
    async with Replicas(COMMAND, count, ping_timeout) as replicas:
        await replicas.started()
        yield replicas


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def new_one(replicas, known):
    while not (new := set(await replicas.call_all("pid")) - known):
        await asyncio.sleep(0.1)
    return new.pop()


def test_calls_go_to_who_has_least_to_do_and_survive_who_dies(capsys):
    async def calls():
        async with started(2) as replicas:
            first, second = await replicas.call_all("pid")
            both = await asyncio.gather(*[replicas.call("work", 0.1) for _ in range(6)])
            assert sorted(both.count(pid) for pid in (first, second)) == [3, 3]
            with pytest.raises(ValueError, match="no"):
                await replicas.call("fail")
            waiting = [asyncio.create_task(replicas.call("work", 0.5)) for _ in range(4)]
            await asyncio.sleep(0.1)
            os.kill(first, signal.SIGKILL)
            assert await asyncio.gather(*waiting) == [second] * 4
            third = await new_one(replicas, {first, second})
            for pid in (second, third):
                os.kill(pid, signal.SIGKILL)
            last = await replicas.call("work")  # waits until another takes the place
            assert last not in (first, second, third)
            return first, second, third, last

    pids = in_loop(calls())
    assert not any(map(is_there, pids))
    printed = capsys.readouterr().out
    for pid in pids:
        assert f"Process {pid} computes\n" in printed
    assert f"Process {pids[0]} is gone; another takes its place\n" in printed
    assert f"Process {pids[-1]} is gone" not in printed  # it was ended


def test_what_kills_every_replica_ends():
    async def calls():
        async with started(2) as replicas:
            with pytest.raises(link.Lost):
                await replicas.call("die", tries=2)
            with pytest.raises(link.Lost):
                await replicas.call_all("pid")

    in_loop(calls())


@pytest.mark.slow
def test_one_that_hangs_is_replaced_and_one_that_computes_for_long_is_not(capsys):
    async def calls():
        async with started(2, ping_timeout=2) as replicas:
            first, second = pids = await replicas.call_all("pid")
            assert sorted(await asyncio.gather(*[replicas.call("work", 5) for _ in pids])) == sorted(pids)
            waiting = [asyncio.create_task(replicas.call("work", 0.5)) for _ in pids]
            await asyncio.sleep(0.1)
            os.kill(first, signal.SIGSTOP)
            began = time.monotonic()
            assert await asyncio.gather(*waiting) == [second] * 2
            seconds = time.monotonic() - began
            await new_one(replicas, set(pids))
            return first, second, seconds

    first, second, seconds = in_loop(calls())
    assert 1.5 < seconds < 8  # at most 1 to the ping, 2 to its answer, 0.5 elsewhere
    assert not is_there(first)
    printed = capsys.readouterr().out
    assert f"Process {first} hangs: no answer to a ping in 2 seconds\nProcess {first} is gone" in printed
    assert f"Process {second} hangs" not in printed


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)])
def test_one_that_cannot_start_is_told(code, status):
    async def calls():
        async with Replicas([sys.executable, "-c", code], 2, 60) as replicas:
            await replicas.started()

    with pytest.raises(RecipeError, match=f"Expected replicas to start, but one ended with exit status {status}"):
        in_loop(calls())


def test_they_end_with_the_process_that_started_them():
    code = f"""
import asyncio
from recipes._core.server.replicas import Replicas

async def run():
    async with Replicas({COMMAND!r}, 2, 60) as replicas:
        await replicas.started()
        print(*await replicas.call_all("pid"), flush=True)
        await asyncio.sleep(1000)

asyncio.run(run())
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as front:
        lines = [front.stdout.readline() for _ in range(3)]
        front.kill()
    pids = list(map(int, lines[-1].split()))
    assert len(pids) == 2
    until = time.monotonic() + 60
    while any(map(is_there, pids)):
        assert time.monotonic() < until
        time.sleep(0.05)
