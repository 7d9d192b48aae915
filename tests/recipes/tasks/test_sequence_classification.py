"""A label for each sequence: on data made up here, of floats of several lengths, and of bytes of one length."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.data import batching, signals
from recipes._core.errors import RecipeError
from recipes._core.export import export
from recipes.tasks.sequence_classification import SequenceClassification

CONFIG = types.SimpleNamespace(seed=1, batch_size=2, learning_rate=1e-2, clipnorm=1.0, epochs=1)
LABELS = ["up", "down", "none"]


class Waves(SequenceClassification):
    """Two numbers a time step."""

    sequences = tf.TensorSpec((None, None, 2), tf.float32, name="waves")
    longest = 20
    several = 3

    def preprocess(self, waves, lengths, seed=None):
        if seed is not None:
            waves += tf.random.stateless_normal(tf.shape(waves), seed)
        return super().preprocess(waves, lengths)

    def read_file(self, path):
        return signals.read_csv(path, 2, "left,right")


class Codes(SequenceClassification):
    """Bytes, all sequences of one length."""

    sequences = tf.TensorSpec((None, None), tf.uint8, name="codes")

    def preprocess(self, codes, lengths, seed=None):
        return {"inputs": tf.one_hot(codes, 4), "lengths": lengths}

    def baselines(self, splits):
        return {"by_chance": 1 / len(self.labels)}


def waves(count, seed=0):
    draw = np.random.default_rng(seed)
    rows = [draw.normal(size=(draw.integers(3, 9), 2)).astype(np.float32) for _ in range(count)]
    return batching.columns({"waves": row, "label": number % 3} for number, row in enumerate(rows))


def codes(count):
    return {"codes": np.arange(count * 5).reshape(count, 5).astype(np.uint8) % 4, "label": np.arange(count) % 2}


def learned(task, splits):
    task = task(CONFIG)
    task.learn(splits)
    return task


@pytest.fixture(scope="module")
def splits():
    return batching.Splits(waves(7), waves(5, 1), waves(4, 2), {}, LABELS)


@pytest.fixture(scope="module")
def model():
    return archs.vanilla_lstm(features=2, units=4, outputs=3, lengths=True)


def test_what_it_keeps_of_the_data_is_enough_to_answer(splits, model, tmp_path):
    kept = json.loads(json.dumps(learned(Waves, splits).state()))
    assert kept == {"labels": LABELS}
    task = Waves(CONFIG)
    assert task.labels == []
    task.restore(kept)
    (tmp_path / "wave.csv").write_text("1,2\n-3,0.5\n")
    answer = export.as_arrays(task.signatures(model))(task.read(str(tmp_path / "wave.csv")))
    best = answer["probabilities"][0].argmax()
    assert task.show(answer) == f"{LABELS[best]} (probability {answer['probabilities'][0, best]:.3f})"
    with pytest.raises(LookupError):
        task.restore({})


def test_training_examples_vary_by_the_seed_and_others_stay(splits):
    task, again = learned(Waves, splits), learned(Waves, splits)
    first, same = (next(iter(one.batches(splits.train, training=True).epoch())) for one in (task, again))
    np.testing.assert_array_equal(first[0]["inputs"], same[0]["inputs"])
    for number in (0, 1):
        for inputs, labels in task.batches(splits.train, training=True).epoch(number):
            assert inputs["inputs"].shape[1] == max(inputs["lengths"])
            assert not np.isin(inputs["inputs"], splits.train["waves"]).all()
            assert set(labels.numpy()) <= {0, 1, 2}
    (batch, *others), order = task.batches(splits.validation).epoch(), np.argsort(splits.validation["waves_length"])
    assert len(others) == 1  # of `several`
    length = splits.validation["waves_length"].numpy()[order[:3]]
    np.testing.assert_array_equal(batch[0]["lengths"], length)
    np.testing.assert_array_equal(batch[0]["inputs"], splits.validation["waves"].numpy()[order[:3], : length.max()])
    np.testing.assert_array_equal(batch[1], splits.validation["label"].numpy()[order[:3]])


def test_a_model_learns_from_its_batches(splits, model):
    task = learned(Waves, splits)
    task.compile(model, steps=40)
    batches = task.batches(splits.validation)
    before = model.evaluate(batches.epoch(), return_dict=True, verbose=0)
    for _ in range(20):
        model.fit(batches.epoch(), shuffle=False, verbose=0)
    after = model.evaluate(batches.epoch(), return_dict=True, verbose=0)
    assert list(after) == ["accuracy", "loss"]
    assert after["loss"] < before["loss"]


def test_the_signatures_answer_and_refuse(splits, model):
    task = learned(Waves, splits)
    functions = task.signatures(model)
    answer = export.as_arrays(functions)
    request = task.request(splits.test)
    expected = answer(request)
    assert list(expected) == ["label", "probabilities", "logits"]
    assert list(expected["label"]) == [LABELS[row.argmax()] for row in expected["logits"]]
    np.testing.assert_allclose(expected["probabilities"], tf.nn.softmax(expected["logits"]), rtol=1e-5)
    for number in range(4):
        alone = task.test_request(splits.test, number)
        assert alone["waves"].shape == (1, alone["lengths"][0], 2)
        np.testing.assert_allclose(answer(alone)["logits"][0], expected["logits"][number], atol=1e-6)
    sample = task.sample(model, splits)
    assert sample.keys() == functions.keys() == {"serving_default", "logits"}
    for name, asked in sample.items():
        assert answer(asked, name)["logits"].shape == (1, 3)
    rows, lengths = request["waves"], request["lengths"]
    for given, message in [
        ((rows, lengths + 9), "lengths: expected no more than there are time steps"),
        ((rows, lengths * 0), "lengths: expected 1 or more"),
        ((rows, lengths[:1]), "lengths: expected one for each row"),
        ((rows[:0], lengths[:0]), "waves: expected at least one row, received an empty batch"),
        ((np.full_like(rows, np.inf), lengths), "waves: expected finite numbers"),
        ((np.zeros((1, 21, 2), np.float32), np.array([9], np.int32)), "waves: expected at most 20 time steps"),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(dict(zip(("waves", "lengths"), given, strict=True)))


def test_sequences_of_one_length_need_no_column_of_lengths():
    splits = batching.Splits(codes(6), codes(4), codes(3), {}, ["even", "odd"])
    task = learned(Codes, splits)
    request = task.test_request(splits.test, 1)
    np.testing.assert_array_equal(request["codes"], [[1, 2, 3, 0, 1]])
    assert request["codes"].dtype == np.uint8
    np.testing.assert_array_equal(request["lengths"], [5])
    assert task.truth(splits.test, 1) == "odd"
    inputs, labels = next(iter(task.batches(splits.validation).epoch()))
    np.testing.assert_array_equal(inputs["lengths"], [5] * 4)
    np.testing.assert_array_equal(labels, [0, 1, 0, 1])  # as they stand
    model = archs.vanilla_lstm(features=4, units=3, outputs=2, lengths=True)
    assert export.as_arrays(task.signatures(model))(request)["label"][0] in ("even", "odd")


def test_figures_are_the_accuracy_and_then_what_is_simpler(tmp_path, monkeypatch):
    splits = batching.Splits(codes(7), codes(4), codes(5), {}, ["even", "odd"])
    task = learned(Codes, splits)
    task.several = 2
    sizes, drawn = [], []
    monkeypatch.setattr(Codes, "draw", lambda self, *arguments: drawn.append(arguments))

    def answer(request):
        sizes.append(len(request["lengths"]))
        return {"probabilities": np.array([[0.2, 0.8], [0.9, 0.1]][: sizes[-1]])}

    assert task.evaluate(answer, splits) == {"test_accuracy": 0.0, "majority_class": 0.6, "by_chance": 0.5}
    assert sizes == [2, 2, 1]
    assert not drawn
    assert list(task.evaluate(answer, splits, tmp_path)) == ["test_accuracy", "majority_class", "by_chance"]
    assert (tmp_path / "confusion_matrix.png").exists()
    assert drawn[0][1]["probabilities"].shape == (5, 2)  # the answers to all parts


def test_the_nearest_by_warping_forgives_a_delay():
    bump = np.array([0, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0], np.float32)
    rows = {"late": np.roll(bump, 3), "bump": bump, "flat": np.zeros_like(bump)}
    example = {name: {"waves": np.stack([row, row], axis=1)} for name, row in rows.items()}
    train = batching.columns([example["flat"] | {"label": 0}, example["bump"] | {"label": 1}])
    test = batching.columns([example["late"] | {"label": 1}])
    splits = batching.Splits(train, train, test, {}, LABELS)
    assert learned(Waves, splits).dtw_1nn(splits, steps=11, band=4) == 1
    assert learned(Waves, splits).dtw_1nn(splits, steps=11, band=0) == 0


def test_a_file_that_is_none_is_told(tmp_path):
    with pytest.raises(RecipeError, match="No such file"):
        Waves(CONFIG).read(str(tmp_path / "none.csv"))
