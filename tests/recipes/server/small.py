"""Small models to serve, and a server whose replica is an object of this process."""

import asyncio
import contextlib
import json
import threading
import time

import httpx
import numpy as np
import tensorflow as tf
import uvicorn

from recipes._core.export import artifact
from recipes._core.export.signatures import checked_lengths, checked_signals, expect
from recipes._core.server import connection, replica


def small(factor):
    """Two signatures over one weight: sums of sequences with `lengths`, and what each step is, as texts too."""
    weight = tf.Variable(factor)
    sequences = [
        tf.TensorSpec((None, None, 2), tf.float32, name="inputs"),
        tf.TensorSpec((None,), tf.int32, name="lengths"),
    ]

    @tf.function(input_signature=sequences)
    def serving_default(inputs, lengths):
        inputs, lengths = checked_signals(inputs, lengths)
        return {"sum": weight * tf.reduce_sum(inputs, axis=1), "label": tf.strings.as_string(lengths)}

    @tf.function(input_signature=sequences)
    def steps(inputs, lengths):
        inputs, lengths = checked_lengths(inputs, lengths)
        return {"steps": weight * inputs}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def shout(text):
        with tf.control_dependencies(
            [expect(tf.strings.length(text) > 0, "text: expected one, received an empty one")]
        ):
            return {"text": tf.strings.upper(text)}

    return {"serving_default": serving_default, "steps": steps, "shout": shout}


def write(folder, name, number, factor):
    """Writes a version of `small`, whose answers tell which it was."""
    path = folder / name / str(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{number}")
    sample = {"serving_default": request(3), "steps": request(3), "shout": {"text": np.array(["ab"])}}
    export(temporary, small(factor), sample)
    temporary.rename(path)
    return path


def export(path, functions, sample):
    """Writes a SavedModel with its warm-up file and a card, as `export.export` does."""
    artifact.write(path, functions)
    artifact.write_requests(path / artifact.WARM_UP, path.parent.name, sample)
    (path / "card.json").write_text(json.dumps({"signatures": artifact.signatures(path, 1)}))


def request(time, rows=1, seed=0):
    inputs = np.random.default_rng(seed).normal(size=(rows, time, 2)).astype(np.float32)
    return {"inputs": inputs, "lengths": np.full(rows, time, np.int32)}


class Counting:
    """`Replica.answer`, whose batches are remembered, and which can be held up."""

    def __init__(self, folder):
        self.replica, self.batches, self.gate = replica.Replica(folder), [], None

    async def __call__(self, name, number, signature, requests):
        self.batches.append(len(requests))
        if self.gate:
            await self.gate.wait()
        return await asyncio.to_thread(self.replica.answer, name, number, signature, requests)


def in_loop(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 120))


@contextlib.asynccontextmanager
async def rest_client(app):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        yield client


@contextlib.contextmanager
def listening(app):
    """The port at which a thread serves an ASGI application as `recipes serve` does."""
    server = uvicorn.Server(connection.config(app, port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
