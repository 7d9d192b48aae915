"""Any number of threads over one model: each call answers as if it were alone, and leaves nothing on a cell."""

import concurrent.futures

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core import calls
from tests.conformance import catalog, trees
from tests.conformance.catalog import BATCH, FEATURES, TIME, UNITS, random

THREADS = 8
CALLS = 16
FEW = ("attention_decoder", "depth_gated_lstm", "lstm", "min_gru")
NOISE = {"dropout": 0.5, "recurrent_dropout": 0.5}


def in_threads(function, requests):
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, requests))


def expect_same(function, requests, beside=()):
    """`function` of each request in threads, `CALLS` calls in all, equals what it is alone.

    Every third call is followed, in the same thread, by one of the functions `beside`.
    """
    alone = [function(request) for request in requests]

    def asked(number):
        answer = function(requests[number % len(requests)])
        if beside and number % 3 == 0:
            beside[number // 3 % len(beside)]()
        return answer

    for number, answer in enumerate(in_threads(asked, range(CALLS))):
        for received, expected in zip(answer, alone[number % len(requests)], strict=True):
            np.testing.assert_array_equal(received, expected)


def numpy(tensors):
    return [np.asarray(tensor) for tensor in tf.nest.flatten(tensors)]


def layer_of(name, kind):
    """A layer of a cell, and a function that asks it for a request: inputs and, if it reads one, a memory."""
    cell = catalog.create(name, UNITS, **catalog.cases_of(name)[0], **NOISE)
    layer = kind(cell, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES))
    catalog.randomize(layer)

    def ask(request, training=False):
        x, memory = request
        if cell.reads_memory:
            cell.memorize(memory)
        return numpy(layer(x, training=training))

    return layer, ask


def requests_of(cell, count=5):
    memories = [catalog.memory_of(cell, BATCH, seed=[2, i]) if cell.reads_memory else 0.0 for i in range(count)]
    draws = [(random(BATCH, TIME, FEATURES, seed=[1, i]), memory) for i, memory in enumerate(memories)]
    return [tuple(tf.constant(array, cell.compute_dtype) for array in draw) for draw in draws]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for name in FEW for kind in (archs.Recurrent, keras.layers.RNN)]
    + [pytest.param(archs.Recurrent, n, marks=pytest.mark.slow) for n in archs.list_cells() if n not in FEW],
)
def test_a_layer_answers_beside_training(kind, name):
    layer, ask = layer_of(name, kind)
    requests = requests_of(layer.cell)

    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(requests[0][0], training=True)[0] ** 2)
        tape.gradient(loss, [w.value for w in layer.trainable_weights])

    expect_same(ask, requests, beside=[train])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", archs.list_cells())
@pytest.mark.parametrize("kind", [archs.Recurrent, keras.layers.RNN])
def test_a_call_leaves_nothing_on_the_cell(name, kind):
    layer, ask = layer_of(name, kind)
    request = requests_of(layer.cell)[0]
    inner = [getattr(layer.cell, "cell", layer.cell)]
    ask(request, training=True)
    states = layer.cell.get_initial_state(BATCH)
    layer.cell(request[0][:, 0], states)  # Keras marks a layer that was called
    before = [dict(vars(cell)) for cell in (layer.cell, *inner)]
    for training in (False, True):
        with pytest.raises(ValueError, match="Expected states"):
            layer(request[0], initial_state=[states[0][:, :-1], *states[1:]], training=training)
        ask(request, training)
        tf.function(lambda x, training=training: layer(x, training=training))(request[0])
        layer.cell(request[0][:, 0], states, training=training)
    for cell, old in zip((layer.cell, *inner), before, strict=True):
        assert vars(cell).keys() == old.keys()
        assert [key for key, value in vars(cell).items() if value is not old[key]] == []
        assert calls.get(cell) is None


def test_a_wrapped_cell_keeps_its_own_noise():
    inner = archs.LSTMCell(6, dropout=0.5, seed=1)
    archs.AttentionDecoderCell(6, cell=inner)
    layer, x = archs.Recurrent(inner), tf.ones((3, 5, 4))
    assert np.abs(layer(x, training=True) - layer(x)).max() > 1e-3


def test_a_memory_is_of_the_thread_that_gave_it():
    cell = archs.AttentionDecoderCell(6, memory_size=2)
    layer, x = keras.layers.RNN(cell), tf.ones((3, 5, 4))
    first, second = tf.ones((3, 7, 2)), -tf.ones((3, 7, 2))
    cell.memorize(first)
    expected = np.asarray(layer(x))

    def other(memory):
        shared = np.asarray(layer(x))
        cell.memorize(memory)
        return shared, np.asarray(layer(x))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        shared, own = pool.submit(other, second).result()
    np.testing.assert_array_equal(shared, expected)
    assert np.abs(own - expected).max() > 1e-4
    np.testing.assert_array_equal(layer(x), expected)


@pytest.mark.parametrize(
    "arch", [a if a == "vanilla_lstm" else pytest.param(a, marks=pytest.mark.slow) for a in catalog.ARCHS]
)
def test_a_model_answers_beside_fit(arch):
    noisy = {"cell": lambda units: archs.LSTMCell(units, **NOISE)} if catalog.takes(arch, "cell") else {"dropout": 0.2}
    model = catalog.small_model(arch, **noisy, **catalog.taken(arch, lengths=True))
    model.compile("sgd", catalog.loss_of(model))
    x = catalog.request(model)
    requests = [
        {k: np.roll(v, i, axis=0) if v.dtype != "int64" or v.ndim == 1 else v for k, v in x.items()} for i in range(3)
    ]
    inputs, zeros = x if isinstance(model.input, dict) else x["inputs"], catalog.zeros_like(catalog.call(model, x))

    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(catalog.joined(catalog.call(model, x, training=True)) ** 2)
        tape.gradient(loss, [w.value for w in model.trainable_weights])

    model.optimizer.learning_rate = 0.0  # so that the answers stay the same; the dropout of `fit` must not reach them
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(lambda: model.fit(inputs, zeros, epochs=5, verbose=0))
        expect_same(lambda request: numpy(catalog.call(model, request)), requests, beside=[train])
        fitting.result()


@pytest.mark.parametrize(
    "attention", ["bahdanau", *(pytest.param(kind, marks=pytest.mark.slow) for kind in (None, "luong"))]
)
def test_decoders_write_in_threads(attention):
    model = archs.encoder_decoder_lstm(
        4, 6, 7, vocabulary=9, attention=attention, bidirectional=True, cell=lambda n: archs.LSTMCell(n, **NOISE)
    )
    catalog.randomize(model)
    requests = [{"inputs": np.random.default_rng(i).integers(0, 9, (2, 5))} for i in range(4)]

    def write(request):
        written = numpy(archs.decoding.beam_search(model, request, start=0, end=1, max_length=4, beam=2))
        if attention:
            written += numpy(archs.decoding.attention(model, request, np.zeros((2, 3), int)))
        return written

    def train():
        model(requests[0] | {"decoder_inputs": np.zeros((2, 3), int)}, training=True)

    expect_same(write, requests, beside=[train])


def test_texts_are_generated_in_threads():
    model = archs.generative_lstm(4, [6, 6], 9, cell=lambda n: archs.LSTMCell(n, **NOISE))
    catalog.randomize(model)
    requests = [np.random.default_rng(i).integers(0, 9, (2, 5)) for i in range(4)]

    def write(tokens):
        return numpy(archs.generation.generate(model, tokens, max_new_tokens=4, seed=3))

    expect_same(write, requests, beside=[lambda: model(requests[0], training=True)])


@pytest.mark.parametrize("arch", catalog.TREE_ARCHS)
def test_trees_are_answered_beside_training(arch):
    model = archs.create(arch, kind="arch", **catalog.small(arch), dropout=0.5)
    catalog.randomize(model)
    requests = [
        {"inputs": trees.vectors(seed=[2, i]), "children": trees.batch(2, leaves=(i + 1, 4, 6), seed=[4, i])[2]}
        for i in range(3)
    ]

    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(requests[0], training=True) ** 2)
        tape.gradient(loss, [w.value for w in model.trainable_weights])

    expect_same(lambda request: numpy(model(request)), requests, beside=[train])
