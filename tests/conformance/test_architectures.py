"""Every architecture with every cell: training, files, arguments."""

import inspect
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance.catalog import (
    ARCHS,
    BATCH,
    OF_IMAGES,
    OF_INPUTS,
    OF_LENGTHS,
    TIME,
    VARIANTS,
    after_lengths,
    answers,
    call,
    each_architecture,
    each_architecture_of_lengths,
    each_variant,
    joined,
    loss_of,
    random,
    randomize,
    request,
    small,
    small_model,
    taken,
    takes,
    variant_model,
    zeros_like,
)

# Every cell in one architecture, and in each of the others the two that most are built with; if slow, a sixth of all.
USUAL = ("lstm", "gru")
OF_CELLS = [arch for arch in ARCHS if takes(arch, "cell")]
OTHERS = [arch for arch in OF_CELLS if arch != "vanilla_lstm"]
FEW = [("vanilla_lstm", name) for name in OF_INPUTS] + [(arch, name) for arch in OTHERS for name in USUAL]
FEW += [(arch, None) for arch in ARCHS if arch not in OF_CELLS]  # whose paper has one cell
SIXTH = [(arch, name) for number, arch in enumerate(OTHERS) for name in OF_INPUTS[number % 6 :: 6] if name not in USUAL]
# Files of each architecture with one cell: those of each cell are tried alone, in `test_file_round_trip`.
FILES = [(arch, USUAL[number % 2] if arch in OF_CELLS else None) for number, arch in enumerate(ARCHS)]


def each_pair(few, more=()):
    return pytest.mark.parametrize(
        ("arch", "name"), few + [pytest.param(*pair, marks=pytest.mark.slow) for pair in more]
    )


each_architecture_and_cell = each_pair(FEW, SIXTH)
each_architecture_and_a_cell = each_pair(FILES)
each_architecture_of_lengths_and_cell, each_architecture_of_lengths_and_few_cells = (
    each_pair(*([pair for pair in pairs if pair[0] in OF_LENGTHS] for pairs in some)) for some in ((FEW, SIXTH), (FEW,))
)


each_architecture_of_cells = pytest.mark.parametrize("arch", OF_CELLS)


def of_cell(name):
    return {} if name is None else {"cell": name}


@each_architecture_and_cell
def test_architecture_trains_a_step_with_every_weight(arch, name):
    keras.utils.set_random_seed(0)
    model = small_model(arch, **of_cell(name), **taken(arch, lengths=True))
    x = request(model, 4 * TIME)  # convolutions leave a quarter
    with tf.GradientTape() as tape:
        outputs = joined(call(model, x, training=True))
        loss = tf.reduce_sum(outputs * random(*outputs.shape).astype("float32"))
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, [w.value for w in model.trainable_weights]), strict=True
    ):
        gradient = tf.convert_to_tensor(gradient)  # that of an embedding has rows only for its tokens
        assert np.all(np.isfinite(gradient)), weight.path
        assert np.abs(gradient).max() > 0, weight.path


@each_architecture_of_lengths_and_cell
def test_padding_never_changes_the_answer(arch, name):
    check_padding(small_model(arch, **of_cell(name), lengths=True))


@each_variant
def test_padding_never_changes_the_answer_of_a_variant(variant):
    check_padding(variant_model(variant, lengths=True))


def check_padding(model):
    randomize(model)
    for weight in model.weights:  # that of a batch normalization is none
        weight.assign(np.abs(weight) if weight.name == "moving_variance" else weight)
    x = request(model, 4 * TIME)  # convolutions leave a quarter
    expected = np.asarray(joined(model(x)))
    for same in (after_lengths(x, 99.0), after_lengths(x, 7.0, more=4)):
        np.testing.assert_allclose(answers(model(same), x), answers(expected, x), rtol=1e-5, atol=1e-6)
    alone = joined(model({key: value[1:2, :8] if value.ndim > 1 else value[1:2] for key, value in x.items()}))
    np.testing.assert_allclose(alone, expected[1:2, :8] if expected.ndim == 3 else expected[1:2], rtol=1e-5, atol=1e-6)
    whole = model(x | {key: np.full(3, 20) for key in x if key.endswith("lengths")})
    assert np.abs(joined(whole) - expected).max() > 1e-3


@each_architecture_of_lengths_and_few_cells
def test_padding_never_reaches_the_gradients(arch, name):
    check_gradients(small_model(arch, **of_cell(name), lengths=True))


@each_variant
def test_padding_never_reaches_the_gradients_of_a_variant(variant):
    check_gradients(variant_model(variant, lengths=True))


def check_gradients(model):
    x = request(model)
    losses = []
    for given in (x, after_lengths(x, np.nan)):
        with tf.GradientTape() as tape:
            losses.append(tf.reduce_sum(answers(model(given), x) ** 2))
        for gradient in tape.gradient(losses[-1], [w.value for w in model.trainable_weights]):
            assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))
    np.testing.assert_allclose(*losses, rtol=1e-5)


@each_architecture_and_a_cell
def test_architecture_reloads_and_trains_on(arch, name, tmp_path):
    check_reload(small_model(arch, **of_cell(name), **taken(arch, lengths=True, dropout=0.1)), tmp_path)


@each_variant
def test_a_variant_reloads_and_trains_on(variant, tmp_path):
    check_reload(variant_model(variant, lengths=True, dropout=0.1), tmp_path)


def check_reload(model, tmp_path):
    model.compile("adam", loss_of(model), run_eagerly=True)
    x = request(model)
    x = x if isinstance(model.input, dict) else x["inputs"]
    y = zeros_like(model(x))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(joined(loaded(x)), joined(model(x)), atol=1e-6)
    assert loaded.to_json() == model.to_json()
    loaded.fit(x, y, verbose=0)


@pytest.mark.slow
@each_architecture_and_a_cell
def test_architecture_is_saved_and_exported(arch, name, tmp_path):
    model = small_model(arch, **of_cell(name), **taken(arch, lengths=True))
    x = request(model, time=10)
    x = x if isinstance(model.input, dict) else x["inputs"]
    expected = joined(model(x))
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(joined(keras.saving.load_model(tmp_path / "model.keras")(x)), expected, atol=1e-6)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    tensors = keras.tree.map_structure(lambda value, takes: tf.constant(value, takes.dtype), x, model.input)
    np.testing.assert_allclose(joined(loaded.serve(tensors)), expected, atol=1e-6)


@each_architecture_of_cells
def test_architecture_takes_a_cell_as_name_class_or_function(arch):
    for cell in ("lstm", archs.LSTMCell, lambda units: archs.LSTMCell(units, recurrent_dropout=0.1)):
        model = small_model(arch, cell=cell)
        assert joined(call(model, request(model))).shape[0] == BATCH


@each_architecture_of_cells
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lsmt"}, "Did you mean lstm"),
        ({"cell": "LSTM"}, "Did you mean lstm or"),
        ({"cell": 3}, "a name, a class or a function units -> cell, received 3"),
        ({"cell": lambda units: units}, "to make a cell, received 6"),
        ({"cell": keras.layers.LSTM}, "to make a cell, received <LSTM"),
        ({"cell": dict}, "to take .*received from it: 'int' object is not iterable"),
        ({"cell": lambda: 6}, "received from it: .*takes 0 positional arguments"),
        ({"cell": archs.Cell}, "to have a recurrence, received archs.Cell"),
        ({"cell": "attention_decoder"}, "a `cell` that reads no memory, received <AttentionDecoderCell"),
        ({"cell": "vrnn"}, "a `cell` that reads no noise, received <VRNNCell"),
        ({"cell": archs.LSTMCell, "recurrent_dropout": 1.0}, r"rate in \[0, 1\)"),
        ({"cell": lambda units: archs.LSTMCell(units), "recurrent_dropout": 0.5}, "to set recurrent_dropout itself"),
    ],
)
def test_architecture_refuses_what_is_no_cell(arch, options, message):
    with pytest.raises(ValueError, match=message):
        small_model(arch, **options)


SIZES = [(arch, name) for arch in ARCHS for name in small(arch) if (arch in OF_IMAGES, name) != (True, "features")]


@pytest.mark.parametrize(("arch", "argument"), SIZES)
def test_architecture_refuses_sizes_that_are_none(arch, argument):
    with pytest.raises(ValueError, match=f"`{argument}` to be a positive integer, received 0"):
        archs.create(arch, kind="arch", **small(arch) | {argument: 0})


@each_architecture
def test_architecture_answers_in_the_dtype_of_its_weights(arch):
    for dtype, expected in (("mixed_bfloat16", tf.float32), ("float64", tf.float64)):
        model = small_model(arch, dtype=dtype)
        assert joined(call(model, request(model))).dtype == expected


@each_architecture
def test_architecture_has_the_dtype_policy_that_was_asked_for(arch, tmp_path):
    check_policy(small_model(arch, dtype="mixed_float16"), tmp_path)


@each_variant
def test_a_variant_has_the_dtype_policy_that_was_asked_for(variant, tmp_path):
    model = variant_model(variant, dtype="mixed_float16")
    check_policy(model, tmp_path)
    assert joined(call(model, request(model, 4 * TIME))).dtype == tf.float32


def check_policy(model, tmp_path):
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copies = [keras.models.model_from_json(model.to_json()), type(model).from_config(model.get_config())]
    for one in (model, loaded, keras.models.clone_model(model), *copies):
        if one in copies:
            one.compile("adam", "mse")
        assert type(one) is type(model)
        assert one.dtype_policy.name == "mixed_float16"
        assert isinstance(one.optimizer, keras.optimizers.LossScaleOptimizer)
        outputs = [layer.name for layer in layers_of(one) if layer.dtype_policy.name != "mixed_float16"]
        assert outputs in (["outputs"], ["pooling", "outputs"])


def layers_of(model):
    """The layers of a model and of those within it, but for its inputs."""
    for layer in model.layers:
        layer = getattr(layer, "layer", layer)
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        if not isinstance(layer, keras.layers.InputLayer):
            yield layer


def test_every_factory_with_residual_layers_is_tried_with_them():
    tried = {arch for arch, options in VARIANTS.values() if "residual" in options}
    assert tried == {arch for arch in ARCHS if "residual" in inspect.signature(archs.get(arch, "arch")).parameters}


@pytest.mark.sampled(6)
@each_architecture_of_lengths
def test_two_models_with_names_are_layers_of_one(arch, tmp_path):
    left, right = (small_model(arch, lengths=True, name=name) for name in ("left", "right"))
    asked = {name: keras.Input(x.shape[1:], name=name, dtype=x.dtype) for name, x in left.input.items()}
    sums = keras.tree.map_structure(lambda *pair: keras.layers.Add()(pair), left(asked), right(asked))
    model = keras.Model(asked, sums)
    model.compile("sgd", loss_of(model), run_eagerly=True)
    x = request(model, 4 * TIME)
    model.fit(x, zeros_like(model(x)), verbose=0)
    outputs = [np.asarray(answers(one(x), x)) for one in (left, right, model)]
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3
    np.testing.assert_allclose(outputs[0] + outputs[1], outputs[2], atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(joined(loaded(x)), joined(model(x)), atol=1e-6)


def test_two_models_of_one_name_are_refused_by_keras():
    inputs = keras.Input((None, 4))
    left, right = archs.vanilla_lstm(4, 6, 2), archs.vanilla_lstm(4, 6, 2)
    with pytest.raises(ValueError, match='The name "vanilla_lstm" is used 2 times in the model'):
        keras.Model(inputs, keras.layers.Add()([left(inputs), right(inputs)]))


# What factories say of an argument begins alike in all of them, but for these, which mean something else in each.
OWN_WORDS = (
    "features",
    "units",
    "outputs",
    "cell",
    "density",
    "dropout",
    "recurrent_dropout",
    "residual",
    "return_sequences",
    "tied",
)


SIGNATURES = [inspect.signature(archs.get(arch, "arch")) for arch in ARCHS]


@pytest.mark.parametrize("argument", sorted({name for signature in SIGNATURES for name in signature.parameters}))
def test_an_argument_is_described_once(argument):
    if argument not in OWN_WORDS:
        docs = [inspect.getdoc(archs.get(arch, "arch")) for arch in ARCHS]
        found = {
            match[1] for doc in docs if (match := re.search(rf"^    {argument}: (\S+ \S+ \S+)", doc, re.MULTILINE))
        }
        assert len(found) == 1, found


@pytest.fixture
def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@each_architecture
@pytest.mark.usefixtures("half_precision")
def test_architecture_takes_nothing_from_another_global_policy(arch):
    model = small_model(arch, dtype="float32", **taken(arch, dropout=0.1))
    assert {layer.dtype_policy.name for layer in [model, *layers_of(model)]} == {"float32"}


@pytest.mark.usefixtures("half_precision")
def test_convolutions_over_frames_take_nothing_from_another_global_policy():
    model = archs.cnn_lstm((8, 8, 1), 6, 2, dtype="float32")
    assert {layer.dtype_policy.name for layer in [model, *layers_of(model)]} == {"float32"}
