"""Padding never changes an answer, a gradient or a state, however a model is told where it is."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance.catalog import (
    ARCHS,
    LENGTHS,
    OF_LENGTHS,
    TIME,
    UNITS,
    answers,
    each_architecture_of_lengths,
    inputs,
    joined,
    randomize,
    request,
    small_model,
)

OF_TOKENS = [arch for arch in ARCHS if "mask_zero" in inspect.signature(archs.get(arch, "arch")).parameters]


SIDES = {"pre": lambda n: slice(7 - n, 7), "post": lambda n: slice(0, n)}
# Of convolutions with strides, padding in front shifts the places that they look at: here they have none.
each_of_tokens = pytest.mark.parametrize("arch", OF_TOKENS)
OF_STEPS = [arch for arch in OF_TOKENS if arch != "vanilla_lstm"]  # which has one answer
each_padding = pytest.mark.parametrize("padding", ["pre", pytest.param("post", marks=pytest.mark.slow)])


def model_of_tokens(arch, **options):
    """A small model, of random weights, over the tokens 0 to 8."""
    named = inspect.signature(archs.get(arch, "arch")).parameters
    given = {"vocabulary": 9, "bidirectional": True, "return_sequences": True, "outputs": 9, "strides": 1}
    model = small_model(arch, **{name: value for name, value in given.items() if name in named} | options)
    randomize(model)
    return model


def padded(model, padding):
    """Rows of tokens of `LENGTHS`, as `keras.utils.pad_sequences` pads them, to 7 steps; and each alone."""
    rows = [np.random.default_rng(n).integers(1, 9, n) for n in LENGTHS]
    together, alone = keras.utils.pad_sequences(rows, 7, padding=padding), [row[None] for row in rows]
    if not isinstance(model.input, dict):
        return together, alone
    return dict.fromkeys(model.input, together), [dict.fromkeys(model.input, row) for row in alone]


@each_of_tokens
def test_token_zero_is_padding_wherever_it_stands(arch, tmp_path):
    model = model_of_tokens(arch, mask_zero=True)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "model", verbose=False)
    exported, loaded = tf.saved_model.load(tmp_path / "model"), keras.saving.load_model(tmp_path / "model.keras")
    for padding, side in SIDES.items():
        together, alone = padded(model, padding)
        answers = {
            "eager": model(together),
            "predicted": model.predict(together, verbose=0),
            "reloaded": loaded(together),
            "exported": exported.serve(keras.tree.map_structure(lambda a: tf.constant(a, "int32"), together)),
        }
        for row, n in enumerate(LENGTHS):
            for way, answer in answers.items():
                received = np.asarray(answer)[row]
                received = received[side(n)] if received.ndim == 2 else received
                expected = np.asarray(model(alone[row]))[0]
                np.testing.assert_allclose(received, expected, atol=1e-5, err_msg=f"{padding}, {way}")


@each_padding
@pytest.mark.parametrize("arch", ["stacked_lstm", "bidirectional_lstm", "cnn_lstm"])
def test_one_answer_is_blind_to_token_zero(arch, padding):
    model = model_of_tokens(arch, mask_zero=True, return_sequences=False)
    together, alone = padded(model, padding)
    np.testing.assert_allclose(model(together), [model(row)[0] for row in alone], atol=1e-5)


TIED = [(arch, {"tied": True, "features": UNITS}) for arch in ("stacked_lstm", "generative_lstm")]


@pytest.mark.parametrize(("arch", "options"), [*((arch, {}) for arch in OF_STEPS), *TIED])
def test_training_leaves_the_padding_out(arch, options):
    model = model_of_tokens(arch, mask_zero=True, **options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    for padding in SIDES:
        together, _ = padded(model, padding)
        tokens = together["inputs"] if isinstance(together, dict) else together
        mask = tokens > 0
        expected = float(loss(tokens[mask], np.asarray(model(together))[mask]))
        for targets in (tokens, np.where(mask, tokens, 5)):
            assert model.evaluate(together, targets, verbose=0) == pytest.approx(expected, rel=1e-5)
            assert model.fit(together, targets, verbose=0).history["loss"] == pytest.approx([expected], rel=1e-5)


@each_architecture_of_lengths
def test_padding_is_told_in_one_way(arch):
    if arch in OF_TOKENS:
        with pytest.raises(ValueError, match=r"`mask_zero=True` with a `vocabulary`.* and without `lengths`"):
            model_of_tokens(arch, mask_zero=True, lengths=True)
        with pytest.raises(ValueError, match="Expected `mask_zero` to be True or False, received 1"):
            model_of_tokens(arch, mask_zero=1)
    with pytest.raises(ValueError, match=r"Expected `lengths` to be True or False, received \[5, 2, 3\]"):
        small_model(arch, lengths=[5, 2, 3])


@each_architecture_of_lengths
@pytest.mark.parametrize("wrong", [6, -1])
def test_lengths_out_of_range_are_refused(arch, wrong):
    model = small_model(arch, lengths=True)
    x = request(model) | {"lengths": np.array([5, wrong, 3])}
    with pytest.raises(ValueError, match=f"Expected lengths from 0 to the number of time steps, received {wrong}"):
        model(x)


@pytest.mark.parametrize(
    "arch", ["vanilla_lstm", *(pytest.param(a, marks=pytest.mark.slow) for a in ("cnn_lstm", "encoder_decoder_lstm"))]
)
def test_lengths_out_of_range_are_refused_in_graphs(arch, tmp_path):
    model = small_model(arch, lengths=True)
    x = request(model)
    y = np.zeros(model(x).shape)
    x["lengths"] = np.array([5, 6, 3])
    model.compile("sgd", "mse")
    model.export(tmp_path / "model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "model")
    tensors = {name: tf.constant(value, model.input[name].dtype) for name, value in x.items()}
    refused = pytest.raises(tf.errors.InvalidArgumentError, match="Expected lengths from 0 to the number of time steps")
    for wrong in (-1, 6):
        x["lengths"] = np.array([5, wrong, 3])
        with refused:
            model.predict(x, verbose=0)
    with refused:
        model.fit(x, y, verbose=0)
    with refused:
        exported.serve(tensors)


@each_architecture_of_lengths
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([2.7, 1.0, 3.0]), "Expected `lengths` to be integers, received float64"),
        (np.array([True, False, True]), "Expected `lengths` to be integers, received bool"),
        (np.array(["2", "1", "3"]), "Expected `lengths` to be integers, received"),
        (np.array([2, 1 + 2**32, 3]), "Expected `lengths` to be integers of 32 bits, received 4294967297"),
        (np.array([2, 1]), "Expected one of `lengths` for each of the 3 rows, received 2"),
    ],
)
def test_lengths_that_are_none_are_refused(arch, wrong, message):
    model = small_model(arch, lengths=True)
    with pytest.raises(ValueError, match=message):
        model(request(model) | {"lengths": wrong})


@each_architecture_of_lengths
def test_lengths_may_be_a_list(arch):
    model = small_model(arch, lengths=True)
    x = request(model)
    np.testing.assert_array_equal(joined(model(x | {"lengths": LENGTHS.tolist()})), joined(model(x)))


@each_architecture_of_lengths
@pytest.mark.parametrize(
    "method", ["__call__", *(pytest.param(method, marks=pytest.mark.slow) for method in ("predict", "fit"))]
)
def test_ragged_tensors_are_refused_with_the_way_to_pad_them(arch, method):
    model = small_model(arch)
    model.compile("sgd", "mse")
    rows = tf.RaggedTensor.from_tensor(request(model)["inputs"], LENGTHS)
    x = dict.fromkeys(model.input, rows) if isinstance(model.input, dict) else rows
    given = {"fit": (x, np.zeros((3, 2)))}.get(method, (x,))
    with pytest.raises(
        ValueError, match=r"received a RaggedTensor .* Give `\w+.to_tensor\(\)` and, .*row_lengths\(\)`"
    ):
        getattr(model, method)(*given)


def test_lists_of_different_lengths_are_refused_with_the_way_to_pad_them():
    model = archs.stacked_lstm(4, [6], 2, vocabulary=9)
    with pytest.raises(
        ValueError, match=r"received lists of different lengths. Give `keras.utils.pad_sequences\(inputs"
    ):
        model([[1, 2, 3], [4]])
    np.testing.assert_array_equal(model([[1, 2, 3], [4, 5, 6]]), model(np.array([[1, 2, 3], [4, 5, 6]])))


@each_of_tokens
@pytest.mark.parametrize(
    ("wrong", "message"),
    [(9, "from 0 to 8, received 9"), pytest.param(-1, "from 0 to 8, received -1", marks=pytest.mark.slow)],
)
def test_tokens_that_have_no_vector_are_refused(arch, wrong, message):
    model = model_of_tokens(arch)
    x, _ = padded(model, "post")
    tokens = keras.tree.map_structure(lambda a: np.where(a == 0, wrong, a), x)
    with pytest.raises(ValueError, match=f"Expected tokens {message}"):
        model(tokens)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected tokens from 0 to 8"):
        model.predict(tokens, verbose=0)
    floats = keras.tree.map_structure(lambda a: a.astype("float32"), x)
    np.testing.assert_allclose(model(floats), model(x), atol=1e-6)
    with pytest.raises(ValueError, match=r"to be integers of 32 bits, received 0\.5"):
        model(keras.tree.map_structure(lambda a: a + 0.5 * (a == 0), floats))
    with pytest.raises(tf.errors.InvalidArgumentError, match="to be integers, received"):
        model.predict(keras.tree.map_structure(lambda a: a + 0.5 * (a == 0), floats), verbose=0)


@pytest.mark.parametrize("arch", [arch for arch in OF_LENGTHS if arch != "generative_lstm"])  # which takes tokens
@pytest.mark.parametrize("lengths", [False, True])
def test_a_mask_that_arrives_ends_the_rows(arch, lengths):
    """As from a `keras.layers.Masking` in front, nested: the warning that a mask is destroyed is an error here."""
    inner = small_model(arch, lengths=lengths)
    takes = inner.input if isinstance(inner.input, dict) else {"inputs": inner.input}
    asked = {name: keras.Input(x.shape[1:], name=name, dtype=x.dtype) for name, x in takes.items()}
    given = asked | {"inputs": keras.layers.Masking(9.0)(asked["inputs"])}
    outer = keras.Model(asked, inner(given if isinstance(inner.input, dict) else given["inputs"]))
    other = small_model(arch, lengths=True)
    other.set_weights(inner.get_weights())
    whole = {name: np.full(3, TIME) for name in other.input if name.endswith("lengths")}
    x = request(other) | whole
    expected, cut = other(x | {"lengths": LENGTHS}), np.arange(TIME) < LENGTHS[:, None]
    x = {name: x[name] for name in takes} | {"inputs": np.where(cut[..., None], x["inputs"], 9.0)}
    for answer in (outer(x), outer.predict(x, verbose=0)):
        read = whole | {"lengths": LENGTHS}
        np.testing.assert_allclose(answers(answer, read), answers(expected, read), atol=1e-5)


def test_an_output_carries_the_mask_that_arrived():
    inner = archs.stacked_lstm(4, [6], 2, return_sequences=True)
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Masking(9.0), inner])
    model.compile("sgd", "mse")
    cut = np.arange(TIME) < LENGTHS[:, None]
    x = np.where(cut[..., None], inputs(TIME), 9.0).astype("float32")
    expected = np.mean(np.square(np.asarray(model(x)))[cut])
    for behind in (0.0, 5.0):
        y = np.where(cut[..., None], np.zeros((3, TIME, 2)), behind)
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_one_answer_carries_no_mask():
    inner = archs.vanilla_lstm(4, 6, 2)
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Masking(9.0), inner])
    model.compile("sgd", "mse")
    x = np.where((np.arange(TIME) < LENGTHS[:, None])[..., None], inputs(TIME), 9.0).astype("float32")
    expected = np.mean(np.square(np.asarray(model(x))))
    assert model.evaluate(x, np.zeros((3, 2)), verbose=0) == pytest.approx(expected, rel=1e-5)


@each_architecture_of_lengths
def test_inputs_of_other_names_are_refused(arch):
    for lengths in (False, True):
        model = small_model(arch, lengths=lengths)
        named = request(model)
        for wrong in (named | {"labels": np.ones(3)}, named | {"lengths": np.ones(3, int), "aux": np.ones(3)}):
            with pytest.raises(ValueError, match=r"Expected a dict of `.*`, received one of `.*`"):
                model(wrong)
        if "decoder_inputs" in named:
            with pytest.raises(ValueError, match="Expected as many rows of each input, received"):
                model(named | {"inputs": named["inputs"][:2]})


@pytest.mark.parametrize("name", ["inputs", "lengths"])
def test_unequal_rows_are_refused_by_name(name):
    """Of a dict of arrays of unequal rows, Keras 3.15 says that a str has no shape."""
    model = archs.vanilla_lstm(4, 6, 2, lengths=True)
    model.compile("sgd", "mse")
    x = {"inputs": np.ones((3, 5, 4), "float32"), "lengths": np.array([5, 2, 3])}
    x[name] = x[name][:2]
    message = rf"Expected as many rows of each input, received \{{.*'{name}': 2"
    for ask in (model.predict, lambda x: model.fit(x, np.zeros((3, 2))), lambda x: model.evaluate(x, np.zeros((3, 2)))):
        with pytest.raises(ValueError, match=message):
            ask(x)
