"""A label for each piece of a text: for each of its words, or of its characters."""

import functools

import keras
import numpy as np
import tensorflow as tf

from recipes._core.data import batching
from recipes._core.data.tables import check_several
from recipes._core.data.vocabulary import Vocabulary, most_frequent
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines, plots
from recipes._core.export import signatures
from recipes._core.settings import Count
from recipes._core.task import Task, count, slices

OWN = {"text": (str, "text"), "labels": (str, "labels"), "features": (Count, 64)}


class Tagging(Task):
    """The labels of the words of a text.

    A split has a column of texts, named as the signature's input, (examples,), words between spaces; and `labels`,
    (examples,), their labels between spaces. A word that the training texts have more than once has a number of its
    own; all others have the number 0.

    Attributes:
        text, piece, label: names of the signature's input, and of its outputs of pieces and labels.
        unknown: the piece of the vocabulary whose number all others get.
        vocabulary: the pieces that have a number, by their numbers.
        longest: pieces of a text that the signature takes.
        several: how many examples are evaluated at a time.
    """

    text, piece, label = "text", "word", "label"
    unknown = ""
    longest = signatures.LIMIT
    several = 100
    kept = ("labels", "vocabulary")
    own = OWN
    name = "tagging"

    def __init__(self, config):
        super().__init__(config)
        self.vocabulary = [self.unknown]

    @classmethod
    def columns_of(cls, config, tables):
        text, labels = tables["train"].find(config.text, "text"), tables["train"].find(config.labels, "labels")
        columns = {
            name: {cls.text: tf.constant(table.texts(text)), "labels": tf.constant(table.texts(labels))}
            for name, table in tables.items()
        }
        for name, table in tables.items():
            words, tags = (tf.strings.split(column).row_lengths().numpy() for column in columns[name].values())
            for row in np.flatnonzero(words != tags):
                place = table.place(row, labels)
                raise RecipeError(f"Expected a label for each of {words[row]} words in {place}, received {tags[row]}.")
        known = tf.strings.split(columns["train"]["labels"]).flat_values.numpy()
        check_several([label.decode() for label in set(known)], tables["train"], labels)
        return columns, []

    def model_arguments(self):
        return {
            "features": self.config.features,
            "outputs": max(2, len(self.labels)),
            "vocabulary": len(self.vocabulary),
            "return_sequences": True,
        }

    def pieces(self, texts):
        """The pieces of texts (batch,): ragged strings (batch, None)."""
        return tf.strings.split(texts)

    def normalize(self, pieces):
        """Ragged pieces as the vocabulary has them, for instance in lower case."""
        return pieces

    def targets(self, columns):
        """The numbers of the labels of a split, or of a batch of it: ragged int32 (examples, None)."""
        return self._label_numbers(tf.strings.split(columns["labels"]))

    def preprocess(self, texts, seed=None):
        """Makes the model's inputs, a dict: `inputs` (batch, time) and `lengths` (batch,), or inputs of its own.

        Args:
            texts: strings (batch,).
            seed: in training, of random changes to the examples; int32 tensor (2,). None: as they are.
        """
        pieces = self.pieces(texts)
        inputs = self.numbers(self.normalize(pieces)).to_tensor()
        return {"inputs": inputs, "lengths": tf.cast(pieces.row_lengths(), tf.int32)}

    def figures(self, splits, right):
        """Figures of the test split beside its accuracy; `right` has, for each of its pieces, if it was answered so."""
        known, known_labels = self.flat(splits.train)
        asked, truth = self.flat(splits.test)
        seen = set(known)
        is_new = np.array([piece not in seen for piece in asked])
        unseen, usual = f"unseen_{self.piece}s", f"most_frequent_{self.label}"
        result = {usual: baselines.most_frequent(known, known_labels, asked, truth)}
        if not is_new.any():
            return result
        of_new = baselines.most_frequent(known, known_labels, asked[is_new], truth[is_new])
        return {unseen: float(right[is_new].mean()), **result, f"{unseen}_{usual}": of_new}

    def draw(self, splits, truth, answered, folder):
        """Draws the numbers of the labels answered for all pieces of the test split, beside the right ones."""
        plots.confusion_matrix(truth, answered, self.labels, folder / "confusion_matrix.png")

    @functools.cached_property
    def numbers(self):
        """Function from ragged pieces to their numbers in the vocabulary."""
        with tf.init_scope():  # a table that is made within a graph stays there
            return Vocabulary(self.vocabulary, self.unknown).numbers

    @functools.cached_property
    def _label_numbers(self):
        with tf.init_scope():
            return Vocabulary(self.labels).numbers

    def restore(self, state):
        super().restore(state)
        for name in ("numbers", "_label_numbers"):
            self.__dict__.pop(name, None)

    def flat(self, columns):
        """All pieces of a split, as the vocabulary has them, and the numbers of their labels: arrays."""
        pieces = self.normalize(self.pieces(columns[self.text]))
        return pieces.flat_values.numpy(), self.targets(columns).flat_values.numpy()

    def learn(self, splits):
        """Takes the labels and the vocabulary from the data.

        Raises:
            RecipeError: a text has no piece, or not one label for each.
        """
        super().learn(splits)
        every = (splits.train, splits.validation, splits.test)
        if not self.labels:
            found = (tf.strings.split(columns["labels"]).flat_values.numpy() for columns in every)
            self.labels = sorted({label.decode() for labels in found for label in labels})
        for columns in every:
            self._check(columns)
        pieces, _ = self.flat(splits.train)
        self.vocabulary = [self.unknown, *most_frequent((piece.decode() for piece in pieces), times=2)]

    def _check(self, columns):
        pieces = self.pieces(columns[self.text]).row_lengths().numpy()
        labels = self.targets(columns).row_lengths().numpy()
        for number in np.flatnonzero((pieces != labels) | (pieces == 0)):
            (text,) = self.test_request(columns, number)[self.text]
            wanted = f"Expected a label for each {self.piece} of a {self.text}"
            raise RecipeError(f"{wanted}, received {labels[number]} for {str(text)!r}.")

    def batches(self, columns, training=False):
        def example(batch, seed):
            inputs = self.preprocess(batch[self.text], seed=seed if training else None)
            return inputs, self.targets(batch).to_tensor()

        size = self.config.batch_size if training else self.several
        seed = self.config.seed if training else None
        return batching.Batches(columns, size, example, seed, lengths=self.pieces(columns[self.text]).row_lengths())

    def compile(self, model, steps):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.optimizer(steps), loss, metrics=["accuracy"])

    def logits(self, model, texts):
        """The logits (batch, time, labels) of a model for texts (batch,)."""
        return model(self.preprocess(texts), training=False)

    def signatures(self, model):
        """Texts in; their pieces, and for each its label and the probabilities, out. And the model's own inputs."""

        def serving_default(inputs):
            pieces = self.pieces(inputs[self.text])
            lengths = tf.cast(pieces.row_lengths(), tf.int32)
            names = (self.text, None)
            pieces, lengths = signatures.checked_lengths(pieces.to_tensor(), lengths, self.longest, names)
            with tf.control_dependencies([lengths]):
                texts = tf.identity(inputs[self.text])
            logits = self.logits(model, texts)
            is_there = tf.sequence_mask(lengths)
            labels = tf.where(is_there, tf.gather(tf.constant(self.labels), tf.argmax(logits, axis=-1)), "")
            probabilities = tf.where(is_there[..., None], tf.nn.softmax(logits), 0)
            return {self.piece: pieces, self.label: labels, "probabilities": probabilities}

        specs = [tf.TensorSpec((None,), tf.string, name=self.text)]
        logits = signatures.logits(model, inputs=len(self.vocabulary))
        return {"serving_default": signatures.by_name(serving_default, specs), "logits": logits}

    def request(self, columns, rows=slice(None)):
        """A request of `serving_default` for some rows of a split."""
        texts = tf.convert_to_tensor(columns[self.text][rows]).numpy()
        return {self.text: np.array([text.decode() for text in texts])}

    def sample(self, model, splits):
        request = self.test_request(splits.test, 0)
        inputs = self.preprocess(tf.constant(request[self.text]))
        return {"serving_default": request, "logits": {name: value.numpy() for name, value in inputs.items()}}

    def test_request(self, columns, number):
        return self.request(columns, slice(number, number + 1))

    def truth(self, columns, number):
        example = {name: column[number : number + 1] for name, column in columns.items()}
        pieces = [piece.decode() for piece in self.pieces(example[self.text]).flat_values.numpy()]
        labels = [self.labels[number] for number in self.targets(example).flat_values.numpy()]
        return self.show({self.piece: [pieces], self.label: [labels]})

    def read(self, text):
        if not self.pieces(tf.constant([text])).flat_values.shape[0]:
            raise RecipeError(f"Expected a {self.text} or test:N, received no {self.piece}.")
        return {self.text: np.array([text])}

    def show(self, answer):
        pairs = zip(answer[self.piece][0], answer[self.label][0], strict=True)
        return " ".join(f"{piece}/{label}" for piece, label in pairs if label)

    def evaluate(self, answer, splits, folder=None):
        """Accuracy over all pieces, beside answering each with its most frequent label; draws a confusion matrix."""
        truth = self.targets(splits.test).flat_values.numpy()
        rows = slices(count(splits.test), self.several)
        answers = [answer(self.request(splits.test, some))[self.label] for some in rows]
        answered = np.concatenate([labels[labels != ""] for labels in answers])
        answered = np.array([self.labels.index(label) for label in answered])
        if folder:
            self.draw(splits, truth, answered, folder)
        right = answered == truth
        return {"test_accuracy": float(right.mean()), **self.figures(splits, right)}
