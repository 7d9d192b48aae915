"""Examples as columns, split, and in batches whose order can be resumed."""

import collections.abc
import dataclasses

import numpy as np
import tensorflow as tf


def columns(examples):
    """Examples whose arrays may differ in length, as what `read` returns: one tensor for each feature.

    Args:
        examples: dicts of feature name to array, all with the same features; at least one.

    Returns:
        A dict of feature name to tensor (examples, ...). Of a feature of arrays, which a scalar is not, the tensor is
        padded with zeros at the end, and `<name>_length`, int32 (examples,), has the length of each.
    """
    result = {}
    examples = list(examples)
    for name in examples[0]:
        values = [np.asarray(example[name]) for example in examples]
        if values[0].ndim:
            lengths = [len(value) for value in values]
            padded = np.zeros((len(values), max(lengths), *values[0].shape[1:]), values[0].dtype)
            for row, value in zip(padded, values, strict=True):
                row[: len(value)] = value
            result[f"{name}_length"], values = tf.constant(lengths, tf.int32), padded
        result[name] = tf.constant(np.asarray(values))
    return result


def described(facts):
    """The name of data in words, from the `facts` of their `Splits`: a dataset has a version, and a file has none."""
    name, version = facts.get("name"), facts.get("version")
    return f"{name} {version}" if version else f"the file {name}"


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batches of examples held in memory; with a seed, shuffled in an order that seed and epoch alone decide.

    Attributes:
        columns: dict of feature name to tensor, or a tensor, with the examples along the first axis.
        batch_size: of every batch but perhaps the last.
        transform: function (batch, seed) -> what the dataset yields, where `seed` is an int32 tensor of shape (2,)
            for stateless random operations, different for each batch of each epoch.
        seed: of the shuffle and of `transform`. None: the examples stay in order.
        lengths: None, or the length of each example, (examples,). Examples of like lengths then share a batch, so that
            little is padded; with a seed, which ones do and the order of the batches stay random.
    """

    columns: object
    batch_size: int
    transform: collections.abc.Callable
    seed: int | None = None
    lengths: object = None

    @property
    def examples(self):
        return len(tf.nest.flatten(self.columns)[0])

    def __len__(self):
        return -(-self.examples // self.batch_size)

    def epoch(self, number=0, start=0):
        """A `tf.data.Dataset` of the batches of an epoch, from batch `start` on."""
        order = self._order(number)
        seeds = np.random.default_rng([self.seed or 0, number, 1]).integers(2**31, size=(len(self), 2), dtype=np.int32)

        def batch(rows, seed):
            return self.transform(tf.nest.map_structure(lambda column: tf.gather(column, rows), self.columns), seed)

        rows = tf.data.Dataset.from_tensor_slices(order[start * self.batch_size :]).batch(self.batch_size)
        dataset = tf.data.Dataset.zip(rows, tf.data.Dataset.from_tensor_slices(seeds[start:]))
        return dataset.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2)

    def _order(self, number):
        order, draw = np.arange(self.examples), np.random.default_rng([self.seed or 0, number])
        if self.seed is not None:
            order = draw.permutation(order)
        if self.lengths is None:
            return order
        lengths = np.asarray(self.lengths)
        if self.seed is None:
            return order[np.argsort(lengths, kind="stable")]
        size = 50 * self.batch_size
        pools = [order[start : start + size] for start in range(0, len(order), size)]
        order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        whole = len(order) // self.batch_size * self.batch_size  # the last batch may be smaller, and stays the last
        batches = draw.permutation(order[:whole].reshape(-1, self.batch_size))
        return np.concatenate([batches.ravel(), order[whole:]])


@dataclasses.dataclass(frozen=True)
class Splits:
    """A dataset, split.

    Attributes:
        train, validation, test: dict of feature name to tensor, with the examples along the first axis, as
            `datasets.read` or `columns` returns it.
        facts: what `datasets.describe` says of the dataset.
        labels: names of the classes, where there are classes.
    """

    train: dict
    validation: dict
    test: dict
    facts: dict
    labels: list = ()
