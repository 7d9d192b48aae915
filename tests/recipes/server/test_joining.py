"""Rows of several clients are asked together only where that was seen to change no answer."""

import asyncio
import json

import numpy as np
import pytest
import tensorflow as tf

from recipes._core.export import artifact, joining
from recipes._core.server import front, models
from recipes._core.server.front import Logged
from tests.recipes.server.small import Counting, export, in_loop

FLOATS, TEXTS = {"dtype": "float32", "shape": [None, 4]}, {"dtype": "string", "shape": [None]}
X = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)


def mean(x):
    return x.mean(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("answer", "is_joinable"),
    [
        (lambda x: {"y": mean(x)}, True),
        (lambda x: {"y": mean(x), "classes": np.array([b"cat", b"dog", b"owl"], object)}, False),
        (lambda x: {"y": mean(x), "version": np.array([b"3"], object)}, False),  # as long as the request alone
        (lambda x: {"y": mean(x), "n": np.float32(3)}, False),
        (lambda x: {"y": mean(x), "n": np.full(len(x), len(x))}, False),
        (lambda x: {"y": x.reshape(-1)}, False),
        (lambda x: {"y": np.unique(x[:, 0])}, False),
        (lambda x: {"y": mean(x) - mean(x).mean()}, False),
        (lambda x: {"y": np.argsort(np.argsort(x[:, 0]))}, False),
        (lambda x: {"y": np.sort(x, axis=0)}, False),
        (lambda x: {"y": mean(x)[::-1]}, False),
        (lambda x: {"y": mean(x)[:1].repeat(len(x), axis=0)}, False),
        (lambda x: {"y": np.full((len(x), 1), np.nan)}, True),
    ],
)
def test_a_signature_is_joinable_if_rows_do_not_tell_each_other(answer, is_joinable):
    signature = {"inputs": {"x": FLOATS}, "outputs": dict.fromkeys(answer(X), FLOATS)}
    assert joining.is_joinable(signature, {"x": X}, lambda inputs: answer(inputs["x"])) == is_joinable


def sequences(answer):
    """A signature over sequences (rows, time) with their lengths, and a call of it."""
    ints = {"dtype": "int32", "shape": [None]}
    inputs = {"inputs": FLOATS | {"shape": [None, None]}, "lengths": ints}
    return {"inputs": inputs, "outputs": {"y": ints}}, lambda given: {"y": answer(**given)}


def test_padding_that_is_read_is_seen():
    request = {"inputs": np.arange(1, 9, dtype=np.float32)[None], "lengths": np.array([8], np.int32)}
    inside = sequences(lambda inputs, lengths: (inputs * (np.arange(inputs.shape[1]) < lengths[:, None])).sum(axis=1))
    whole = sequences(lambda inputs, lengths: inputs.mean(axis=1))
    for (signature, call), is_joinable in ((inside, True), (whole, False)):
        assert joining.is_joinable(signature, request, call) == is_joinable


def test_nothing_is_told_from_a_request_of_which_no_other_can_be_made():
    token = {"inputs": {"token": {"dtype": "int32", "shape": [None]}}, "outputs": {"y": FLOATS}}
    inputs = {"token": np.array([3], np.int32)}
    assert not joining.is_joinable(token, inputs, lambda inputs: {"y": np.zeros((len(inputs["token"]), 4))})
    given = {"inputs": token["inputs"] | {"h": FLOATS}, "outputs": {"y": FLOATS}}
    call = lambda inputs: {"y": inputs["h"] + inputs["token"][:, None]}  # noqa: E731
    assert joining.is_joinable(given, inputs | {"h": np.zeros((1, 4), np.float32)}, call)


def test_what_only_fails_together_is_not_joinable():
    def call(inputs):
        if len(inputs["text"]) > 1:
            raise ValueError
        return {"y": np.ones(1)}

    signature = {"inputs": {"text": TEXTS}, "outputs": {"y": {"dtype": "float32", "shape": [None]}}}
    assert not joining.is_joinable(signature, {"text": np.array([b"ab"], object)}, call)


# --- SavedModels


def spec(shape, dtype=tf.float32, name="x"):
    return tf.TensorSpec(shape, dtype, name=name)


def scores(x):
    return tf.reduce_sum(x, axis=-1)


FOREIGN = {
    "classes": (spec((None, 4)), lambda x: {"scores": scores(x), "classes": tf.constant(["cat", "dog", "owl"])}),
    "centred": (spec((None, 4)), lambda x: {"scores": scores(x) - tf.reduce_mean(scores(x))}),
    "scalar": (spec(()), lambda x: {"y": 2 * x}),
    "static": (spec((1, 4)), lambda x: {"y": 2 * x}),
    "long": (spec((2000,)), lambda x: {"y": 2 * x}),
    "unknown": (spec(None), lambda x: {"y": 2 * x}),
    "flat": (spec((None, None)), lambda x: {"y": tf.reshape(x, [-1])}),
}
REQUESTS = {"scalar": np.float32(1.5), "static": X, "long": np.ones(2000, np.float32), "unknown": X[0]}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """SavedModels of somebody else's, and one of ours that is no better."""
    folder = tmp_path_factory.mktemp("foreign")
    for name, (spec, function) in FOREIGN.items():
        function = tf.function(lambda x, function=function: function(x), input_signature=[spec])
        module = tf.Module()
        tf.saved_model.save(module, str(folder / name / "1"), signatures={"serving_default": function})
    named = tf.function(FOREIGN["classes"][1], input_signature=[spec_of("classes")])
    export(folder / "ours" / "1", {"serving_default": named}, {"serving_default": {"x": X}})
    return folder


def spec_of(name):
    return FOREIGN[name][0]


@pytest.mark.parametrize("name", [*FOREIGN, "ours"])
def test_answers_to_many_are_those_given_alone(foreign, name):
    served, answering = models.Models(foreign, [name]), Counting(foreign)
    for change in served.changes():
        served.switch(*change)
    between = front.Front(served, answering, slots=1)
    requests = [{"x": np.float32(n + 1) * REQUESTS.get(name, X)} for n in range(32)]

    async def ask(inputs):
        with Logged(between, "test", "") as log, between.place():
            return (await between.predict(name, None, "", lambda _: inputs, log))[2]

    async def calls():
        answering.gate = asyncio.Event()
        asked = [asyncio.create_task(ask(inputs)) for inputs in requests]
        await asyncio.sleep(0.05)
        answering.gate.set()
        return await asyncio.gather(*asked)

    for inputs, answer in zip(requests, in_loop(calls()), strict=True):
        (alone,) = answering.replica.answer(name, 1, "serving_default", [inputs])
        assert answer.keys() == alone.keys()
        for key in answer:
            np.testing.assert_array_equal(answer[key], alone[key])
    assert set(answering.batches) == {1}


def test_a_card_speaks_of_the_model_beside_it_alone(foreign, tmp_path):
    for name, function in (("rows", lambda x: {"scores": scores(x)}), ("other", FOREIGN["classes"][1])):
        named = tf.function(function, input_signature=[spec((None, 4))])
        (tmp_path / name).mkdir()
        export(tmp_path / name / "1", {"serving_default": named}, {"serving_default": {"x": X}})
    card = json.loads((tmp_path / "rows/1/card.json").read_text())
    assert models.Version.read(tmp_path / "rows/1").signatures["serving_default"]["joinable"]
    (tmp_path / "other/1/card.json").write_text(json.dumps(card))
    assert "joinable" not in models.Version.read(tmp_path / "other/1").signatures["serving_default"]
    for nonsense in ("{", "[]", "null", '{"signatures": 3}', '{"signatures": {"serving_default": true}}', "\xff"):
        (tmp_path / "rows/1/card.json").write_text(nonsense, encoding="latin-1")
        assert "joinable" not in models.Version.read(tmp_path / "rows/1").signatures["serving_default"]


def test_shapes_that_are_not_known_are_told(foreign):
    described = artifact.describe(artifact.meta_graph(foreign / "unknown/1"))["serving_default"]
    assert described["inputs"]["x"]["shape"] is None
    assert artifact.shape(None) == "any shape"
    front.check(described, {"x": X[0]})
    front.check(described, {"x": np.zeros((2000, 1, 1), np.float32)})
