"""The tasks of trees in brackets, on trees made up."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.export import brackets, export, signatures
from recipes._core.settings import Count, Positive, Seed, settings
from recipes.tasks.trees import UNKNOWN, Expressions, Trees


@settings
class Config:
    model: str = "tree_lstm"
    epochs: Count = 1
    batch_size: Count = 2
    learning_rate: Positive = 0.1
    clipnorm: Positive = 1.0
    seed: Seed = 0


GOOD, ODD, ONE = "(3 (2 A) (4 (4 good) (2 film)))", "(1 (2 (2 8\u00a01\\/2) (2 A)) (0 bad))", "(2 film)"
TRAIN = {"tree": tf.constant([GOOD, ODD, ONE])}
LABELS = list("01234")
SPLITS = batching.Splits(TRAIN, TRAIN, TRAIN, facts={}, labels=LABELS)

OF_NUMBERS = {
    "tree": tf.constant(["(MAX 2 9 (MIN 4 7) 0)", "(SM 1 2)", "(MED 3 (SM 0 5 6) 8)", "(MIN 7 7)"]),
    "label": tf.constant([9, 3, 3, 7], tf.int32),
    "depth": tf.constant([2, 1, 2, 1], tf.int32),
}


@pytest.fixture
def task():
    one = Trees(Config())
    one.learn(SPLITS)
    return one


@pytest.fixture
def model(task):
    return archs.tree_lstm(3, 4, 5, vocabulary=len(task.words), return_nodes=True)


def parsed(*texts, **options):
    return brackets.parse(tf.constant(texts), options.pop("arity", 2), **options)


def test_a_tree_with_labels_as_arrays():
    trees = parsed(GOOD, ONE, "((It)((is)(3 fun)))")
    assert trees.words.numpy().astype(str).tolist() == [
        ["", "A", "", "good", "film"],
        ["film", "", "", "", ""],
        ["", "It", "", "is", "fun"],
    ]
    assert trees.labels.numpy().astype(str).tolist() == [list("32442"), ["2"] + [""] * 4, ["", "", "", "", "3"]]
    right = [[1, 2], [-1, -1], [3, 4], [-1, -1], [-1, -1]]
    assert trees.children.numpy().tolist() == [right, [[-1, -1]] * 5, right]
    assert trees.parents.numpy().tolist() == [[-1, 0, 0, 2, 2], [-1] * 5, [-1, 0, 0, 2, 2]]
    assert trees.counts.numpy().tolist() == [5, 1, 5]
    phrases = trees.phrases().numpy().astype(str).tolist()
    assert phrases[0] == ["A good film", "A", "good film", "good", "film"]
    assert phrases[1] == ["film", "", "", "", ""]


def test_an_expression_as_arrays():
    trees = parsed("(MAX 2 (MIN 4 (7)) 0)", "(7)", arity=3, heads=True)
    assert trees.words.numpy().astype(str).tolist() == [["MAX", "2", "MIN", "4", "7", "0"], ["7", "", "", "", "", ""]]
    assert trees.children.numpy()[0, [0, 2]].tolist() == [[1, 2, 5], [3, 4, -1]]
    assert trees.children.numpy()[1].max() == -1
    assert trees.phrases().numpy()[0].astype(str).tolist() == ["2 4 7 0", "2", "4 7", "4", "7", "0"]


def test_a_long_chain_is_read_as_it_stands():
    size = 400
    trees = parsed("(0 (1 w) " * size + "(2 end)" + ")" * size)
    assert trees.counts.numpy() == 2 * size + 1
    assert trees.parents.numpy()[0, -1] == 2 * size - 2
    np.testing.assert_array_equal(trees.spans.numpy()[0, ::2][:-1, 0], np.arange(size))
    assert set(trees.spans.numpy()[0, ::2][:, 1]) == {size + 1}


WRONG = {
    "": "expected a tree in brackets, such as .*, received an empty text",
    "a": "expected a tree in brackets, such as",
    "(2 a) (2 b)": "expected one tree in each text, with one outermost bracket",
    "(2 (2 a)) x": "expected one tree in each text",
    "(2 (2 a) (2 b)": "expected as many brackets closed as opened",
    "(2 (2 a) (2 b) (2 c))": "expected at most 2 parts in a bracket",
    "(2 (2 a))": "expected 2 or more parts in each bracket that has any",
    "()": "expected a word in a bracket of its own",
    "(2 a b)": "expected a word in a bracket of its own",
    "(2 (2 a) b)": "expected a word in a bracket of its own",
    "(2 " * 3 + "(2 x)" + " (2 y))" * 3: None,
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_tree_is_refused(task, model, text):
    answer = export.as_arrays(task.signatures(model))
    if WRONG[text] is None:
        assert answer({"tree": np.array([text])})["label"].shape == (1, 7)
        return
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"tree: {WRONG[text]}") as caught:
        answer({"tree": np.array([GOOD, text])})
    if text:
        assert signatures.words(caught.value).endswith(f", received {text}")


def test_10_000_leaves_are_too_many(task, model):
    answer = export.as_arrays(task.signatures(model))
    with pytest.raises(tf.errors.InvalidArgumentError, match="tree: expected at most 2000 nodes in a tree"):
        answer({"tree": np.array(["((w) " * 9_999 + "(w)" + ")" * 9_999])})
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs: expected at most 2000 nodes"):
        answer({"inputs": np.ones((1, 2001), "int32"), "children": np.full((1, 2001, 2), -1, "int32")}, "logits")


@pytest.mark.parametrize(
    ("children", "message"),
    [
        ([[1, 2], [0, -1], [-1, -1]], r"one root each, received\W+0\W+in the rows"),
        ([[-1, -1], [0, 2], [1, -1]], "one root each|without cycles"),
        ([[1, -1], [1, -1], [-1, -1]], "with two parents, in the rows"),
        ([[1, 3], [-1, -1], [-1, -1]], "from 0 to below the number of nodes, or -1 for none"),
    ],
)
def test_arrays_that_are_no_tree_are_refused(task, model, children, message):
    answer = export.as_arrays(task.signatures(model))
    request = {"inputs": np.array([[2, 3, 1]], "int32"), "children": np.array([children], "int32")}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(request, "logits")
    right = request | {"children": np.array([[[1, 2], [-1, -1], [-1, -1]]], "int32")}
    assert answer(right, "logits")["logits"].shape == (1, 3, 5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs: expected 0 to"):
        answer(right | {"inputs": np.array([[2, 99, 1]], "int32")}, "logits")


def test_words_that_are_once_are_unknown(task):
    assert task.words == ["", UNKNOWN, "A", "film"]
    inputs = task.inputs(task.parse(tf.constant([GOOD, ODD])))
    assert inputs["inputs"].numpy().tolist() == [[0, 2, 0, 1, 3], [0, 0, 1, 2, 1]]


def test_batches_have_the_labels_of_all_nodes(task):
    (inputs, targets), *_ = task.batches(TRAIN).epoch()
    assert inputs["inputs"].shape == (3, 5)
    assert targets.numpy().tolist() == [[2, 0, 0, 0, 0], [3, 2, 4, 4, 2], [1, 2, 2, 2, 0]]
    sizes = [inputs["inputs"].shape for inputs, _ in task.batches(TRAIN, training=True).epoch()]
    assert sorted(map(tuple, sizes)) in ([(1, 5), (2, 5)], [(1, 1), (2, 5)])


def test_labels_are_needed_in_a_dataset():
    for text in ("((A) (good))", "(7 (2 A) (2 good))"):
        columns = {"tree": tf.constant([GOOD, text])}
        with pytest.raises(RecipeError, match="Expected a label of 0, 1, 2, 3, 4 at each node, received"):
            Trees(Config()).learn(batching.Splits(columns, TRAIN, TRAIN, facts={}, labels=LABELS))


def test_an_answer_is_the_same_alone_without_labels_and_after_restoring(task, model):
    other = Trees(Config())
    other.restore(task.state())
    answers = [export.as_arrays(one.signatures(model)) for one in (task, other)]
    both = answers[0]({"tree": np.array([GOOD, ODD])})
    for number in range(2):
        request = other.test_request(TRAIN, number)
        assert not set(request["tree"][0]) & set("34")
        alone = answers[1](request)
        np.testing.assert_allclose(alone["probabilities"][0], both["probabilities"][number], rtol=1e-5)
        assert alone["parent"][0].tolist() == both["parent"][number].tolist()
    assert both["phrase"][1, 1] == "8\u00a01\\/2 A"
    shown = task.show({name: value.tolist() for name, value in both.items()})
    assert [piece for piece in shown if piece in "()"] == [piece for piece in GOOD if piece in "()"]
    assert parsed(shown).labels.numpy().astype(str).tolist() == both["label"][:1].tolist()
    assert parsed(shown).words.numpy().astype(str).tolist() == [["", "A", "", "good", "film"]]
    assert task.truth(TRAIN, 0) == GOOD


def test_a_tree_or_its_file_is_read(task, tmp_path):
    (tmp_path / "a.txt").write_text(GOOD + "\n")
    assert task.read(GOOD)["tree"].tolist() == task.read(str(tmp_path / "a.txt"))["tree"].tolist() == [GOOD]
    with pytest.raises(RecipeError, match=r"Expected a tree in brackets, such as .* received 'good film'"):
        task.read("good film")


def test_figures_are_of_roots_halves_and_all_nodes(task, tmp_path):
    def answer(request):
        trees = task.parse(tf.constant(request["tree"]))
        shares = np.tile(np.eye(5)[2], (*trees.words.shape, 1))
        shares[:, 0] = np.eye(5)[3]
        return {"probabilities": shares}

    metrics = task.evaluate(answer, SPLITS, tmp_path)
    assert next(iter(metrics)) == "test_accuracy"
    assert metrics["test_accuracy"] == pytest.approx(1 / 3)
    assert metrics["binary_accuracy"] == pytest.approx(1 / 2)  # of two that are not neutral
    assert metrics["accuracy_of_all_nodes"] == pytest.approx(6 / 11)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion_matrix.png", *(f"tree_{number}.png" for number in range(3))
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["tree_lstm", "stacked_lstm"])
def test_an_expression_has_one_answer(kind, tmp_path):
    task = Expressions(dataclasses.replace(Config(), model=kind))
    splits = batching.Splits(OF_NUMBERS, OF_NUMBERS, OF_NUMBERS, facts={}, labels=list("0123456789"))
    task.learn(splits)
    sizes = {"features": 3, "outputs": 10, "vocabulary": len(task.words)}
    if kind == "tree_lstm":
        model = archs.tree_lstm(units=4, node="child_sum_lstm", **sizes)
    else:
        model = archs.stacked_lstm(units=[4], lengths=True, **sizes)
    other = Expressions(task.config)
    other.restore(task.state())
    answer = export.as_arrays(other.signatures(model))
    both = answer(task.request(OF_NUMBERS))
    alone = answer(task.test_request(OF_NUMBERS, 1))
    np.testing.assert_allclose(alone["probabilities"][0], both["probabilities"][1], rtol=1e-5)
    assert other.show(alone).startswith(f"{both['label'][1]} (probability ")
    for signature, request in task.sample(model, splits).items():
        assert np.all(np.isfinite(answer(request, signature)["probabilities" if signature != "logits" else "logits"]))
    for text, message in (
        ("(MOD 1 2)", r"no other words than 0 1 2 3 4 5 6 7 8 9 MAX MED MIN SM, received\W+MOD\W"),
        ("(MAX MIN 2)", r"parts behind MAX MED MIN SM, and behind no other word, received\W+MIN\W"),
        ("(MAX)", r"parts behind MAX MED MIN SM, and behind no other word, received\W+MAX\W"),
        ("(7 1 2)", r"parts behind MAX MED MIN SM, and behind no other word, received\W+7\W"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"tree: expected {message}"):
            answer({"tree": np.array(["(SM 1 (7))", text])})
    task.compile(model, 1)
    for inputs, targets in task.batches(OF_NUMBERS, training=True).epoch():
        assert np.all(np.isfinite(model.train_on_batch(inputs, targets)))

    def right_but_at_depth_2(request):
        return {
            "probabilities": np.eye(10)[[0 if "(M" in text[1:] or "(S" in text[1:] else 3 for text in request["tree"]]]
        }

    metrics = task.evaluate(right_but_at_depth_2, splits, tmp_path)
    assert metrics["accuracy_at_1"] == pytest.approx(1 / 2)
    assert metrics["accuracy_at_2"] == 0
    assert task.truth(OF_NUMBERS, 3) == "7"
