"""Every architecture with every cell: training, files, arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance.catalog import (
    ARCHS,
    BATCH,
    CELLS,
    SMALL,
    TIME,
    after_lengths,
    answers,
    call,
    each_architecture,
    random,
    randomize,
    request,
    small_model,
)

# Every cell in one architecture, and in each of the others the two that most are built with; all of them if slow.
PAIRS = [(arch, name) for arch in ARCHS for name in CELLS if not archs.get(name).reads_memory]


FEW = [(arch, name) for arch, name in PAIRS if arch == "vanilla_lstm" or name in ("lstm", "gru")]


each_architecture_and_cell = pytest.mark.parametrize(
    ("arch", "name"), [pair if pair in FEW else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS]
)


each_architecture_and_few_cells = pytest.mark.parametrize(("arch", "name"), FEW)


@each_architecture_and_cell
def test_architecture_trains_a_step_with_every_weight(arch, name):
    model = small_model(arch, cell=name, lengths=True)
    x = request(model, 4 * TIME)  # convolutions leave a quarter
    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        loss = tf.reduce_sum(outputs * random(*outputs.shape).astype("float32"))
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, [w.value for w in model.trainable_weights]), strict=True
    ):
        gradient = tf.convert_to_tensor(gradient)  # that of an embedding has rows only for its tokens
        assert np.all(np.isfinite(gradient)), weight.path
        assert np.abs(gradient).max() > 0, weight.path


@pytest.mark.sampled(3)
@each_architecture_and_cell
def test_padding_never_changes_the_answer(arch, name):
    model = small_model(arch, cell=name, lengths=True)
    randomize(model)
    x = request(model, 4 * TIME)  # convolutions leave a quarter
    expected = np.asarray(model(x))
    for same in (after_lengths(x, 99.0), after_lengths(x, 7.0, more=4)):
        np.testing.assert_allclose(answers(np.asarray(model(same)), x), answers(expected, x), atol=1e-6)
    alone = model({key: value[1:2, :8] if value.ndim > 1 else value[1:2] for key, value in x.items()})
    np.testing.assert_allclose(alone, expected[1:2, :8] if expected.ndim == 3 else expected[1:2], atol=1e-6)
    assert np.abs(model(x | {key: np.full(3, 20) for key in x if key.endswith("lengths")}) - expected).max() > 1e-3


@each_architecture_and_few_cells
def test_padding_never_reaches_the_gradients(arch, name):
    model = small_model(arch, cell=name, lengths=True)
    x = request(model)
    losses = []
    for given in (x, after_lengths(x, np.nan)):
        with tf.GradientTape() as tape:
            losses.append(tf.reduce_sum(answers(model(given), x) ** 2))
        for gradient in tape.gradient(losses[-1], [w.value for w in model.trainable_weights]):
            assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.sampled(3)
@each_architecture_and_few_cells
@pytest.mark.parametrize("lengths", [pytest.param(False, marks=pytest.mark.slow), True])
def test_architecture_reloads_and_trains_on(arch, name, lengths, tmp_path):
    model = small_model(arch, cell=name, lengths=lengths, dropout=0.1)
    model.compile("adam", "mse", run_eagerly=True)
    x = request(model)
    x = x if isinstance(model.input, dict) else x["inputs"]
    y = np.zeros(model(x).shape)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
    assert loaded.to_json() == model.to_json()
    loaded.fit(x, y, verbose=0)


@pytest.mark.slow
@each_architecture_and_cell
def test_architecture_is_saved_and_exported(arch, name, tmp_path):
    model = small_model(arch, cell=name, lengths=True)
    x = request(model, time=10)
    expected = model(x)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), expected, atol=1e-6)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    tensors = {key: tf.constant(value, model.input[key].dtype) for key, value in x.items()}
    np.testing.assert_allclose(loaded.serve(tensors), expected, atol=1e-6)


@each_architecture
def test_architecture_takes_a_cell_as_name_class_or_function(arch):
    for cell in ("lstm", archs.LSTMCell, lambda units: archs.LSTMCell(units, recurrent_dropout=0.1)):
        model = small_model(arch, cell=cell)
        assert call(model, request(model)).shape[0] == BATCH


@each_architecture
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
        ({"cell": archs.LSTMCell, "dropout": 1.0}, r"rate in \[0, 1\)"),
        ({"cell": lambda units: archs.LSTMCell(units), "recurrent_dropout": 0.5}, "to set recurrent_dropout itself"),
    ],
)
def test_architecture_refuses_what_is_no_cell(arch, options, message):
    with pytest.raises(ValueError, match=message):
        small_model(arch, **options)


@each_architecture
@pytest.mark.parametrize("argument", sorted(SMALL))
def test_architecture_refuses_sizes_that_are_none(arch, argument):
    with pytest.raises(ValueError, match=f"`{argument}` to be a positive integer, received 0"):
        archs.create(arch, **SMALL | {argument: 0})


@each_architecture
def test_architecture_answers_in_the_dtype_of_its_weights(arch):
    for dtype, expected in (("mixed_bfloat16", tf.float32), ("float64", tf.float64)):
        model = small_model(arch, dtype=dtype)
        assert call(model, request(model)).dtype == expected


@each_architecture
def test_architecture_has_the_dtype_policy_that_was_asked_for(arch, tmp_path):
    model = small_model(arch, dtype="mixed_float16")
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
        assert outputs == ["outputs"]


def layers_of(model):
    """The layers of a model and of those within it, but for its inputs."""
    for layer in model.layers:
        layer = getattr(layer, "layer", layer)
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        if not isinstance(layer, keras.layers.InputLayer):
            yield layer


@pytest.fixture
def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@each_architecture
@pytest.mark.usefixtures("half_precision")
def test_architecture_takes_nothing_from_another_global_policy(arch):
    model = small_model(arch, dtype="float32", dropout=0.1)
    assert {layer.dtype_policy.name for layer in [model, *layers_of(model)]} == {"float32"}


@pytest.mark.usefixtures("half_precision")
def test_convolutions_over_frames_take_nothing_from_another_global_policy():
    model = archs.cnn_lstm((8, 8, 1), 6, 2, dtype="float32")
    assert {layer.dtype_policy.name for layer in [model, *layers_of(model)]} == {"float32"}
