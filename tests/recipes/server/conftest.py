"""A server without Ray: the protocols, the front, and a replica that is an object of this process."""

import asyncio
import contextlib

import numpy as np
import pytest
import tensorflow as tf

from recipes._core import artifact, export
from recipes._core.server import front, models, replica
from recipes._core.signatures import checked_lengths, checked_signals, expect


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
    artifact.write(temporary, small(factor))
    artifact.write_requests(temporary / artifact.WARM_UP, name, {"serving_default": request(3)})
    temporary.rename(path)
    return path


def request(time, rows=1, seed=0):
    inputs = np.random.default_rng(seed).normal(size=(rows, time, 2)).astype(np.float32)
    return {"inputs": inputs, "lengths": np.full(rows, time, np.int32)}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Exports of two models, `small` in two versions."""
    folder = tmp_path_factory.mktemp("served")
    for name, number, factor in (("small", 1, 2.0), ("small", 2, 3.0), ("other", 1, 5.0)):
        write(folder, name, number, factor)
    (folder / "only_cards/cards").mkdir(parents=True)
    assert export.versions(folder / "small") == [1, 2]
    return folder


class Counting:
    """`Replica.answer`, whose batches are remembered, and which can be held up."""

    def __init__(self, folder):
        self.replica, self.batches, self.gate = replica.Replica(folder), [], None

    async def __call__(self, name, number, signature, requests):
        self.batches.append(len(requests))
        if self.gate:
            await self.gate.wait()
        return await self.replica.answer(name, number, signature, requests)


@pytest.fixture(scope="session")
def counting(folder):
    return Counting(folder)


@pytest.fixture
def make_front(folder, counting):
    """A function that makes a `Front` over `folder`, with all of its models; call it in an event loop."""

    def make(**options):
        counting.batches, counting.gate = [], None
        served = models.Models(folder)
        for name, number in served.changes():
            served.switch(name, number)
        return front.Front(served, counting, **options)

    return make


def in_loop(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 120))


@contextlib.asynccontextmanager
async def rest_client(app):
    import httpx

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        yield client
