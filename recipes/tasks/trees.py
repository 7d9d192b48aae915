"""Trees in brackets: a label for every node, or one for the whole tree."""

import functools
import pathlib

import keras
import numpy as np
import tensorflow as tf

from recipes._core.data import batching
from recipes._core.data.vocabulary import Vocabulary, most_frequent
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines, plots
from recipes._core.export import brackets, signatures
from recipes._core.export.signatures import expect
from recipes._core.task import Task, count, slices

UNKNOWN = "<unk>"


class RootAccuracy(keras.metrics.Mean):
    """Share of the trees whose first node, which is the root, has its label."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        right = tf.argmax(y_pred[:, 0], axis=-1, output_type=tf.int32) == tf.cast(y_true[:, 0], tf.int32)
        super().update_state(tf.cast(right, tf.float32))


class Trees(Task):
    """The label of the phrase at each node of a binary tree in brackets.

    A split has the column `tree`, strings (examples,), such as `(3 (2 A) (4 (2 good) (2 film)))`, with the labels of
    all nodes. In a request labels may be left out, and are not read. A word that the training trees have `times` times
    has a number of its own; all others have that of `UNKNOWN`.

    Attributes:
        words: the vocabulary: no word, `UNKNOWN`, and the words that have a number.
        heads: whether brackets begin with a word, see `brackets.parse`.
        arity: the largest number of parts of a bracket.
        parts: the smallest.
        form: a tree, for errors.
        longest: nodes of a tree that the signature takes.
        several: how many trees are evaluated at a time.
        times: how often a word must be in the training trees to have a number of its own.
    """

    kept = ("labels", "words")
    heads = False
    arity = parts = 2
    form = "(3 (2 A) (4 (2 good) (2 film)))"
    longest = 2000
    several = 100
    times = 2

    def __init__(self, config):
        super().__init__(config)
        self.words = ["", UNKNOWN]

    @functools.cached_property
    def vocabulary(self):
        """`Vocabulary` of the words."""
        return Vocabulary(self.words, unknown=UNKNOWN)

    def restore(self, state):
        super().restore(state)
        self.__dict__.pop("vocabulary", None)

    def parse(self, texts, longest=None):
        """The `brackets.Trees` of texts (batch,), once each bracket has parts enough."""
        trees = brackets.parse(texts, self.arity, heads=self.heads, longest=longest)
        parts = tf.reduce_sum(tf.cast(trees.children >= 0, tf.int32), axis=-1)
        expected = f"{self.parts} or more parts in each bracket that has any, as in {self.form}"
        is_right = (parts == 0) | (parts >= self.parts)
        with tf.control_dependencies([brackets.expect_texts(texts, "tree", is_right, expected)]):
            trees.children = tf.identity(trees.children)
        return trees

    def inputs(self, trees):
        """The model's inputs from `brackets.Trees`: `inputs`, the numbers of the words, and `children`."""
        return {"inputs": self.vocabulary.numbers(trees.words), "children": trees.children}

    def learn(self, splits):
        super().learn(splits)
        for columns in (splits.train, splits.validation, splits.test):
            self.check(self.parse(columns["tree"]), columns)
        leaves = self.parse(splits.train["tree"]).words.numpy().ravel()
        self.words = ["", UNKNOWN, *most_frequent((word.decode() for word in leaves[leaves != b""]), times=self.times)]
        self.__dict__.pop("vocabulary", None)

    def check(self, trees, columns):
        """Refuses trees of a dataset without labels.

        Raises:
            RecipeError: a node has none, or another one.
        """
        known = np.array([label.encode() for label in self.labels])
        is_node = np.arange(trees.words.shape[1]) < trees.counts.numpy()[:, None]
        wrong = is_node & ~np.isin(trees.labels.numpy(), known)
        for row in np.flatnonzero(wrong.any(axis=1)):
            text = columns["tree"][row].numpy().decode()
            raise RecipeError(f"Expected a label of {', '.join(self.labels)} at each node, received {text[:200]!r}.")

    def targets(self, trees, columns):
        """The numbers of the labels, int32 (examples, nodes), 0 at padding."""
        return tf.maximum(Vocabulary(self.labels).numbers(trees.labels), 0)

    def batches(self, columns, training=False):
        trees = self.parse(columns["tree"])
        known = self.inputs(trees) | {"targets": self.targets(trees, columns), "counts": trees.counts}

        def example(batch, seed):
            batch = {name: a[:, : tf.reduce_max(batch["counts"])] if a.ndim > 1 else a for name, a in batch.items()}
            return {name: a for name, a in batch.items() if name not in ("targets", "counts")}, batch["targets"]

        size = self.config.batch_size if training else self.several
        return batching.Batches(known, size, example, self.config.seed if training else None, known["counts"])

    def compile(self, model, steps):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = ["accuracy", RootAccuracy(name="root_accuracy")]
        model.compile(self.optimizer(steps), loss, metrics=metrics)

    def answer(self, trees, logits):
        """Returns the answer of `serving_default`."""
        is_node = tf.range(tf.shape(trees.words)[1]) < trees.counts[:, None]
        labels = tf.gather(tf.constant(self.labels), tf.argmax(logits, axis=-1))
        return {
            "phrase": trees.phrases(),
            "label": tf.where(is_node, labels, ""),
            "probabilities": tf.where(is_node[..., None], tf.nn.softmax(logits), 0),
            "parent": trees.parents,
        }

    def signatures(self, model):
        """Trees in brackets in; of each node its phrase, label, probabilities and parent out. And the model's own."""

        def serving_default(inputs):
            trees = self.parse(inputs["tree"], self.longest)
            return self.answer(trees, model(self.inputs(trees), training=False))

        def logits(inputs):
            inputs = signatures.checked_rows(inputs)
            tokens = signatures.checked_tokens(inputs["inputs"], len(self.words), "inputs")
            nodes, rows = tf.shape(tokens)[1], tf.shape(inputs["children"])[1]
            tokens, children = signatures.checked(
                {"inputs": tokens, "children": inputs["children"]},
                expect(nodes <= self.longest, f"inputs: expected at most {self.longest} nodes", nodes),
                expect(rows == nodes, "children: expected a row for each node", rows),
            ).values()
            return {"logits": tf.cast(model({"inputs": tokens, "children": children}, training=False), tf.float32)}

        specs = [tf.TensorSpec(x.shape, x.dtype, name=name) for name, x in model.input.items()]
        return {
            "serving_default": signatures.by_name(serving_default, [tf.TensorSpec((None,), tf.string, name="tree")]),
            "logits": signatures.by_name(logits, specs),
        }

    def request(self, columns, rows=slice(None)):
        """A request of `serving_default` for some rows of a split, without the labels."""
        labelled = r"\((" + "|".join(self.labels) + ") "
        texts = tf.strings.regex_replace(columns["tree"][rows], labelled, "(")
        return {"tree": np.array([text.decode() for text in texts.numpy()])}

    def sample(self, model, splits):
        request = self.test_request(splits.test, 0)
        inputs = self.inputs(self.parse(tf.constant(request["tree"])))
        return {"serving_default": request, "logits": {name: value.numpy() for name, value in inputs.items()}}

    def test_request(self, columns, number):
        return self.request(columns, slice(number, number + 1))

    def truth(self, columns, number):
        return columns["tree"][number].numpy().decode()

    def read(self, text):
        """A request from a tree in brackets, or from the path of one."""
        path = pathlib.Path(text) if len(text) < 1000 and "\n" not in text and "\0" not in text else None
        if path and path.is_file():
            text = path.read_text(encoding="utf-8")
        if "(" not in text:
            raise RecipeError(
                f"Expected a tree in brackets, such as {self.form}, its path or test:N, received {text!r}."
            )
        return {"tree": np.array([text.strip()])}

    def show(self, answer):
        parents, labels, phrases = (np.asarray(answer[name][0]) for name in ("parent", "label", "phrase"))
        shown = {}
        for node in reversed(np.flatnonzero(labels != "")):
            parts = [shown.pop(child) for child in np.flatnonzero(parents == node)]
            shown[node] = f"({labels[node]} {' '.join(parts) or phrases[node]})"
        return shown[0]

    def evaluate(self, answer, splits, folder=None):
        """Accuracy of the roots, of those that are not neutral by halves, and of all nodes; draws the first trees."""
        trees = self.parse(splits.test["tree"])
        truth, known = (self.targets(self.parse(split["tree"]), split).numpy() for split in (splits.test, splits.train))
        answers = [answer(self.request(splits.test, rows)) for rows in slices(count(splits.test), self.several)]
        probabilities = [
            row[:nodes]
            for row, nodes in zip(
                (row for one in answers for row in one["probabilities"]), trees.counts.numpy(), strict=True
            )
        ]
        roots = np.array([row[0] for row in probabilities])
        right = np.concatenate([row.argmax(-1) == of[: len(row)] for row, of in zip(probabilities, truth, strict=True)])
        if folder:
            plots.confusion_matrix(truth[:, 0], roots.argmax(-1), self.labels, folder / "confusion_matrix.png")
            for number in range(min(4, len(roots))):
                size = len(probabilities[number])
                plots.tree(
                    [word.decode() for word in trees.words.numpy()[number, :size]],
                    trees.parents.numpy()[number, :size],
                    probabilities[number] @ np.linspace(0, 1, len(self.labels)),
                    folder / f"tree_{number}.png",
                )
        middle = (len(self.labels) - 1) / 2
        is_decided = truth[:, 0] != middle
        negative, positive = (roots[:, side].sum(-1) for side in self.halves)
        words = [[list(row) for row in self.parse(s["tree"]).leaves.to_list()] for s in (splits.train, splits.test)]
        return {
            "test_accuracy": float((roots.argmax(-1) == truth[:, 0]).mean()),
            "binary_accuracy": float(((positive > negative) == (truth[:, 0] > middle))[is_decided].mean()),
            "accuracy_of_all_nodes": float(right.mean()),
            "bag_of_words": baselines.bag_of_words(words[0], known[:, 0], words[1], truth[:, 0]),
            "majority_class": baselines.majority_class(known[:, 0], truth[:, 0]),
        }

    @property
    def halves(self):
        """The numbers of the labels below and above the middle."""
        size = len(self.labels)
        return np.arange(size // 2), np.arange(-(-size // 2), size)


class Expressions(Trees):
    """The label of a tree whose brackets begin with a word, such as `(MAX 2 9 (MIN 4 7))`.

    A split has the columns `tree`, strings (examples,), `label`, ints (examples,), and `depth`, how many brackets are
    within each other. With the setting `model` another than `tree_lstm`, the model reads the text as a sequence.

    Attributes:
        operators: the words that brackets with parts begin with; no other brackets begin with them.
        deepest: of the trees that are trained on.
    """

    kept = (*Trees.kept, "operators")
    operators = ()
    heads = True
    arity = 5
    times = 1
    form = "(MAX 2 9 (MIN 4 7))"
    deepest = 6

    @property
    def is_sequence(self):
        return self.config.model != "tree_lstm"

    def parse(self, texts, longest=None):
        trees = super().parse(texts, longest)
        if self.operators:
            is_known = self.vocabulary.numbers(trees.words) != 1
            words = " ".join(sorted(word for word in self.words[2:] if word not in "()"))
            known = expect(is_known, f"tree: expected no other words than {words}", trees.words)
            is_operator = tf.reduce_any(trees.words[..., None] == tf.constant(self.operators), axis=-1)
            is_right = is_operator == tf.reduce_any(trees.children >= 0, axis=-1)
            with tf.control_dependencies([known]):
                message = f"tree: expected parts behind {' '.join(self.operators)}, and behind no other word"
                right = expect(is_right, message, trees.words)
            with tf.control_dependencies([right]):
                trees.words = tf.identity(trees.words)
        return trees

    def inputs(self, trees):
        if not self.is_sequence:
            return super().inputs(trees)
        lengths = tf.reduce_sum(tf.cast(trees.pieces != "", tf.int32), axis=1)
        return {"inputs": self.vocabulary.numbers(trees.pieces), "lengths": lengths}

    def learn(self, splits):
        self.words, self.operators = ["", UNKNOWN], ()
        super().learn(splits)
        trees = self.parse(splits.train["tree"])
        heads = tf.boolean_mask(trees.words, tf.reduce_any(trees.children >= 0, axis=-1))
        self.operators = sorted({word.decode() for word in heads.numpy()})
        self.words = [*self.words, "(", ")"]

    def check(self, trees, columns):
        """Takes all: the labels are a column."""

    def targets(self, trees, columns):
        return columns["label"]

    def batches(self, columns, training=False):
        batches = super().batches(columns, training)
        if self.is_sequence:
            batches.columns["counts"] = batches.columns["lengths"]
        return batches

    def compile(self, model, steps):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.optimizer(steps), loss, metrics=["accuracy"])

    def answer(self, trees, logits):
        label = tf.gather(tf.constant(self.labels), tf.argmax(logits, axis=-1))
        return {"label": label, "probabilities": tf.nn.softmax(logits)}

    def signatures(self, model):
        """Trees in brackets in; of each its label and the probabilities of all out. And the model's own inputs."""
        found = super().signatures(model)
        return found | ({"logits": signatures.logits(model, inputs=len(self.words))} if self.is_sequence else {})

    def request(self, columns, rows=slice(None)):
        return {"tree": np.array([text.decode() for text in columns["tree"][rows].numpy()])}

    def truth(self, columns, number):
        return self.labels[int(columns["label"][number])]

    def show(self, answer):
        return f"{answer['label'][0]} (probability {max(answer['probabilities'][0]):.3f})"

    def evaluate(self, answer, splits, folder=None):
        """Accuracy of trees as deep as those that are trained on, and of each depth."""
        truth, depths = (np.asarray(splits.test[name]) for name in ("label", "depth"))
        rows = slices(count(splits.test), self.several)
        asked = (answer(self.request(splits.test, some))["probabilities"].argmax(-1) for some in rows)
        answered = np.concatenate(list(asked))
        right, is_known = answered == truth, depths <= self.deepest
        if folder:
            plots.confusion_matrix(truth, answered, self.labels, folder / "confusion_matrix.png")
        return {
            "test_accuracy": float(right[is_known].mean()),
            "accuracy_of_deeper": float(right[~is_known].mean()) if np.any(~is_known) else float("nan"),
            **{f"accuracy_at_{depth}": float(right[depths == depth].mean()) for depth in np.unique(depths)},
            "majority_class": baselines.majority_class(np.asarray(splits.train["label"]), truth),
        }
