"""A label for each text."""

import functools
import pathlib

import keras
import numpy as np
import tensorflow as tf

from recipes._core.data import batching
from recipes._core.data.tables import numbered
from recipes._core.data.vocabulary import Vocabulary, lower, most_frequent, words_and_marks
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines, plots
from recipes._core.export import signatures
from recipes._core.settings import Count, Rate
from recipes._core.task import Task, count, joined, slices

UNKNOWN = "<unk>"
OWN = {
    "text": (str, "text"),
    "label": (str, "label"),
    "vocabulary": (Count, 20_000),
    "longest": (Count, 400),
    "word_dropout": (Rate, 0.1),
    "features": (Count, 64),
}


class TextClassification(Task):
    """The label of a text, which is read as its words.

    A split has the columns `text`, strings (examples,), and `label`, ints (examples,). The settings `vocabulary` and
    `longest` say how many different words are known, the most frequent of the training texts, and how many words of a
    text are read, the last ones; `word_dropout` is the share of words that are hidden in training.

    Attributes:
        words: the vocabulary, first `UNKNOWN`, which stands for all other words.
        several: how many texts are evaluated at a time.
    """

    kept = ("labels", "words")
    own = OWN
    name = "text_classification"
    several = 250

    def __init__(self, config):
        super().__init__(config)
        self.words = [UNKNOWN]

    @classmethod
    def columns_of(cls, config, tables):
        text, label = tables["train"].find(config.text, "text"), tables["train"].find(config.label, "label")
        labels, numbers = numbered(tables, label)
        columns = {
            name: {"text": tf.constant(table.texts(text)), "label": numbers[name]} for name, table in tables.items()
        }
        return columns, labels

    def model_arguments(self):
        return {
            "features": self.config.features,
            "outputs": max(2, len(self.labels)),
            "vocabulary": len(self.words),
            "pooling": "max",
        }

    @functools.cached_property
    def vocabulary(self):
        """`Vocabulary` of the words."""
        return Vocabulary(self.words, unknown=UNKNOWN)

    def split(self, text):
        """The words of a tensor of texts, ragged (batch, None): in lower case, punctuation apart."""
        return words_and_marks(lower(text, zero=" "))

    def learn(self, splits):
        super().learn(splits)
        words = (word.decode() for word in self.split(splits.train["text"]).flat_values.numpy())
        self.words = [UNKNOWN, *most_frequent(words, self.config.vocabulary - 1)]
        self.__dict__.pop("vocabulary", None)

    def restore(self, state):
        super().restore(state)
        self.__dict__.pop("vocabulary", None)

    def preprocess(self, text):
        """Makes the model's inputs from a tensor of texts: `inputs`, the numbers of their last words, and `lengths`."""
        words = self.split(text)[:, -self.config.longest :]
        lengths = tf.cast(words.row_lengths(), tf.int32)
        return {"inputs": self.vocabulary.numbers(words).to_tensor(), "lengths": lengths}

    def batches(self, columns, training=False):
        known = self.preprocess(columns["text"]) | {"label": columns["label"]}

        def example(batch, seed):
            tokens, lengths = batch["inputs"][:, : tf.reduce_max(batch["lengths"])], batch["lengths"]
            if training:
                hidden = tf.random.stateless_uniform(tf.shape(tokens), seed) < self.config.word_dropout
                tokens = tf.where(hidden, 0, tokens)
            return {"inputs": tokens, "lengths": lengths}, batch["label"]

        size = self.config.batch_size if training else self.several
        return batching.Batches(known, size, example, self.config.seed if training else None, known["lengths"])

    def compile(self, model, steps):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.optimizer(steps), loss, metrics=["accuracy"])

    def signatures(self, model):
        """Texts in, labels and probabilities out; and the model's own inputs."""

        def serving_default(inputs):
            text = signatures.checked_texts(inputs["text"], "text")
            logits = model(self.preprocess(text), training=False)
            label = tf.gather(tf.constant(self.labels), tf.argmax(logits, axis=-1))
            return {"label": label, "probabilities": tf.nn.softmax(logits), "logits": logits}

        specs = [tf.TensorSpec((None,), tf.string, name="text")]
        return {
            "serving_default": signatures.by_name(serving_default, specs),
            "logits": signatures.logits(model, inputs=len(self.words)),
        }

    def request(self, texts):
        """A request of `serving_default` for a list of texts."""
        return {"text": np.array([text.decode() if isinstance(text, bytes) else text for text in texts])}

    def sample(self, model, splits):
        logits = signatures.first(self.batches(splits.validation))
        return {"serving_default": self.test_request(splits.test, 0), "logits": logits}

    def test_request(self, columns, number):
        return self.request([columns["text"][number].numpy()])

    def truth(self, columns, number):
        return self.labels[int(columns["label"][number])]

    def read(self, text):
        """A request from a text, or from the path of one."""
        path = pathlib.Path(text) if len(text) < 1000 and "\n" not in text and "\0" not in text else None
        if path and path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise RecipeError(f"Expected a text in UTF-8 in {path}, received another file ({error}).") from None
        if not text.strip():
            raise RecipeError("Expected a text, the path of one or test:N, received an empty text.")
        return self.request([text])

    def show(self, answer):
        return f"{answer['label'][0]} (probability {max(answer['probabilities'][0]):.3f})"

    def evaluate(self, answer, splits, folder=None):
        """Accuracy, beside a logistic regression on the words and the most frequent label; draws a confusion matrix."""
        texts = splits.test["text"].numpy()
        rows = slices(count(splits.test), self.several)
        answered = joined([answer(self.request(texts[some])) for some in rows])["probabilities"].argmax(-1)
        known, truth = (np.asarray(split["label"]) for split in (splits.train, splits.test))
        if folder:
            plots.confusion_matrix(truth, answered, self.labels, folder / "confusion_matrix.png")
        known_words, words = (self.split(split["text"]).to_list() for split in (splits.train, splits.test))
        return {
            "test_accuracy": float((answered == truth).mean()),
            "bag_of_words": baselines.bag_of_words(known_words, known, words, truth),
            "majority_class": baselines.majority_class(known, truth),
        }
