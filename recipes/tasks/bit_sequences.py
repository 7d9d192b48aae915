"""Vectors of bits that are to be copied, copied several times, or recalled."""

import math
import re

import numpy as np
import tensorflow as tf
from keras import ops

import archs
from recipes._core.errors import RecipeError
from recipes._core.evaluate import plots
from recipes._core.export import signatures
from recipes._core.export.signatures import expect
from recipes.tasks.algorithmic import Algorithmic, like


class BitSequences(Algorithmic):
    """Vectors of bits, written after others were read.

    Attributes:
        channels: bits of a vector that the model reads, and `outputs` of one that it writes.
        vectors: `tf.TensorSpec` of the signature's input of bits, (None, None, ...), named as its column.
        numbers: names of further inputs, int32 (None,), named as their columns.
        least: vectors or items that a question has at least.
        form: what a person writes, for errors.
    """

    vectors = tf.TensorSpec((None, None, 8), tf.uint8, name="vectors")
    numbers = ()
    least = 1
    form = "vectors of 8 bits such as '10110010 01101001'"

    def cut(self, columns):
        longest = tf.reduce_max(columns["length"])
        return columns | {self.vectors.name: columns[self.vectors.name][:, :longest]}

    def checks(self, columns):
        """Operations that fail where columns, whose lengths and bits are right, are none of a question."""
        return []

    def checked(self, inputs):
        """The columns of questions, from what `serving_default` takes, once nothing is wrong with them."""
        bits, lengths = self.vectors.name, inputs["lengths"]
        inputs = signatures.checked_rows(inputs)
        inputs[bits], lengths = signatures.checked_lengths(inputs[bits], lengths, self.longest, (bits, "lengths"))
        columns = {bits: inputs[bits], "length": lengths} | {name: inputs[name] for name in self.numbers}
        right = [expect(columns[bits] <= 1, f"{bits}: expected 0 or 1", columns[bits])]
        columns = signatures.checked(
            columns, *right, expect(lengths >= self.least, f"lengths: expected {self.least} or more", lengths)
        )
        columns = signatures.checked(columns, *self.checks(columns))
        steps = self.first(columns) + self.steps(columns)
        return signatures.checked(
            columns, expect(steps <= self.longest, f"expected at most {self.longest} time steps", steps)
        )

    def costs(self, targets, logits):
        # A product, since Keras' own cross-entropy wants targets of the dtype of the logits.
        return ops.softplus(logits) - ops.cast(targets, logits.dtype) * logits

    def decided(self, logits):
        return ops.cast(logits > 0, "int32")

    def signatures(self, model):
        """Questions in; bits, their probabilities and logits out, zeros after the end. And the model's own inputs.

        Of a model with a memory, `weightings` answers what each head looked at, (batch, time, locations).
        """

        def serving_default(inputs):
            columns = self.checked(inputs)
            logits = self.logits(model, columns)
            inside = like(tf.sequence_mask(self.steps(columns)), logits)
            found = {"answer": tf.cast(logits > 0, tf.uint8), "probabilities": tf.nn.sigmoid(logits)}
            return {name: tf.where(inside, value, 0) for name, value in found.items()} | {"logits": logits}

        def weightings(inputs):
            return looked_at(model, **self.inputs(self.checked(inputs)))

        names = ("lengths", *self.numbers)
        specs = [self.vectors, *(tf.TensorSpec((None,), tf.int32, name=name) for name in names)]
        found = {"serving_default": signatures.by_name(serving_default, specs)}
        if has_memory(model):
            found["weightings"] = signatures.by_name(weightings, specs)
        return found | {"logits": signatures.logits(model)}

    def request(self, columns, rows=slice(None)):
        columns = self.cut({name: column[rows] for name, column in columns.items()})
        asked = {self.vectors.name: columns[self.vectors.name], "lengths": columns["length"]}
        asked |= {name: columns[name] for name in self.numbers}
        return {name: np.asarray(values) for name, values in asked.items()}

    def sample(self, model, splits):
        found = super().sample(model, splits)
        return found | ({"weightings": found["serving_default"]} if has_memory(model) else {})

    def written(self, bits):
        """A vector of an answer, for a person."""
        return "".join(map(str, bits))

    def truth(self, columns, number):
        one = {name: column[number : number + 1] for name, column in columns.items()}
        return self.show({"answer": self.answers(self.cut(one))[:, : int(self.steps(one)[0])]})

    def show(self, answer):
        return " ".join(map(self.written, np.asarray(answer["answer"][0])))

    def read(self, text):
        try:
            return self.parsed(text)
        except ValueError:
            raise RecipeError(f"Expected {self.form}, or test:N, received {text!r}.") from None

    def parsed(self, text):
        """A request of `serving_default` from what a person writes.

        Raises:
            ValueError: it is something else.
        """
        bits = vectors_of(text, self.vectors.shape[-1])
        return {self.vectors.name: bits[None], "lengths": np.array([len(bits)], np.int32)}

    def evaluate(self, answer, splits, folder=None):
        """Cost of an answer and how many of its bits are wrong, for each size of questions; draws two of them.

        A coin tossed for each bit costs as many bits as are asked for.
        """
        found = self.measured(answer, splits.test)
        first = next(iter(found))
        sizes = np.array(self.sizes(splits.test))
        asked = self.outputs * np.asarray(self.steps(splits.test))[sizes == first]
        if folder:
            for name, size in {"trained_size": first, "largest_size": list(found)[-1]}.items():
                self.draw(answer, splits.test, int(np.flatnonzero(sizes == size)[0]), folder / f"{name}.png")
        return {
            "test_bits": float(found[first][0].mean()),
            "chance": float(asked.mean()),
            **{f"wrong_bits_at_{size}": float(wrong.mean()) for size, (_, wrong) in found.items()},
            **{f"bits_at_{size}": float(costs.mean()) for size, (costs, _) in found.items() if size != first},
        }

    def draw(self, answer, columns, number, path):
        """Draws a question, the right answer, the answer, where they differ, and where each head looked."""
        request = self.test_request(columns, number)
        one = self.cut({name: column[number : number + 1] for name, column in columns.items()})
        right, written = np.asarray(self.answers(one))[0], answer(request)["answer"][0].astype(int)
        first, read = int(self.first(one)[0]), np.asarray(self.inputs(one)["inputs"])[0]
        placed = {
            "right answer": right,
            f"answer, {np.sum(written != right)} bits wrong": written,
            "wrong": written != right,
        }
        tracks = {"read": read} | {name: np.pad(values, [[first, 0], [0, 0]]) for name, values in placed.items()}
        try:
            looked = answer(request, "weightings")
        except KeyError:  # there is no memory
            looked = {}
        plots.tracks(tracks | {name.replace("_", " "): values[0] for name, values in looked.items()}, path)


class Copy(BitSequences):
    """The vectors that were read before the delimiter, which stands in a channel of its own."""

    channels, outputs = 9, 8

    def first(self, columns):
        return columns["length"] + 1

    def steps(self, columns):
        return columns["length"]

    def question(self, columns):
        bits, lengths = tf.cast(columns["vectors"], tf.float32), columns["length"]
        time = tf.shape(bits)[1] + 1
        bits = tf.where(tf.sequence_mask(lengths, time)[..., None], tf.pad(bits, [[0, 0], [0, 1], [0, 0]]), 0)
        return tf.concat([bits, tf.one_hot(lengths, time)[..., None]], axis=-1)

    def answers(self, columns):
        return tf.cast(columns["vectors"], tf.int32)


class RepeatCopy(Copy):
    """The vectors that were read, as often as the number beside the delimiter says, and an end marker.

    The number is read with the mean 0 and the variance 1 that it has in training.

    Attributes:
        most: times to copy, in training; evenly spread from 1 on.
    """

    channels, outputs = 10, 9
    numbers = ("repeats",)
    most = 10
    form = "vectors of 8 bits, and how often, such as '10110010 01101001 x3'"

    def checks(self, columns):
        within = (columns["repeats"] > 0) & (columns["repeats"] <= self.longest)
        return [expect(within, f"repeats: expected 1 to {self.longest}", columns["repeats"])]

    def steps(self, columns):
        return columns["length"] * columns["repeats"] + 1

    def question(self, columns):
        read = super().question(columns)
        number = (tf.cast(columns["repeats"], tf.float32) - (self.most + 1) / 2) / math.sqrt((self.most**2 - 1) / 12)
        return tf.concat([read, read[..., -1:] * number[:, None, None]], axis=-1)

    def answers(self, columns):
        place, last = tf.range(tf.reduce_max(self.steps(columns))), self.steps(columns)[:, None] - 1
        bits = tf.gather(columns["vectors"], place % columns["length"][:, None], axis=1, batch_dims=1)
        bits = tf.where((place < last)[..., None], bits, 0)
        return tf.cast(tf.concat([bits, tf.cast(place == last, bits.dtype)[..., None]], axis=-1), tf.int32)

    def sizes(self, columns):
        pairs = (np.asarray(columns[name]) for name in ("length", "repeats"))
        return [f"{length}x{repeats}" for length, repeats in zip(*pairs, strict=True)]

    def parsed(self, text):
        vectors, _, repeats = text.partition("x")
        return super().parsed(vectors) | {"repeats": np.array([int(repeats)], np.int32)}

    def written(self, bits):
        return "end" if bits[-1] else super().written(bits[:-1])


class AssociativeRecall(BitSequences):
    """The item that stood behind the one that is asked about, in a list that was read before.

    Two channels beside the bits are for delimiters: one before each item, and one before and behind the query.
    """

    vectors = tf.TensorSpec((None, None, 3, 6), tf.uint8, name="items")
    numbers = ("query",)
    least = 2
    form = (
        "items of 3 vectors of 6 bits and, behind ?, one of them that is there once and not last, such as "
        "'010011 111010 000110 / 000000 111111 010101 ? 010011 111010 000110'"
    )
    channels, outputs = 8, 6

    def checks(self, columns):
        within = (columns["query"] >= 0) & (columns["query"] < columns["length"] - 1)
        return [expect(within, "query: expected the number of an item but the last, from 0 on", columns["query"])]

    def first(self, columns):
        return 4 * columns["length"] + 5

    def steps(self, columns):
        return tf.fill(tf.shape(columns["length"]), 3)

    def question(self, columns):
        items, end = tf.cast(columns["items"], tf.float32), 4 * columns["length"][:, None]
        time = tf.range(4 * tf.shape(items)[1] + 5)
        is_list, place = time < end, time - end
        is_asked = (place > 0) & (place < 4)
        number = tf.where(is_list, 3 * (time // 4) + time % 4, 3 * columns["query"][:, None] + place) - 1
        shown = is_asked | is_list & (time % 4 > 0)
        vectors = tf.reshape(items, [tf.shape(items)[0], -1, items.shape[-1]])
        bits = tf.gather(vectors, tf.where(shown, number, 0), axis=1, batch_dims=1)
        marks = tf.stack([is_list & (time % 4 == 0), (place == 0) | (place == 4)], axis=-1)
        return tf.concat([tf.where(shown[..., None], bits, 0), tf.cast(marks, tf.float32)], axis=-1)

    def answers(self, columns):
        return tf.cast(tf.gather(columns["items"], columns["query"] + 1, axis=1, batch_dims=1), tf.int32)

    def parsed(self, text):
        listed, _, query = text.partition("?")
        items = np.stack([vectors_of(item, 6, 3) for item in listed.split("/")])
        (query,) = np.flatnonzero((items == vectors_of(query, 6, 3)).all(axis=(1, 2)))
        numbers = {"lengths": len(items), "query": query}
        return {"items": items[None]} | {name: np.array([number], np.int32) for name, number in numbers.items()}


def vectors_of(text, bits, count=None):
    """Vectors of bits that a person has written between spaces, uint8 (vectors, bits).

    Raises:
        ValueError: there is something else, or not `count` of them.
    """
    words = text.split()
    if not words or count not in (None, len(words)) or not all(re.fullmatch(f"[01]{{{bits}}}", word) for word in words):
        raise ValueError(text)
    return np.array([list(word) for word in words], np.uint8)


def has_memory(model):
    """True of a model of `archs.ntm`."""
    return isinstance(getattr(model.get_layer("recurrent_1"), "cell", None), archs.NTMCell)


def looked_at(model, inputs, lengths):
    """Name of each head of a model of `archs.ntm` -> where it looked in each time step, (batch, time, locations)."""
    cell = model.get_layer("recurrent_1").cell
    time, states = tf.shape(inputs)[1], cell.get_initial_state(tf.shape(inputs)[0])
    seen = tf.TensorArray(tf.float32, time, element_shape=states[-1].shape)
    for t in tf.range(time):
        _, after = cell(tf.cast(inputs[:, t], cell.compute_dtype), states, training=False)
        states = [tf.where(t < lengths[:, None], new, old) for new, old in zip(after, states, strict=True)]
        seen = seen.write(t, tf.cast(states[-1], tf.float32))
    weightings = tf.split(tf.transpose(seen.stack(), [1, 0, 2]), cell.read_heads + cell.write_heads, axis=-1)
    names = [f"{kind}_weighting_{n + 1}" for kind in ("read", "write") for n in range(getattr(cell, f"{kind}_heads"))]
    return dict(zip(names, weightings, strict=True))
