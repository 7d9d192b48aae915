"""The convolutions: along time with the right lengths, over frames each on its own."""

import math
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core.frames import EachFrame

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_a_signal_is_answered_as_if_it_were_alone(kernel_size, strides):
    model = archs.cnn_lstm(
        4, 6, 2, filters=[3, 5], kernel_size=kernel_size, strides=strides, return_sequences=True, lengths=True
    )
    lengths = np.array([13, 1, 6, 7])
    x = DRAW.normal(size=(4, 13, 4)).astype("float32")
    together = np.asarray(model({"inputs": x, "lengths": lengths}))
    for row, length in enumerate(lengths):
        alone = model({"inputs": x[row : row + 1, :length], "lengths": lengths[row : row + 1]})
        steps = math.ceil(math.ceil(length / strides) / strides)
        assert alone.shape == (1, steps, 2)
        np.testing.assert_allclose(together[row, :steps], alone[0], atol=1e-6)


def test_without_lengths_the_answers_are_those_of_full_lengths():
    model = archs.cnn_lstm(4, 6, 2, lengths=True)
    other = archs.cnn_lstm(4, 6, 2)
    other.set_weights(model.get_weights())
    x = DRAW.normal(size=(3, 9, 4)).astype("float32")
    np.testing.assert_allclose(model({"inputs": x, "lengths": np.full(3, 9)}), other(x), atol=1e-6)


def test_each_frame_is_seen_on_its_own(tmp_path):
    model = archs.cnn_lstm((8, 9, 2), [6, 5], 3, filters=[4, 5], lengths=True)
    x = DRAW.normal(size=(3, 5, 8, 9, 2)).astype("float32")
    seen = keras.Model(model.input, model.get_layer("frames").output)
    lengths = np.array([5, 2, 3])
    frames = np.asarray(seen({"inputs": x, "lengths": lengths}))
    assert frames.shape == (3, 5, 2 * 3 * 5)
    layers = model.get_layer("frames").layer
    np.testing.assert_allclose(frames[1, 1], layers(x[1:2, 1])[0], atol=1e-5)
    answer = model({"inputs": x, "lengths": lengths})
    alone = model({"inputs": x[2:, :3], "lengths": lengths[2:]})
    np.testing.assert_allclose(answer[2:], alone, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded({"inputs": x, "lengths": lengths}), answer, atol=1e-6)


def test_the_summary_shows_the_convolutions_and_the_files_stay_as_they_were(tmp_path, monkeypatch):
    model = archs.cnn_lstm((8, 9, 1), 3, 2, filters=[2, 3])
    lines = []
    model.summary(120, expand_nested=True, print_fn=lines.append)
    for name in ("convolutions", "conv2d", "flatten"):
        assert f"\N{BOX DRAWINGS LIGHT UP AND RIGHT} {name}" in "".join(lines)
    model.save(tmp_path / "new.keras")
    model.save_weights(tmp_path / "new.weights.h5")
    with monkeypatch.context() as patch:
        patch.delattr(EachFrame, "layers")  # as it was without
        model.save(tmp_path / "old.keras")
        model.save_weights(tmp_path / "old.weights.h5")
        read_without = keras.saving.load_model(tmp_path / "new.keras")
    read = keras.saving.load_model(tmp_path / "old.keras")
    other = archs.cnn_lstm((8, 9, 1), 3, 2, filters=[2, 3])
    other.load_weights(tmp_path / "old.weights.h5")
    x = DRAW.normal(size=(2, 4, 8, 9, 1)).astype("float32")
    for same in (read_without, read, other):
        np.testing.assert_array_equal(same(x), model(x))
    contents = []
    for age in ("new", "old"):
        with zipfile.ZipFile(tmp_path / f"{age}.keras") as file:
            contents.append(file.read("config.json"))
    assert contents[0] == contents[1]


@pytest.mark.parametrize("examples", [1, 3, 7])
def test_frames_of_a_number_that_the_graph_does_not_know(examples):
    model = archs.cnn_lstm((8, 9, 2), 6, 3, filters=4)
    x = DRAW.normal(size=(examples, 5, 8, 9, 2)).astype("float32")
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, 8, 9, 2))])
    np.testing.assert_allclose(graph(tf.constant(x)), model(x), atol=1e-6)


def backbone():
    """A small network for pictures of 8 by 9, with a batch normalization."""
    layers = [keras.layers.Conv2D(3, 3, strides=2, activation="relu"), keras.layers.BatchNormalization()]
    return keras.Sequential([keras.Input((8, 9, 2)), *layers], name="net")


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_backbone_sees_each_frame(dtype, tmp_path):
    net = backbone()
    net.trainable = False
    net.get_layer(index=1).moving_mean.assign([1.0, 2.0, 3.0])
    model = archs.cnn_lstm((8, 9, 2), [6, 5], 3, backbone=net, lengths=True, dtype=dtype)
    x = {"inputs": DRAW.normal(size=(3, 5, 8, 9, 2)).astype("float32"), "lengths": np.array([5, 2, 3])}
    seen = np.asarray(keras.Model(model.input, model.get_layer("frames").output)(x))
    rounded = tf.cast(tf.cast(x["inputs"][1:2, 1], model.compute_dtype), "float32")
    np.testing.assert_allclose(seen[1, 1], np.asarray(net(rounded)).flatten(), atol=1e-5)
    assert not any(weight.path.startswith("net") for weight in model.trainable_weights)
    answer = np.asarray(model(x))
    padded = x | {"inputs": np.pad(x["inputs"], [(0, 0), (0, 2), *[(0, 0)] * 3], constant_values=9.0)}
    np.testing.assert_allclose(model(padded), answer, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x), answer, atol=1e-6)
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((3, 3)), verbose=0)


def test_a_backbone_that_is_trained_learns():
    model = archs.cnn_lstm((8, 9, 2), 6, 3, backbone=backbone())
    model.compile("sgd", "mse")
    before = [np.asarray(weight) for weight in model.get_layer("frames").weights]
    model.fit(DRAW.normal(size=(3, 5, 8, 9, 2)), np.ones((3, 3)), verbose=0)
    assert all(np.any(a != np.asarray(b)) for a, b in zip(before, model.get_layer("frames").weights, strict=True))


def test_a_layer_is_a_backbone_of_each_step_of_a_signal():
    model = archs.cnn_lstm(4, 6, None, backbone=keras.layers.Dense(3, activation="relu", name="dense"))
    x = DRAW.normal(size=(3, 5, 4)).astype("float32")
    below = model.get_layer("frames").layer.get_layer("dense")(x)
    np.testing.assert_allclose(model(x), model.get_layer("recurrent_1")(below), atol=1e-6)


@pytest.mark.parametrize("features", [4, (8, 9, 2)])
@pytest.mark.parametrize("arrives", [False, True])
def test_statistics_of_batches_leave_the_padding_out(features, arrives):
    size = features if isinstance(features, tuple) else (features,)
    x, lengths = DRAW.normal(size=(3, 6, *size)).astype("float32"), np.array([6, 1, 3])
    inside = (np.arange(6) < lengths[:, None]).reshape(3, 6, *[1] * len(size))
    x = np.where(inside, x, 0)
    options = {"filters": [3, 5], "normalization": "batch", "strides": 1 if features == 4 else 2}
    model = archs.cnn_lstm(features, 6, 2, lengths=not arrives, **options)
    layers = [model.get_layer(f"normalization_{number}") for number in (1, 2)]
    first, found = model.get_weights(), []
    for more in (0, 4):
        model.set_weights(first)
        longer = np.pad(x, [(0, 0), (0, more), *[(0, 0)] * len(size)])
        if arrives:
            mask = np.pad(inside[(..., *[0] * len(size))], [(0, 0), (0, more)])
            model(longer, mask=mask, training=True) if features == 4 else model.call(longer, training=True, mask=mask)
        else:
            model({"inputs": longer, "lengths": lengths}, training=True)
        found.append([np.asarray(value) for layer in layers for value in (layer.moving_mean, layer.moving_variance)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    if features == 4:  # and what they are
        convolution = model.get_layer("convolution_1")
        seen = np.asarray(convolution(x))[inside[..., 0]]
        np.testing.assert_allclose(found[0][0], 0.01 * seen.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_each_convolution_is_normalised_before_its_units(normalization):
    model = archs.cnn_lstm(4, 6, None, filters=3, normalization=normalization)
    x = DRAW.normal(size=(3, 9, 4)).astype("float32")
    seen = model.get_layer("normalization_1")(model.get_layer("convolution_1")(x))
    np.testing.assert_allclose(model(x), model.get_layer("recurrent_1")(tf.nn.relu(seen)), atol=1e-6)
    assert np.any(np.asarray(model.get_layer("convolution_1")(x)) < 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": [4, 0]}, "`filters` to be a positive integer, received 0"),
        ({"kernel_size": 0}, "`kernel_size` to be a positive integer, received 0"),
        ({"strides": 0}, "`strides` to be a positive integer, received 0"),
        ({"features": (8, 0, 1)}, "`features` to be a positive integer, received 0"),
        ({"features": (8, 9, 1), "vocabulary": 9}, r"`features` to be a positive integer, received \(8, 9, 1\)"),
        ({"units": [6, 5], "residual": True}, r"layers of equal output size with `residual=True`, received \[6, 5\]"),
        ({"normalization": "group"}, "`normalization` to be one of None, 'batch', 'layer', received 'group'"),
        ({"backbone": "resnet"}, "`backbone` to be a keras.Model or a layer, received 'resnet'"),
        ({"backbone": keras.layers.Dense(3), "filters": 4}, r"no `filters` with a `backbone`, received {'filters': 4}"),
        (
            {"backbone": keras.layers.Dense(3), "strides": 1, "normalization": "layer"},
            "no `strides`, `normalization` with a `backbone`",
        ),
        (
            {"backbone": keras.Sequential([keras.layers.BatchNormalization(name="deep")], name="net"), "lengths": True},
            r"without trainable BatchNormalization, .* received 'net'. Set its `trainable = False`",
        ),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        archs.cnn_lstm(**{"features": 4, "units": 6, "outputs": 2} | options)
