"""Symbols whose parity is asked, that are to be added, or written once more."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from recipes._core.data.vocabulary import Vocabulary
from recipes._core.errors import RecipeError
from recipes._core.export import signatures
from recipes._core.export.signatures import expect
from recipes.tasks.algorithmic import Algorithmic


class SymbolSequences(Algorithmic):
    """Symbols, written after others were read; in a request they are the characters of a text.

    A split has the columns `symbols` and `answer`, ints (examples, ...), and `length`, that of the symbols.

    Attributes:
        alphabet: the symbols that are read, by their numbers, one character each.
        outputs: how many of the first of them are written.
        backwards: whether the last symbol of an answer is written first.
        form: of a question, for errors.
    """

    alphabet = "01"
    outputs = 2
    backwards = False
    form = "0 and 1"

    def __init__(self, config):
        super().__init__(config)
        self.vocabulary = Vocabulary(list(self.alphabet))

    @property
    def blank(self):
        return len(self.alphabet)

    def first(self, columns):
        return columns["length"]

    def question(self, columns):
        symbols = tf.cast(columns["symbols"], tf.int32)
        return tf.where(tf.sequence_mask(columns["length"], tf.shape(symbols)[1]), symbols, self.blank)

    def answers(self, columns):
        return self.turned(tf.cast(columns["answer"], tf.int32), self.steps(columns))

    def turned(self, answers, steps):
        """Answers in the order in which the model writes them, from that of a person; or the other way round."""
        return tf.reverse_sequence(answers, steps, seq_axis=1) if self.backwards else answers

    def is_right(self, symbols, lengths):
        """Bools (batch,): which rows of symbols are questions."""
        return lengths > 0

    def checked(self, inputs):
        """The columns of questions, from what `serving_default` takes, once nothing is wrong with them."""
        pieces = tf.strings.unicode_split(signatures.checked_texts(inputs["symbols"], "symbols"), "UTF-8")
        lengths, symbols = tf.cast(pieces.row_lengths(), tf.int32), self.vocabulary.numbers(pieces).to_tensor()
        inside = tf.sequence_mask(lengths, tf.shape(symbols)[1])
        known = tf.reduce_all((symbols >= 0) | ~inside, axis=1)
        right = expect(known & self.is_right(symbols, lengths), f"symbols: expected {self.form}")
        few = expect(2 * lengths <= self.longest, f"symbols: expected at most {self.longest // 2}")
        return signatures.checked({"symbols": symbols, "length": lengths}, right, few)

    def costs(self, targets, logits):
        return keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)

    def decided(self, logits):
        return ops.cast(ops.argmax(logits, axis=-1), "int32")

    def signatures(self, model):
        """Texts in; the answer, the probability of each of its symbols, and logits in the order of the model, out."""

        def serving_default(inputs):
            columns = self.checked(inputs)
            logits, steps = self.logits(model, columns), self.steps(columns)
            inside, symbols = tf.sequence_mask(steps), self.turned(self.decided(logits), steps)
            names = tf.where(inside, self.vocabulary.names(symbols), "")
            probabilities = self.turned(tf.reduce_max(tf.nn.softmax(logits), axis=-1), steps)
            return {
                "answer": tf.strings.reduce_join(names, axis=1),
                "probabilities": tf.where(inside, probabilities, 0),
                "logits": logits,
            }

        specs = [tf.TensorSpec((None,), tf.string, name="symbols")]
        found = {"serving_default": signatures.by_name(serving_default, specs)}
        counts = {"inputs": self.blank + 1} if isinstance(model.input, dict) else {}  # otherwise it takes no tokens
        return found | {"logits": signatures.logits(model, **counts)}

    def text(self, symbols):
        """Symbols, an array of ints, as a text."""
        return "".join(self.alphabet[number] for number in symbols)

    def request(self, columns, rows=slice(None)):
        symbols, lengths = (np.asarray(columns[name][rows]) for name in ("symbols", "length"))
        return {"symbols": np.array([self.text(row[:n]) for row, n in zip(symbols, lengths, strict=True)])}

    def truth(self, columns, number):
        return self.text(np.asarray(columns["answer"][number]))

    def read(self, text):
        try:
            tf.function(self.checked)({"symbols": tf.constant([text])})
        except tf.errors.InvalidArgumentError:
            raise RecipeError(f"Expected {self.form}, or test:N, received {text!r}.") from None
        return {"symbols": np.array([text])}

    def show(self, answer):
        return f"{answer['answer'][0]} (probability {np.prod(answer['probabilities'][0]):.3f})"

    def evaluate(self, answer, splits, folder=None):
        """Share of answers without a mistake, beside always telling the most frequent symbol of each place."""
        ((_, wrong),) = self.measured(answer, splits.test).values()
        known, asked = (np.asarray(split["answer"]) for split in (splits.train, splits.test))
        usual = np.array([np.bincount(place).argmax() for place in known.T])
        return {
            "test_exact_match": float((wrong == 0).mean()),
            "most_frequent_symbols": float((asked == usual).all(axis=1).mean()),
            "test_symbol_accuracy": float(1 - wrong.mean() / asked.shape[1]),
        }
