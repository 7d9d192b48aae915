"""The task of images with latent variables: what its signatures answer, refuse and draw."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import archs
from recipes._core.data import batching
from recipes._core.export import artifact, export
from recipes.tasks.latent_images import LatentImages

CONFIG = types.SimpleNamespace(
    side=9, steps=3, latents=2, batch_size=4, learning_rate=1e-3, clipnorm=1.0, seed=0, schedule="cosine"
)


class Small(LatentImages):
    side, draws, weighted, several = 9, 3, 4, 3


def columns(count=7):
    return {"image": np.where(np.random.default_rng(0).random((count, 9, 9)) < 0.3, 255, 0).astype(np.uint8)}


@pytest.fixture(scope="module")
def task():
    return Small(CONFIG)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made = archs.draw((9, 9, 1), 6, 2, steps=3, read_size=2, write_size=3)
    made.set_weights([0.5 * np.random.default_rng(1).normal(size=w.shape) for w in made.weights])
    return made


@pytest.fixture(scope="module")
def answer(task, model):
    return export.as_arrays(task.signatures(model))


def test_a_step_of_training_lowers_the_bound(task, model):
    copy = keras.models.clone_model(model)
    task.compile(copy, steps=100)
    inputs, targets = next(iter(task.batches(columns(), training=True).epoch()))
    assert inputs["noise"].shape == (4, 3, 2)
    assert abs(float(tf.reduce_mean(inputs["noise"]))) < 1
    losses = [copy.train_on_batch(inputs, targets, return_dict=True)["loss"] for _ in range(10)]
    assert losses[-1] < losses[0]
    again = next(iter(task.batches(columns(), training=True).epoch()))[0]["noise"]
    np.testing.assert_array_equal(again, inputs["noise"])
    other = next(iter(task.batches(columns(), training=True).epoch(1)))[0]["noise"]
    assert np.abs(other - inputs["noise"]).max() > 0.1


def test_a_score_is_of_its_image_and_seed_whatever_stands_beside_it(task, answer):
    request = task.request(columns()["image"], draws=3)
    scores = answer(request)
    assert set(scores) == {"bound", "nll", "divergence", "importance_weighted"}
    np.testing.assert_allclose(scores["bound"], scores["nll"] + scores["divergence"], rtol=1e-6)
    assert np.all(scores["divergence"] > 0)
    mixed = request | {"draws": np.array([3, 1, 3, 9, 3, 3, 3], np.int32)}
    alone = answer({name: value[2:3] for name, value in request.items()})
    for name in scores:
        np.testing.assert_allclose(alone[name], scores[name][2:3], rtol=1e-5)
        np.testing.assert_allclose(answer(mixed)[name][[0, 2]], scores[name][[0, 2]], rtol=1e-5)
    assert abs(answer(mixed)["importance_weighted"][1] - scores["importance_weighted"][1]) > 1e-3


def test_more_draws_come_closer_to_the_likelihood(task, answer):
    images = np.repeat(columns(1)["image"], 60, axis=0)
    one, many = (answer(task.request(images, draws))["importance_weighted"] for draws in (1, 20))
    assert many.mean() < one.mean()
    assert many.std() < one.std()


def test_the_same_seed_draws_the_same_also_after_export(task, model, answer, tmp_path):
    artifact.write(tmp_path / "model", task.signatures(model))
    loaded = export.as_arrays(artifact.load(tmp_path / "model").signatures)
    seeds = np.array([3, 4, 3], np.int32)
    drawn = answer({"seed": seeds}, "sample")
    assert drawn["canvases"].shape == (3, 3, 9, 9)
    assert drawn["write"].shape == (3, 3, 4)
    assert "read" not in drawn
    np.testing.assert_allclose(drawn["canvases"][0], drawn["canvases"][2], rtol=1e-5)
    assert np.abs(drawn["canvases"][0] - drawn["canvases"][1]).max() > 1e-3
    np.testing.assert_array_equal(drawn["canvases"][:, -1], drawn["drawn"])
    request = {"image": columns(3)["image"], "seed": seeds}
    for name, value in loaded({"seed": seeds}, "sample").items():
        np.testing.assert_allclose(value, drawn[name], rtol=1e-5, atol=1e-6)
    anew = answer(request, "reconstruct")
    assert anew["read"].shape == (3, 3, 4)
    for name, value in loaded(request, "reconstruct").items():
        np.testing.assert_allclose(value, anew[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("signature", "wrong", "message"),
    [
        ("serving_default", {"seed": [-1]}, "seed: expected 0 or more"),
        ("serving_default", {"draws": [0]}, "draws: expected 1 to 1000"),
        ("serving_default", {"draws": [1001]}, "draws: expected 1 to 1000"),
        ("serving_default", {"draws": [1, 1]}, "draws: expected one for each row"),
        ("reconstruct", {"seed": [1, 2]}, "seed: expected one for each row"),
        ("sample", {"seed": [-5]}, "seed: expected 0 or more"),
        ("sample", {"seed": []}, "seed: expected at least one row, received an empty batch"),
    ],
)
def test_what_is_no_request_is_refused(task, model, answer, signature, wrong, message):
    splits = batching.Splits(*[columns()] * 3, facts={})
    request = task.sample(model, splits)[signature]
    answer(request, signature)
    wrong = {name: np.array(value, np.int32) for name, value in wrong.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(request | wrong, signature)


def test_figures_and_pictures(task, answer, tmp_path):
    splits = batching.Splits(columns(9), columns(), columns(7), {})
    figures = task.evaluate(answer, splits, tmp_path)
    assert list(figures) == [
        *("test_bound", "nll", "divergence", "importance_weighted_3_of_4", "bound_of_4", "pixel_frequencies")
    ]
    assert figures["test_bound"] == pytest.approx(figures["nll"] + figures["divergence"], rel=1e-5)
    white = (columns(9)["image"] / 255).sum(axis=0)
    p = (white + 0.5) / 10
    costs = -np.log(np.where(columns(7)["image"] > 0, p, 1 - p)).sum(axis=(1, 2))
    assert figures["pixel_frequencies"] == pytest.approx(costs.mean())
    with Image.open(tmp_path / "canvases.gif") as moving:
        assert moving.n_frames == 3
        assert moving.size == (4 * 10 * 7, 4 * 9)
    with Image.open(tmp_path / "canvases.png") as strip:
        assert min(strip.size) > 300
    assert "nats (" in task.show(answer(task.test_request(splits.test, 0)))
