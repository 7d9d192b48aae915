"""Questions that an algorithm answers: what all of them have in common."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from recipes._core.data import batching
from recipes._core.export import signatures
from recipes._core.task import Task, count, joined, slices

NOT_ASKED = -1  # the target where nothing is to be written


class Algorithmic(Task):
    """The answer to a question that is read to its end first: while the answer is written, nothing is read.

    A split has the columns of its questions, and `length`, (examples,). Those of the test split may be of several
    sizes, which are measured one by one; the first of them is the one that counts.

    Attributes:
        blank: what is read while the answer is written.
        longest: time steps that `serving_default` takes, of question and answer.
        several: how many examples are evaluated at a time.
    """

    kept = ()
    blank = 0
    longest = 2000
    several = 100

    def question(self, columns):
        """Inputs (batch, time, ...), `blank` after the end of each question, from columns of questions."""
        raise NotImplementedError

    def first(self, columns):
        """The first time step of each answer, int32 (batch,)."""
        raise NotImplementedError

    def steps(self, columns):
        """The number of time steps of each answer, int32 (batch,)."""
        raise NotImplementedError

    def answers(self, columns):
        """The right answers, int32 (batch, steps, ...); those after the end of an answer are undefined."""
        raise NotImplementedError

    def sizes(self, columns):
        """The size of each question, a list of str."""
        return [str(length) for length in np.asarray(columns["length"])]

    def cut(self, columns):
        """The columns without the padding that none of their questions needs."""
        return columns

    def request(self, columns, rows=slice(None)):
        """A request of `serving_default` for some rows of a split."""
        raise NotImplementedError

    def costs(self, targets, logits):
        """Cross-entropy of each target, in nats."""
        raise NotImplementedError

    def decided(self, logits):
        """The likeliest answer, int32."""
        raise NotImplementedError

    def inputs(self, columns):
        """The inputs of the model, a dict of `inputs` and `lengths`."""
        read, lengths = self.question(columns), self.first(columns) + self.steps(columns)
        longest = tf.reduce_max(lengths)
        read = read[:, :longest]
        behind = [[0, 0], [0, longest - tf.shape(read)[1]], *[[0, 0]] * (len(read.shape) - 2)]
        return {"inputs": tf.pad(read, behind, constant_values=tf.cast(self.blank, read.dtype)), "lengths": lengths}

    def targets(self, columns):
        """Each answer at its time steps, `NOT_ASKED` elsewhere: int32 (batch, time, ...)."""
        answers, first, steps = self.answers(columns), self.first(columns), self.steps(columns)
        place = tf.range(tf.reduce_max(first + steps)) - first[:, None]
        inside = (place >= 0) & (place < steps[:, None])
        placed = tf.gather(answers, tf.clip_by_value(place, 0, tf.shape(answers)[1] - 1), axis=1, batch_dims=1)
        return tf.where(like(inside, placed), placed, NOT_ASKED)

    def logits(self, model, columns):
        """The logits (batch, steps, ...) of the answers, zeros after the end of each."""
        logits = model(self.inputs(columns), training=False)
        inside = tf.sequence_mask(self.steps(columns))
        place = tf.where(inside, self.first(columns)[:, None] + tf.range(tf.shape(inside)[1]), 0)
        logits = tf.gather(logits, place, axis=1, batch_dims=1)
        return tf.where(like(inside, logits), logits, 0)

    def batches(self, columns, training=False):
        def example(batch, seed):
            batch = self.cut(batch)
            return self.inputs(batch), self.targets(batch)

        size = self.config.batch_size if training else self.several
        lengths = self.first(columns) + self.steps(columns)
        return batching.Batches(columns, size, example, self.config.seed if training else None, lengths)

    def optimizer(self, steps):
        """As of other tasks, but `clipnorm` is of all gradients together, which keep their direction."""
        optimizer = super().optimizer(steps)
        optimizer.clipnorm, optimizer.global_clipnorm = None, optimizer.clipnorm
        return optimizer

    def compile(self, model, steps):
        model.compile(self.optimizer(steps), Cost(self.costs), metrics=[Wrong(self.decided)])

    def sample(self, model, splits):
        logits = signatures.first(self.batches(splits.validation))
        return {"serving_default": self.test_request(splits.test, 0), "logits": logits}

    def test_request(self, columns, number):
        return self.request(columns, slice(number, number + 1))

    def measured(self, answer, columns):
        """Measures what each answer costs, in bits, and how much of it is wrong, by the size of its question.

        Args:
            answer: see `evaluate`.
            columns: of a split.

        Returns:
            A dict of size to two float arrays (examples,).
        """
        sizes, found = np.array(self.sizes(columns)), {}
        for size in dict.fromkeys(sizes.tolist()):
            (rows,) = np.nonzero(sizes == size)
            same = self.cut({name: tf.gather(column, rows) for name, column in columns.items()})
            logits = joined([answer(self.request(same, some)) for some in slices(count(same), self.several)])["logits"]
            answers = self.answers(same)
            costs, wrong = self.costs(answers, logits), self.decided(logits) != answers
            found[size] = np.asarray(per_row(costs)) / math.log(2), np.asarray(per_row(wrong))
        return found


class Cost(keras.losses.Loss):
    """Mean over the sequences of what their answers cost, in bits: all that is asked in a sequence, added up.

    Args:
        costs: function (targets, logits) -> cross-entropy of each target, in nats.
    """

    def __init__(self, costs):
        super().__init__(name="cost")
        self.costs = costs

    def __call__(self, y_true, y_pred, sample_weight=None):  # the targets themselves say which of them count
        asked = y_true != NOT_ASKED
        costs = self.costs(ops.where(asked, y_true, 0), y_pred)
        return ops.mean(per_row(ops.where(asked, costs, 0))) / math.log(2)


class Wrong(keras.metrics.Mean):
    """Mean over the sequences of how many bits, or symbols, of an answer are wrong.

    Args:
        decided: function logits -> the likeliest answer.
    """

    def __init__(self, decided):
        super().__init__(name="wrong")
        self.decided = decided

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(per_row(ops.logical_and(y_true != NOT_ASKED, self.decided(y_pred) != y_true)))


def per_row(values):
    """The sums of (batch, ...) over all but the first axis."""
    values = ops.cast(values, "float32")
    return ops.sum(values, axis=tuple(range(1, len(values.shape))))


def like(mask, values):
    """A mask (batch, time) that goes with values (batch, time, ...)."""
    for _ in values.shape[2:]:
        mask = mask[..., None]
    return mask
