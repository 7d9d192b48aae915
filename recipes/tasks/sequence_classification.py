"""A label for each sequence: of vectors, of frames, of samples."""

import collections

import keras
import numpy as np
import tensorflow as tf

from recipes._core.data import batching, signals
from recipes._core.data.tables import numbered
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines, plots
from recipes._core.export import signatures
from recipes._core.task import Task, count, joined, slices

OWN = {"sequence": (str, ""), "label": (str, "label"), "columns": (str, "")}


class SequenceClassification(Task):
    """The label of a sequence.

    A split has a column of sequences, named as the signature's input, (examples, time, ...); `<name>_length`,
    (examples,), where they differ in length; and `label`, (examples,).

    Attributes:
        sequences: `tf.TensorSpec` (None, None, ...) of the signature's input of sequences, named.
        longest: time steps of a sequence that the signature takes.
        several: how many examples are evaluated at a time.
    """

    sequences = tf.TensorSpec((None, None, None), tf.float32, name="sequences")
    longest = signatures.LIMIT
    several = 500

    def preprocess(self, sequences, lengths, seed=None):
        """Makes the model's inputs, a dict of `inputs` and `lengths`.

        Args:
            sequences: tensor (batch, time, ...) of the signature's dtype.
            lengths: int32 tensor (batch,).
            seed: in training, of random changes to the examples; int32 tensor (2,). None: as they are.
        """
        return {"inputs": tf.cast(sequences, tf.float32), "lengths": lengths}

    def decode(self, sequences):
        """Sequences of a split, a tensor, as the signature takes them."""
        return tf.cast(sequences, self.sequences.dtype)

    def read_file(self, path):
        """The sequence in a file that a person names, an array (time, ...)."""
        raise NotImplementedError

    def baselines(self, splits):
        """Further figures of the test split, by name: what models reach that are simpler."""
        return {}

    def draw(self, splits, answers, folder):
        """Draws more than the confusion matrix; `answers` are the outputs for the test split."""

    def targets(self, batch):
        """Gives the targets of the model, for a batch of a split's columns."""
        return batch["label"]

    def batches(self, columns, training=False):
        def example(batch, seed):
            inputs = self.preprocess(*self._of(batch), seed=seed if training else None)
            return inputs, self.targets(batch)

        size = self.config.batch_size if training else self.several
        seed = self.config.seed if training else None
        lengths = columns.get(f"{self.sequences.name}_length")
        return batching.Batches(columns, size, example, seed, lengths)

    def _of(self, columns):
        """Sequences, as the signature takes them, and lengths of a batch of columns."""
        sequences = tf.convert_to_tensor(columns[self.sequences.name])
        lengths = columns.get(f"{self.sequences.name}_length")
        if lengths is None:
            examples, time = tf.unstack(tf.shape(sequences)[:2])
            return self.decode(sequences), tf.fill([examples], time)
        return self.decode(sequences[:, : tf.reduce_max(lengths)]), lengths

    def compile(self, model, steps):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.optimizer(steps), loss, metrics=["accuracy"])

    def logits(self, model, sequences, lengths):
        """The logits (batch, outputs) of a model for what the signature takes."""
        return model(self.preprocess(sequences, lengths), training=False)

    def answer(self, logits):
        """The outputs of `serving_default`, by name."""
        label = tf.gather(tf.constant(self.labels), tf.argmax(logits, axis=-1))
        return {"label": label, "probabilities": tf.nn.softmax(logits), "logits": logits}

    def signatures(self, model):
        """Sequences and their lengths in, labels and probabilities out; and the model's own inputs."""
        names = (self.sequences.name, "lengths")
        check = signatures.checked_signals if self.sequences.dtype.is_floating else signatures.checked_lengths

        def serving_default(inputs):
            return self.answer(self.logits(model, *check(*inputs.values(), self.longest, names=names)))

        specs = [self.sequences, tf.TensorSpec((None,), tf.int32, name="lengths")]
        return {"serving_default": signatures.by_name(serving_default, specs), "logits": signatures.logits(model)}

    def request(self, columns, rows=slice(None)):
        """A request of `serving_default` for some rows of a split."""
        sequences, lengths = self._of({name: column[rows] for name, column in columns.items()})
        return {self.sequences.name: np.asarray(sequences), "lengths": np.asarray(lengths)}

    def sample(self, model, splits):
        logits = signatures.first(self.batches(splits.validation))
        return {"serving_default": self.request(splits.test, slice(0, 1)), "logits": logits}

    def test_request(self, columns, number):
        return self.request(columns, slice(number, number + 1))

    def truth(self, columns, number):
        return self.labels[int(columns["label"][number])]

    def read(self, text):
        sequence = np.asarray(self.read_file(text), self.sequences.dtype.as_numpy_dtype)
        return {self.sequences.name: sequence[None], "lengths": np.array([len(sequence)], np.int32)}

    def show(self, answer):
        return f"{answer['label'][0]} (probability {max(answer['probabilities'][0]):.3f})"

    def dtw_1nn(self, splits, steps=32, band=6):
        """Accuracy of the nearest training sequence's label: nearest by dynamic time warping of what the model takes.

        Args:
            splits: what the page's `load` returned.
            steps: time steps that each sequence is resampled to.
            band: how many of them two sequences may be apart.
        """

        def resampled(columns):
            batches = self.batches(columns).epoch()
            pairs = [(signals.resample(x["inputs"], x["lengths"], steps), labels) for x, labels in batches]
            return (np.concatenate(values) for values in zip(*pairs, strict=True))

        return baselines.dtw_1nn(*resampled(splits.train), *resampled(splits.test), band)

    def answers(self, answer, columns):
        """The outputs of `serving_default` for all examples of a split; see `evaluate` for `answer`."""
        return joined([answer(self.request(columns, rows)) for rows in slices(count(columns), self.several)])

    def evaluate(self, answer, splits, folder=None):
        """Accuracy, beside always answering the most frequent label; draws a confusion matrix."""
        answers = self.answers(answer, splits.test)
        known, truth = (np.asarray(split["label"]) for split in (splits.train, splits.test))
        answered = answers["probabilities"].argmax(-1)
        if folder:
            plots.confusion_matrix(truth, answered, self.labels, folder / "confusion_matrix.png")
            self.draw(splits, answers, folder)
        return {
            "test_accuracy": float((answered == truth).mean()),
            "majority_class": baselines.majority_class(known, truth),
            **self.baselines(splits),
        }


class TableClassification(SequenceClassification):
    """The label of a sequence of rows of one's own table, standardised by mean and deviation of the training part.

    The setting `sequence` names the column whose equal values make a sequence of rows, all with one label; without it
    each row is an example, whose columns hold sequences. `columns` names those of numbers; default: all others.
    """

    own = OWN
    name = "sequence_classification"
    key = "sequence"
    kept = ("labels", "mean", "deviation")

    def __init__(self, config):
        super().__init__(config)
        self.mean, self.deviation = [0.0], [1.0]

    @property
    def sequences(self):
        return tf.TensorSpec((None, None, len(self.mean)), tf.float32, name="sequences")

    @classmethod
    def columns_of(cls, config, tables):
        train = tables["train"]
        label = train.find(config.label, "label")
        names = [name.strip() for name in config.columns.split(",") if name.strip()]
        names = names or [name for name in train.names if name not in (label, config.sequence)]
        if not names:
            beside = ", ".join(filter(None, (label, config.sequence)))
            raise RecipeError(f"Expected columns of numbers beside {beside} in {train.source}, received none.")
        examples = {name: cls._examples(table, config.sequence, label, names) for name, table in tables.items()}
        features = examples["train"][0][0].shape[-1]
        for sequences, table in examples.values():
            for row, sequence in enumerate(sequences):
                if sequence.shape[-1] != features:
                    place = table.place(row, ", ".join(names))
                    raise RecipeError(
                        f"Expected {features} numbers for each time step in {place}, received {sequence.shape[-1]}."
                    )
        labels, numbers = numbered({name: table for name, (_, table) in examples.items()}, label)
        columns = {}
        for name, (sequences, _) in examples.items():
            found = batching.columns({"sequences": sequence} for sequence in sequences)
            columns[name] = found | {"label": numbers[name]}
        return columns, labels

    @classmethod
    def _examples(cls, table, key, label, names):
        """The sequences of a table, (time, columns) each, and a table with one row for each of them."""
        if not key:
            return [table.sequence(row, names) for row in range(len(table))], table
        rows = collections.defaultdict(list)
        for row, value in enumerate(table.column(key)):
            rows[value].append(row)
        labels = table.labels(label)
        for value, places in rows.items():
            for place in places:
                if labels[place] != labels[places[0]]:
                    raise RecipeError(
                        f"Expected one label for all rows of {key} {value!r}, {labels[places[0]]!r}, in "
                        f"{table.place(place, label)}, received {labels[place]!r}."
                    )
        numbers = np.stack([table.numbers(name) for name in names], axis=-1, dtype=np.float32)
        return [numbers[places] for places in rows.values()], table.some([places[0] for places in rows.values()])

    def learn(self, splits):
        super().learn(splits)
        sequences, lengths = np.asarray(splits.train["sequences"]), np.asarray(splits.train["sequences_length"])
        known = np.concatenate([rows[:length] for rows, length in zip(sequences, lengths, strict=True)])
        deviation = known.std(axis=0, dtype=np.float64)
        self.mean = known.mean(axis=0, dtype=np.float64).tolist()
        self.deviation = np.where(deviation > 0, deviation, 1).tolist()

    def preprocess(self, sequences, lengths, seed=None):
        scaled = (tf.cast(sequences, tf.float32) - self.mean) / self.deviation
        return {"inputs": scaled, "lengths": lengths}

    def model_arguments(self):
        return {"features": len(self.mean), "outputs": max(2, len(self.labels))}

    def read_file(self, path):
        return signals.read_csv(path, len(self.mean), "one for each column that was trained on")
