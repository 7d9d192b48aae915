"""DRAW: the windows, the bound of the likelihood, samples, and what it refuses."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core.filter_bank import Window

DRAW = np.random.default_rng(0)


def model_of(seed=1, scale=0.8, **options):
    """A small model of random weights, in double precision."""
    given = {"features": (2, 2, 1), "units": 3, "latents": 1, "steps": 2, "dtype": "float64"} | options
    model, draw = archs.draw(**given), np.random.default_rng(seed)
    model.set_weights([scale * draw.normal(size=weight.shape) for weight in model.weights])
    return model


def window(size=3, rows=5, columns=7, **numbers):
    names = ("x", "y", "log_variance", "log_stride", "log_intensity")
    return Window(np.array([[numbers.get(name, 0.0) for name in names]]), rows, columns, size)


def test_a_window_without_parameters_lies_over_the_whole_image():
    seen = {name: float(value[0]) for name, value in window().seen().items()}
    assert seen == {"x": 4.0, "y": 3.0, "side": 6.0, "deviation": 1.0, "intensity": 1.0}


def test_a_narrow_filter_reads_the_pixel_at_its_place_counted_from_one():
    image = np.arange(35.0).reshape(1, 5, 7)
    for row, column in itertools.product(range(5), range(7)):
        x, y = 2 * (column + 1) / 8 - 1, 2 * (row + 1) / 6 - 1
        (read,) = window(1, x=x, y=y, log_variance=-8.0, log_intensity=math.log(2.0)).read(image)
        np.testing.assert_allclose(read, [[2 * image[0, row, column]]], rtol=1e-12)


def test_filters_sum_to_one_but_far_outside_of_the_image_to_nothing():
    for log_variance in (-2.0, 0.0, 3.0):
        for filters in window(4, log_variance=log_variance, x=-0.9, y=0.9, log_stride=-1.0).filters():
            np.testing.assert_allclose(np.sum(filters, axis=-1), 1.0, rtol=1e-6)
    outside = window(4, x=30.0, log_stride=-1.0)
    assert np.max(np.abs(outside.read(np.ones((1, 5, 7)))[0])) < 1e-6
    assert np.max(np.abs(outside.write(np.ones((1, 16))))) < 1e-6


@pytest.mark.parametrize(("deviations", "total"), [(0.0, 1.0), (5.9, 1.0), (6.5, 0.067), (8.0, 0.0)])
def test_a_filter_at_the_edge_sums_to_one_up_to_six_deviations_beyond(deviations, total):
    """Beside the last column and the first row, and between two pixels."""
    beyond, half = 0.5 * deviations, deviations and 0.5
    wide, narrow = math.log(0.25), 2 * math.log(half / deviations) if deviations else -6.0
    for one in (
        window(1, x=2 * (7 + beyond) / 8 - 1, log_variance=wide),
        window(1, x=2 * (4 + half) / 8 - 1, log_variance=narrow),
    ):
        (found,) = np.sum(one.filters()[1], axis=-1).ravel()
        assert found == pytest.approx(total if deviations < 6 or one.x > 7 else min(1, 2 * total), abs=0.01)
    (found,) = np.sum(window(1, y=2 * (1 - beyond) / 6 - 1, log_variance=wide).filters()[0], axis=-1).ravel()
    assert found == pytest.approx(total, abs=0.01)


def test_what_is_written_is_what_the_same_window_reads_turned_round():
    """<read(image), grid> = <image, write(grid)>, with an intensity of one."""
    one = window(3, x=0.2, y=-0.4, log_variance=0.3, log_stride=-0.5)
    image, grid = DRAW.normal(size=(1, 5, 7)), DRAW.normal(size=(1, 9))
    np.testing.assert_allclose(np.sum(one.read(image)[0] * grid), np.sum(image.ravel() * one.write(grid)), rtol=1e-12)


@pytest.mark.parametrize(("density", "windows"), [("bernoulli", {}), ("gaussian", {"read_size": 2, "write_size": 1})])
def test_the_bound_lies_below_the_weighted_estimate_and_that_below_the_likelihood(density, windows):
    """The likelihood by a sum over a grid of all codes, which are two numbers."""
    model = model_of(density=density, **windows)
    x = (DRAW.random((1, 2, 2, 1)) < 0.5).astype(float)
    grid, step = np.linspace(-7, 7, 101, retstep=True)
    codes = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    drawn = archs.drawing.draw(model, codes)
    means = np.asarray(drawn["pixels"])[:, -1].reshape(-1, 4)
    assert np.all(np.asarray(drawn["divergence"]) == 0)
    if density == "bernoulli":
        logs = x.ravel() * np.log(means) + (1 - x.ravel()) * np.log(1 - means)
    else:
        raw = next(float(np.asarray(w)) for w in model.weights if w.name == "raw_deviation")
        deviation = np.log1p(np.exp(raw)) + 1e-4
        logs = -((x.ravel() - means) ** 2) / (2 * deviation**2) - math.log(deviation) - math.log(2 * math.pi) / 2
    joint = logs.sum(axis=-1) - (codes**2).sum(axis=(1, 2)) / 2 - math.log(2 * math.pi)
    likelihood = math.log(np.exp(joint).sum() * step**2)

    count = 20_000
    images, noise = np.repeat(x, count, axis=0), np.random.default_rng(2).normal(size=(count, 2, 1))
    weights = np.asarray(archs.drawing.log_weights(model, images, noise))
    answer = model({"inputs": images, "noise": noise})
    scores = archs.losses.Density(density, 4).log_likelihood(images.reshape(count, 4), answer["canvas"])
    bounds = np.asarray(scores) - np.asarray(answer["divergence"])
    error = 5 * (weights - bounds).std() / math.sqrt(count)
    assert abs(weights.mean() - bounds.mean()) < error  # the divergence in closed form, and drawn
    by_ten = np.log(np.exp(weights.reshape(-1, 10)).mean(axis=1)).mean()
    assert bounds.mean() + 0.01 < by_ten < likelihood
    assert abs(np.log(np.exp(weights).mean()) - likelihood) < 0.05


def test_the_loss_is_the_bound_in_nats_of_an_image():
    model = model_of()
    model.compile("sgd", {"canvas": archs.losses.NegativeLogLikelihood(), "divergence": archs.losses.Divergence()})
    x, noise = (DRAW.random((6, 2, 2, 1)) < 0.5).astype(float), DRAW.normal(size=(6, 2, 1))
    inputs, targets = {"inputs": x, "noise": noise}, {"canvas": x.reshape(6, 4), "divergence": np.zeros(6)}
    answer = model(inputs)
    p = 1 / (1 + np.exp(-np.asarray(answer["canvas"])))
    costs = -np.log(np.where(targets["canvas"] > 0, p, 1 - p)).sum(axis=1) + np.asarray(answer["divergence"])
    assert model.evaluate(inputs, targets, verbose=0)[0] == pytest.approx(costs.mean(), rel=1e-5)


def test_a_drawing_ends_where_the_model_does_and_a_trace_tells_the_same():
    model = model_of(features=(6, 5, 1), units=4, latents=2, steps=3, read_size=2, write_size=3)
    x, noise = DRAW.random((3, 6, 5, 1)), DRAW.normal(size=(3, 3, 2))
    answer, drawn = model({"inputs": x, "noise": noise}), archs.drawing.draw(model, noise, x)
    logits = np.asarray(answer["canvas"]).reshape(3, 6, 5)
    np.testing.assert_allclose(np.asarray(drawn["pixels"])[:, -1], 1 / (1 + np.exp(-logits)), rtol=1e-10)
    np.testing.assert_allclose(np.asarray(drawn["divergence"])[:, -1], answer["divergence"], rtol=1e-10)
    traced = archs.tracing.trace(model, {"inputs": x, "noise": noise})
    assert traced["canvas"].shape == (3, 3, 6, 5)
    for name, value in traced.items():
        if name != "canvas":
            np.testing.assert_allclose(value, drawn[name], rtol=1e-5, atol=1e-6)
    longer = archs.drawing.draw(model, DRAW.normal(size=(3, 7, 2)))
    assert longer["pixels"].shape == (3, 7, 6, 5)


def test_where_was_read_and_written_is_where_pixels_matter():
    """A pixel far from the window that reads has no gradient, and one far from that which writes stays as it was."""
    model = model_of(features=(20, 20, 1), latents=2, steps=1, read_size=2, write_size=2, learn_first_states=False)
    for weight in model.weights:
        if weight.name in ("read_bias", "write_window_bias"):
            weight.assign([-0.6, 0.5, -2.0, -3.0, 0.0])
    x, noise = tf.constant(DRAW.random((1, 20, 20, 1))), DRAW.normal(size=(1, 1, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        answer = model({"inputs": x, "noise": tf.constant(noise)})
        total = tf.reduce_sum(answer["divergence"])
    reads = np.abs(np.asarray(tape.gradient(total, x)))[0, ..., 0]
    drawn = archs.drawing.draw(model, noise, x)
    writes = np.abs(np.asarray(drawn["pixels"])[0, 0] - 0.5)
    for way, weights in (("read", reads), ("write", writes)):
        column, row = (float(drawn[f"{way}_{axis}"][0, 0]) - 1 for axis in "xy")
        found = [np.average(np.arange(20), weights=weights.sum(axis=axis)) for axis in (1, 0)]
        assert abs(found[0] - row) < 2.5
        assert abs(found[1] - column) < 2.5
        far = np.hypot(np.arange(20)[:, None] - row, np.arange(20) - column) > 8
        assert weights[far].max() < 1e-3 * weights.max()


def test_rows_without_an_image_are_samples_beside_others():
    cell = archs.DRAWCell(4, rows=3, columns=2, dtype="float64")
    layer = archs.Recurrent(cell, return_state=True)
    noise, images = DRAW.normal(size=(2, 5, 2)), DRAW.random((2, 3, 2))
    mask = tf.constant([[True] * 3, [False] * 3])
    canvas, _, divergence, *_ = layer(noise, memory=images, memory_mask=mask)
    alone = layer(noise[1:], memory=np.zeros((1, 3, 2)), memory_mask=mask[1:])
    np.testing.assert_allclose(canvas[1:], alone[0], rtol=1e-12)
    assert float(divergence[1, 0]) == 0 < float(divergence[0, 0])
    seen = layer(noise[:1], memory=images[:1])
    np.testing.assert_allclose(canvas[:1], seen[0], rtol=1e-12)


def test_noise_is_of_each_rows_seed():
    model = model_of(latents=3, steps=4)
    noise = np.asarray(archs.drawing.noise(model, [5, 7, 5]))
    assert noise.shape == (3, 4, 3)
    np.testing.assert_array_equal(noise[0], noise[2])
    assert np.abs(noise[0] - noise[1]).max() > 0.1
    np.testing.assert_array_equal(np.asarray(archs.drawing.noise(model, [7]))[0], noise[1])
    many = np.asarray(archs.drawing.noise(model, np.arange(500)))
    assert abs(many.mean()) < 0.05
    assert abs(many.std() - 1) < 0.05


@pytest.mark.parametrize("cell", ["lstm", "layer_norm_lstm"])
def test_the_image_leaves_the_loop_where_there_is_no_window(cell):
    """An encoder that reads a sum of products knows that with the image; both ways give what the equations say."""
    layer = archs.Recurrent(archs.DRAWCell(3, rows=2, columns=3, cell=cell, dtype="float64"), return_sequences=True)
    noise, images = DRAW.normal(size=(2, 4, 2)), DRAW.random((2, 2, 3))
    outputs = layer(noise, memory=images)
    assert layer.cell.prepare(tf.constant(images), tf.ones((2, 2), "float64"))[0].shape[-1] == (
        12 if cell == "lstm" else 6
    )
    encoder, states = layer.cell.encoder, layer.cell.get_initial_state(2)
    canvas, h = states[0], states[2]
    flat = images.reshape(2, 6)
    fed = np.concatenate([flat, flat - 1 / (1 + np.exp(-np.asarray(canvas))), h], axis=-1)
    expected = encoder(tf.constant(fed), states[4:])[0]
    layer.cell.memorize(images)
    found = layer.cell(tf.constant(noise[:, 0]), states)[1]
    np.testing.assert_allclose(found[4], expected, rtol=1e-10)
    np.testing.assert_allclose(outputs[:, 0], found[0], rtol=1e-10)


def test_learned_first_states_are_where_a_drawing_starts():
    model = model_of(features=(3, 3, 1), steps=1)
    first = next(w for w in model.weights if w.name == "first_states")
    assert first.shape == (9 + 4 * 3,)
    cell = model.get_layer("recurrent").cell
    start = cell.get_initial_state(2)
    np.testing.assert_allclose(start[0], np.repeat(np.asarray(first)[None, :9], 2, axis=0))
    assert np.all(np.asarray(start[1]) == 0)
    with pytest.raises(ValueError, match="Expected a cell that is built, since its first states are weights"):
        archs.DRAWCell(3, rows=2, columns=2, learn_first_states=True).get_initial_state(2)


def test_filters_overlap_at_first():
    layer = archs.Recurrent(archs.DRAWReaderCell(3, rows=30, columns=60, read_size=12))
    layer.build((None, None, 1))
    biases = {weight.name: np.asarray(weight) for weight in layer.weights}
    seen = Window(biases["read_bias"][None], 30, 60, 12).seen()
    assert float(seen["deviation"][0]) == pytest.approx(59 / 11 / 2, rel=1e-5)
    assert [float(seen[name][0]) for name in ("x", "y", "side")] == pytest.approx([30.5, 15.5, 59], rel=1e-5)


def test_encoder_and_decoder_are_drawn_apart():
    draw = keras.initializers.RandomNormal(seed=1)
    cell = archs.DRAWCell(6, rows=2, columns=2, recurrent_initializer=draw, recurrent_dropout=0.5, seed=1)
    cell.build((None, 3))
    kernels = {w.name: np.asarray(w) for w in cell.weights if "recurrent" in w.name}
    assert set(kernels) == {"decoder_recurrent_kernel", "encoder_recurrent_kernel"}
    assert np.abs(np.subtract(*kernels.values())).min() > 0
    assert cell.product_sizes == [6, 6]  # a mask for each


def test_what_is_no_image_is_refused():
    for factory, more in ((archs.draw, {"latents": 2}), (archs.draw_classifier, {"outputs": 2})):
        for features in (4, (4, 4), (4, 4, 3)):
            with pytest.raises(ValueError, match=r"`features` to be \(rows, columns, 1\) of a grey image, received"):
                factory(features, 6, **more)
        with pytest.raises(ValueError, match="`features` to be a positive integer, received 0"):
            factory((0, 4, 1), 6, **more)
    with pytest.raises(ValueError, match="`density` to be one of 'bernoulli', 'gaussian', received 'mixture'"):
        archs.draw((4, 4, 1), 6, 2, density="mixture")
    model = model_of()
    noise = np.zeros((3, 2, 1))
    with pytest.raises(ValueError, match=r"`inputs` of shape \(batch, 2, 2, 1\), received \(3, 2, 3, 1\)"):
        model({"inputs": np.zeros((3, 2, 3, 1)), "noise": noise})
    with pytest.raises(ValueError, match=r"Expected `images` of shape \(batch, 2, 2, 1\), received \(3, 2, 3, 1\)"):
        archs.drawing.draw(model, noise, np.zeros((3, 2, 3, 1)))
    with pytest.raises(ValueError, match=r"Expected `noise` of shape \(batch, steps, 1\), received \(3, 2, 2\)"):
        archs.drawing.draw(model, np.zeros((3, 2, 2)))
    for ask in (archs.drawing.noise, archs.drawing.draw):
        with pytest.raises(ValueError, match="Expected a model of `draw`, received 'draw_classifier'"):
            ask(archs.draw_classifier((4, 4, 1), 6, 2), [1])
    with pytest.raises(ValueError, match="Expected a model of `draw_classifier`, received 'draw'"):
        archs.drawing.glimpses(model, np.zeros((3, 2, 2, 1)))
    with pytest.raises(ValueError, match="Expected `seeds` to be integers"):
        archs.drawing.noise(model, [0.5])
    layer = archs.Recurrent(archs.DRAWReaderCell(3, rows=4, columns=5))
    with pytest.raises(ValueError, match=r"memory of shape \(batch, 4, 5\), received \(1, 3, 5\)"):
        layer(np.zeros((1, 2, 1)), memory=np.zeros((1, 3, 5)))


def test_a_classifier_learns_where_a_square_is():
    keras.utils.set_random_seed(0)
    places = DRAW.integers(0, 2, 200)
    images = np.zeros((200, 12, 12, 1), "float32")
    for image, place in zip(images, places, strict=True):
        image[4:8, 1 + 6 * place : 5 + 6 * place] = 1
    model = archs.draw_classifier((12, 12, 1), 8, 2, steps=2, read_size=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    model.fit(images, places, epochs=8, batch_size=50, verbose=0)
    assert model.evaluate(images, places, verbose=0)[1] > 0.95
    traced, seen = archs.tracing.trace(model, images[:3]), archs.drawing.glimpses(model, images[:3])
    assert traced["read_x"].shape == (3, 2)
    for name, value in seen.items():
        np.testing.assert_allclose(traced[name], value, rtol=1e-4)


@pytest.mark.parametrize("wrong", [255.0, -0.5, float("nan")])
@pytest.mark.parametrize("density", ["bernoulli", "gaussian"])
def test_pixels_are_from_0_to_1(wrong, density):
    model, noise = model_of(density=density), np.zeros((3, 2, 1))
    images = np.full((3, 2, 2, 1), 0.5)
    images[1, 1, 0] = wrong
    for ask in (
        lambda: model({"inputs": images, "noise": noise}),
        lambda: archs.drawing.draw(model, noise, images),
        lambda: archs.drawing.log_weights(model, images, noise),
    ):
        with pytest.raises(ValueError, match=f"Expected pixels from 0 to 1, received {wrong}"):
            ask()
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected pixels from 0 to 1, received"):
        model.predict({"inputs": images, "noise": noise}, verbose=0)


def test_images_fit_noise_and_model():
    model, noise, images = model_of(), np.zeros((3, 2, 1)), np.zeros((2, 2, 2, 1))
    for ask in (archs.drawing.draw, lambda model, noise, images: archs.drawing.log_weights(model, images, noise)):
        with pytest.raises(ValueError, match="Expected an image for each of 3 rows of noise, or one, received 2"):
            ask(model, noise, images)
    with pytest.raises(ValueError, match=r"`images` of shape \(batch, 2, 2, 1\), received None"):
        archs.drawing.log_weights(model, None, noise)
    reader = archs.draw_classifier((4, 4, 1), 6, 2, read_size=2)
    for shape in ((3, 4, 4, 3), (3, 4, 4)):
        with pytest.raises(ValueError, match=r"`images` of shape \(batch, 4, 4, 1\), received \(3, 4, 4"):
            archs.drawing.glimpses(reader, np.zeros(shape))
