"""Vectors of bits, copied and recalled: what is read and asked, what it costs, what a person sees."""

import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.export import export
from recipes.tasks.bit_sequences import AssociativeRecall, Copy, RepeatCopy

CONFIG = types.SimpleNamespace(epochs=1, batch_size=2, learning_rate=5e-3, clipnorm=1.0, seed=0)


def bits_of(*vectors):
    return np.array([list(map(int, vector)) for vector in vectors], np.uint8)


def copies(*lengths, **numbers):
    """Columns of vectors of 8 random bits, so many in each example."""
    draw = np.random.default_rng(0)
    vectors = np.zeros((len(lengths), max(lengths), 8), np.uint8)
    for row, length in zip(vectors, lengths, strict=True):
        row[:length] = draw.integers(0, 2, (length, 8))
    columns = {"vectors": vectors, "length": np.array(lengths, np.int32)}
    columns |= {name: np.array(values, np.int32) for name, values in numbers.items()}
    return {name: tf.constant(values) for name, values in columns.items()}


def recalls(*lengths, query=0):
    draw = np.random.default_rng(0)
    items = draw.integers(0, 2, (len(lengths), max(lengths), 3, 6)).astype(np.uint8)
    columns = {"items": items, "length": np.array(lengths, np.int32), "query": np.full(len(lengths), query, np.int32)}
    return {name: tf.constant(values) for name, values in columns.items()}


TASKS = {
    "copy": (Copy(CONFIG), copies(3, 5, 1, 5)),
    "repeat_copy": (RepeatCopy(CONFIG), copies(3, 2, 1, 3, repeats=[1, 4, 6, 1])),
    "associative_recall": (AssociativeRecall(CONFIG), recalls(2, 5, 3, 5)),
}
each = pytest.mark.parametrize("name", TASKS)


def untrained(task):
    keras.utils.set_random_seed(0)
    return archs.stacked_lstm(task.channels, [6], task.outputs, return_sequences=True, lengths=True)


def machine(task, **arguments):
    keras.utils.set_random_seed(0)
    small = {"memory_locations": 7, "memory_width": 3, "lengths": True}
    return archs.ntm(task.channels, 5, task.outputs, **small | arguments)


def test_what_is_read_and_asked_of_copying():
    vectors = np.zeros((2, 3, 8), np.uint8)
    vectors[0, :1], vectors[1] = 1, bits_of("10000000", "01000000", "00100000")
    vectors[0, 1:] = 1  # padding, whatever it holds
    columns = {"vectors": tf.constant(vectors), "length": tf.constant([1, 3])}
    task = Copy(CONFIG)
    inputs, targets = task.inputs(columns), task.targets(columns)
    np.testing.assert_array_equal(inputs["lengths"], [3, 7])
    expected = np.zeros((2, 7, 9))
    expected[0, 0, :8] = expected[0, 1, 8] = expected[1, 3, 8] = 1
    expected[1, :3, :8] = vectors[1]
    np.testing.assert_array_equal(inputs["inputs"], expected)
    told = np.full((2, 7, 8), -1)
    told[0, 2], told[1, 4:] = 1, vectors[1]
    np.testing.assert_array_equal(targets, told)


def test_what_is_read_and_asked_of_copying_several_times():
    columns = copies(2, 1, repeats=[2, 1])
    vectors = np.asarray(columns["vectors"])
    task = RepeatCopy(CONFIG)
    inputs, targets = task.inputs(columns), task.targets(columns)
    np.testing.assert_array_equal(inputs["lengths"], [8, 4])
    expected = np.zeros((2, 8, 10))
    expected[0, :2, :8], expected[1, :1, :8] = vectors[0], vectors[1, :1]
    expected[0, 2, 8] = expected[1, 1, 8] = 1
    spread = np.std(np.arange(1, 11))
    expected[0, 2, 9], expected[1, 1, 9] = (2 - 5.5) / spread, (1 - 5.5) / spread
    np.testing.assert_allclose(inputs["inputs"], expected, rtol=1e-6)
    told = np.full((2, 8, 9), -1)
    told[0, 3:7, :8], told[0, 3:7, 8], told[0, 7] = np.tile(vectors[0], (2, 1)), 0, [0] * 8 + [1]
    told[1, 2, :8], told[1, 2, 8], told[1, 3] = vectors[1, 0], 0, [0] * 8 + [1]
    np.testing.assert_array_equal(targets, told)
    numbers = [task.question(copies(1, repeats=[n]))[0, 1, 9] for n in range(1, 11)]
    assert np.mean(numbers) == pytest.approx(0, abs=1e-6)
    assert np.var(numbers) == pytest.approx(1, rel=1e-5)


def test_what_is_read_and_asked_of_recall():
    columns = recalls(2, 3) | {"query": tf.constant([0, 1])}
    items = np.asarray(columns["items"])
    task = AssociativeRecall(CONFIG)
    inputs, targets = task.inputs(columns), task.targets(columns)
    np.testing.assert_array_equal(inputs["lengths"], [16, 20])
    for row, (length, query) in enumerate(((2, 0), (3, 1))):
        listed = [step for item in items[row, :length] for step in ("item", *item)]
        steps = [*listed, "query", *items[row, query], "query", *[np.zeros(6)] * 3]
        for time, step in enumerate(steps):
            expected = [0] * 6 + [step == "item", step == "query"] if isinstance(step, str) else [*step, 0, 0]
            np.testing.assert_array_equal(inputs["inputs"][row, time], expected)
        np.testing.assert_array_equal(targets[row, len(steps) - 3 : len(steps)], items[row, query + 1])
        assert np.all(np.delete(targets[row], range(len(steps) - 3, len(steps)), axis=0) == -1)
        assert not np.any(inputs["inputs"][row, len(steps) :])


@each
def test_a_batch_holds_each_question_with_its_answer_and_no_more_padding_than_it_needs(name):
    task, columns = TASKS[name]
    seen = 0
    for inputs, targets in task.batches(columns, training=True).epoch().as_numpy_iterator():
        assert inputs["inputs"].shape == (2, inputs["lengths"].max(), task.channels)
        assert targets.shape == (*inputs["inputs"].shape[:2], task.outputs)
        asked = (targets != -1).all(axis=2)
        np.testing.assert_array_equal(asked, (targets != -1).any(axis=2))
        for row, length in zip(asked, inputs["lengths"], strict=True):
            assert row[length - 1]
            assert not row[length:].any()
        assert not np.any(inputs["inputs"][asked])
        seen += asked.sum()
    assert seen == int(tf.reduce_sum(task.steps(columns)))


@each
def test_an_answer_is_that_of_its_question_alone(name):
    task, columns = TASKS[name]
    answer = export.as_arrays(task.signatures(untrained(task)))
    together = answer(task.request(columns))
    assert together["answer"].dtype == np.uint8
    for row, steps in enumerate(np.asarray(task.steps(columns))):
        alone = answer(task.test_request(columns, row))
        for output, value in alone.items():
            np.testing.assert_allclose(together[output][row, :steps], value[0], rtol=1e-5, atol=1e-6)
            assert not np.any(together[output][row, steps:])
        np.testing.assert_array_equal(alone["answer"], alone["probabilities"] > 0.5)
        np.testing.assert_allclose(alone["probabilities"], 1 / (1 + np.exp(-alone["logits"])), rtol=1e-5)


@each
def test_the_loss_is_the_cost_of_an_answer_in_bits_and_the_metric_counts_its_wrong_ones(name):
    task, columns = TASKS[name]
    model = untrained(task)
    task.compile(model, steps=1)
    inputs, targets = task.inputs(columns), task.targets(columns)
    measured = model.evaluate(inputs, targets, verbose=0, batch_size=4, return_dict=True)
    chances = 1 / (1 + np.exp(-np.asarray(model(inputs), float)))
    right = np.where(np.asarray(targets) == 1, chances, 1 - chances)
    asked = np.asarray(targets) != -1
    assert measured["loss"] == pytest.approx(-np.log2(right[asked]).sum() / 4, rel=1e-5)
    assert measured["wrong"] == pytest.approx((right[asked] < 0.5).sum() / 4)
    found = task.measured(export.as_arrays(task.signatures(model)), columns)
    assert list(found) == list(dict.fromkeys(task.sizes(columns)))
    costs, wrong = (np.concatenate([values[place] for values in found.values()]) for place in (0, 1))
    assert costs.mean() == pytest.approx(measured["loss"], rel=1e-5)
    assert wrong.mean() == pytest.approx(measured["wrong"])


def test_figures_of_answers_that_are_known(tmp_path):
    columns = copies(2, 2, 4, 4)
    task = Copy(CONFIG)

    def answer(request, signature="serving_default"):
        if signature != "serving_default":
            raise KeyError(signature)
        logits = 100 * (2.0 * request["vectors"] - 1)
        logits[:, 0, 0] *= -1 if request["vectors"].shape[1] == 4 else 0
        return {"answer": (logits > 0).astype(np.uint8), "logits": logits.astype(np.float32)}

    figures = task.evaluate(answer, batching.Splits({}, {}, columns, facts={}), tmp_path)
    ones = float(np.asarray(columns["vectors"])[:2, 0, 0].mean())  # a logit of 0 says 0, and costs one bit
    assert figures == {
        "test_bits": pytest.approx(1),
        "chance": 16,
        "wrong_bits_at_2": ones,
        "wrong_bits_at_4": 1,
        "bits_at_4": pytest.approx(100 / math.log(2)),
    }
    assert next(iter(figures)) == "test_bits"
    for name in ("trained_size", "largest_size"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_sizes_of_repeated_copies_name_both_numbers():
    columns = copies(3, 2, repeats=[1, 4])
    assert RepeatCopy(CONFIG).sizes(columns) == ["3x1", "2x4"]
    assert Copy(CONFIG).sizes(columns) == ["3", "2"]


ROW = {"vectors": np.zeros((1, 3, 8), np.uint8), "lengths": np.array([3], np.int32)}
ITEMS = {"items": np.zeros((1, 3, 3, 6), np.uint8), "lengths": np.array([3], np.int32)}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("name", "request_", "message"),
    [
        ("copy", ROW | {"vectors": np.full((1, 3, 8), 2, np.uint8)}, "vectors: expected 0 or 1"),
        ("copy", ROW | {"lengths": np.array([0], np.int32)}, "lengths: expected 1 or more"),
        ("copy", ROW | {"lengths": np.array([4], np.int32)}, "no more than there are time steps"),
        ("copy", ROW | {"lengths": np.array([3, 3], np.int32)}, "lengths: expected one for each row"),
        ("copy", {"vectors": np.zeros((0, 3, 8), np.uint8), "lengths": np.zeros(0, np.int32)}, "empty batch"),
        (
            "copy",
            {"vectors": np.zeros((1, 1001, 8), np.uint8), "lengths": np.array([1001], np.int32)},
            "expected at most 2000 time steps",
        ),
        ("repeat_copy", ROW | {"repeats": np.array([0], np.int32)}, "repeats: expected 1 to 2000"),
        ("repeat_copy", ROW | {"repeats": np.array([700], np.int32)}, "expected at most 2000 time steps"),
        ("repeat_copy", ROW | {"repeats": np.array([2**30], np.int32)}, "repeats: expected 1 to 2000"),
        ("repeat_copy", ROW | {"repeats": np.zeros(0, np.int32)}, "repeats: expected one for each row"),
        ("associative_recall", ITEMS | {"query": np.array([2], np.int32)}, "query: expected the number of an item"),
        ("associative_recall", ITEMS | {"query": np.array([-1], np.int32)}, "query: expected the number of an item"),
        (
            "associative_recall",
            ITEMS | {"query": np.array([0], np.int32), "lengths": np.array([1], np.int32)},
            "lengths: expected 2 or more",
        ),
    ],
)
def test_nonsense_is_refused(name, request_, message):
    task, _ = TASKS[name]
    functions = task.signatures(machine(task))
    for signature in ("serving_default", "weightings"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            export.as_arrays(functions)(request_, signature)


@each
def test_a_person_writes_a_question_and_reads_the_answer(name):
    task, columns = TASKS[name]
    bits = [
        "".join(map(str, vector))
        for vector in np.asarray(next(iter(columns.values())))[0].reshape(-1, 6 + 2 * (name != "associative_recall"))
    ]
    if name == "associative_recall":
        items = [" ".join(bits[n : n + 3]) for n in (0, 3)]
        text, said = f"{items[0]} / {items[1]} ? {items[0]}", items[1]
    else:
        text, said = " ".join(bits[:3]), " ".join(bits[:3])
        text, said = (f"{text} x1", f"{said} end") if name == "repeat_copy" else (text, said)
    asked = task.read(text)
    for key, value in task.test_request(columns, 0).items():
        np.testing.assert_array_equal(asked[key], value)
        assert asked[key].dtype == value.dtype
    assert task.truth(columns, 0) == said
    assert (
        task.show(
            {
                "answer": np.asarray(task.answers(task.cut({k: v[:1] for k, v in columns.items()})))[
                    :, : int(task.steps(columns)[0])
                ]
            }
        )
        == said
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("copy", text) for text in ("", "  ", "1011001", "10110012", "10110010,10110010", "nothing")),
        *(("repeat_copy", text) for text in ("10110010", "10110010 x", "10110010 xx", "x3", "10110010 x3.5")),
        *(
            ("associative_recall", text)
            for text in (
                "",
                "101100 110010 000111 ? 101100 110010 000111 / 101100",
                "101100 110010 / 111111 000000 ? 101100 110010",
                "101100 110010 000111 / 111111 000000 000000 ? 101100 110010 000110",
            )
        ),
    ],
)
def test_what_a_person_writes_otherwise_is_told(name, text):
    with pytest.raises(RecipeError, match="or test:N, received"):
        TASKS[name][0].read(text)


def test_weightings_are_those_of_the_steps_and_stay_behind_the_end():
    task, columns = TASKS["copy"]
    for arguments in ({}, {"read_heads": 2, "cell": None, "read_memory": "new"}):
        model = machine(task, **arguments)
        looked = export.as_arrays(task.signatures(model))(task.request(columns), "weightings")
        traced = archs.tracing.trace(model, task.inputs(columns))
        assert len(looked) == traced["read_weightings"].shape[2] + traced["write_weightings"].shape[2]
        for kind in ("read", "write"):
            for head in range(traced[f"{kind}_weightings"].shape[2]):
                expected = traced[f"{kind}_weightings"][:, :, head]
                np.testing.assert_allclose(looked[f"{kind}_weighting_{head + 1}"], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(looked["read_weighting_1"].sum(axis=2), 1, rtol=1e-5)
    assert "weightings" not in task.signatures(untrained(task))


def test_a_machine_is_drawn_with_what_its_heads_looked_at(tmp_path):
    task, _ = TASKS["copy"]
    answer = export.as_arrays(task.signatures(machine(task)))
    columns = copies(3, 3, 6)
    figures = task.evaluate(answer, batching.Splits({}, {}, columns, facts={}), tmp_path)
    assert list(figures) == ["test_bits", "chance", "wrong_bits_at_3", "wrong_bits_at_6", "bits_at_6"]
    assert figures["chance"] == 24
    looked = (tmp_path / "largest_size.png").stat().st_size
    plain = export.as_arrays(task.signatures(untrained(task)))
    task.draw(plain, columns, 2, tmp_path / "plain.png")
    assert looked > (tmp_path / "plain.png").stat().st_size > 3000


def test_samples_are_answered():
    for name, (task, columns) in TASKS.items():
        model = machine(task)
        answer = export.as_arrays(task.signatures(model))
        samples = task.sample(model, batching.Splits(columns, columns, columns, facts={}))
        assert set(samples) == {"serving_default", "weightings", "logits"}, name
        for signature, request in samples.items():
            assert all(np.isfinite(value).all() for value in answer(request, signature).values())
