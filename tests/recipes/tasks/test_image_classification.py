"""The task of labels for images: signatures, figures, and where a model looked."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.data import batching
from recipes._core.export import export
from recipes.draw_classifier_cluttered_digits import Config, build_model
from recipes.tasks.image_classification import ImageClassification

CONFIG = types.SimpleNamespace(batch_size=4, learning_rate=1e-2, clipnorm=1.0, seed=0, schedule="cosine")


class Small(ImageClassification):
    side, several = 9, 3


@pytest.fixture(scope="module")
def splits():
    draw = np.random.default_rng(0)
    known = {"image": draw.integers(0, 256, (7, 9, 9), np.uint8), "label": np.array([0, 1, 1, 1, 0, 1, 1])}
    return batching.Splits(known, known, known, {}, labels=["no", "yes"])


@pytest.fixture(scope="module")
def task(splits):
    made = Small(CONFIG)
    made.learn(splits)
    return made


def models():
    keras.utils.set_random_seed(0)
    images = keras.Input((9, 9, 1), name="inputs")
    plain = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(images)))
    return {"reader": archs.draw_classifier((9, 9, 1), 6, 2, steps=3, read_size=2), "plain": plain}


@pytest.mark.parametrize("kind", ["reader", "plain"])
def test_labels_figures_and_where_was_looked(kind, task, splits, tmp_path):
    model = models()[kind]
    task.compile(model, steps=10)
    model.fit(task.batches(splits.train, training=True).epoch(), shuffle=False, verbose=0)
    answer = export.as_arrays(task.signatures(model))
    found = answer({"image": splits.test["image"]})
    logits = answer({"inputs": splits.test["image"][..., None] / np.float32(255)}, "logits")["logits"]
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-5, atol=1e-6)
    labels = np.array(task.labels)[logits.argmax(-1)]
    assert found["label"].tolist() == [label.encode() for label in labels] or found["label"].tolist() == labels.tolist()
    assert ("read" in found) == (kind == "reader")
    figures = task.evaluate(answer, splits, tmp_path)
    wrong = logits.argmax(-1) != splits.test["label"]
    assert figures == {"test_error": pytest.approx(wrong.mean()), "most_frequent": pytest.approx(2 / 7)}
    assert (tmp_path / "glimpses.png").exists() == (kind == "reader")
    if kind == "reader":
        traced = archs.tracing.trace(model, splits.test["image"][..., None] / np.float32(255))
        np.testing.assert_allclose(found["read"][..., 0], traced["read_x"], rtol=1e-4)
    assert task.truth(splits.test, 1) == "yes"
    assert "probability" in task.show(answer(task.test_request(splits.test, 0)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="image: expected at least one row"):
        answer({"image": np.zeros((0, 9, 9), np.uint8)})


def test_the_network_beside_it_has_as_many_parameters():
    counts = [build_model(Config(model=model), None).count_params() for model in ("draw_classifier", "cnn")]
    assert abs(counts[1] / counts[0] - 1) < 0.01
