"""A text into another: letters or words are read, and letters or words written, by beam search."""

import bisect
import functools

import keras
import numpy as np
import tensorflow as tf

import archs
from recipes._core.data import batching
from recipes._core.data.vocabulary import Vocabulary, closed_up, lower, most_frequent, words_and_marks
from recipes._core.errors import RecipeError
from recipes._core.evaluate import plots
from recipes._core.export import signatures
from recipes._core.export.signatures import expect
from recipes._core.settings import Count, one_of
from recipes._core.task import Task, slices

WIDEST = 32  # beam that a request may ask for
END = 0  # what the decoder is fed first, and what it ends with; pieces are numbered from 1 on
LETTER = "\N{REPLACEMENT CHARACTER}"
UNKNOWN = {"words": "<unk>", "words and marks": "<unk>", "letters": LETTER}  # the piece that stands for all others

OWN = {
    "source": (str, "source"),
    "target": (str, "target"),
    "features": (Count, 128),
    "attention": (one_of("bahdanau", "luong", "none"), "luong"),
    "vocabulary_size": (Count, 10_000),
}


class SequenceToSequence(Task):
    """The text that a text becomes, such as its translation.

    A split has a column of texts, (examples,), and one of their answers, (examples,), or (examples, references) where
    several are right, empty strings past the last. In training each reference is an example.

    A setting `beam`, `length_penalty`, `hidden`, `label_smoothing` or `vocabulary_size` takes the place of the
    attribute. A setting `batches` says which examples share a batch in training: "sorted", of like lengths, or "mixed".

    `UNKNOWN` is read and trained on, but never written: an answer has the likeliest of the other pieces.

    Attributes:
        source, target: names of the two columns, and of what the signatures take and answer.
        source_level, target_level: the pieces of a text: "words", with spaces between them; "words and marks", of
            which answers are joined as a person writes them, with no space before a comma; or "letters".
        source_pieces, target_pieces: the vocabularies, lists of str. Of a list with `UNKNOWN` in it, that stands for
            all other pieces; by any other list they are refused. Empty: taken from the training split, with `UNKNOWN`.
        vocabulary_size, min_count: how many pieces are taken from the training split, and how often each is there.
        lowercase: the sides that are read in lower case, of "source" and "target".
        longest: pieces of a source, and of an answer.
        beam, length_penalty: of the search that evaluates, and that a person asks for; see `archs.decoding`.
        hidden: share of the pieces before that the decoder is not told in training: END is fed in their place.
        label_smoothing: share of the target that is spread evenly over all pieces in the loss (Szegedy et al. 2016).
        sorted_by: the lengths that are alike in a batch: those of the "source", and then of the target, or those of the
            "target" alone.
        evaluated: the signatures whose answers are measured, the one that counts first.
        error_rates: None, and the exact match is measured; or what an answer and a piece of it are called, and their
            error rates are.
        pictured: the test examples whose attention is drawn, by their places in the order of lengths, from 0 to 1.
        several: how many examples are evaluated at a time.
    """

    kept = ("source_pieces", "target_pieces")
    own = OWN
    name = "sequence_to_sequence"
    source, target = "source", "target"
    source_level = target_level = "words"
    source_pieces = target_pieces = ()
    vocabulary_size, min_count = 10_000, 2
    lowercase = ()
    longest = 100
    beam, length_penalty = 4, 0.0
    hidden = 0.0
    label_smoothing = 0.0
    sorted_by = "source"
    evaluated = ("serving_default", "greedy")
    error_rates = None
    pictured = (0.2, 0.5, 0.8, 0.9)
    several = 500

    def __init__(self, config):
        super().__init__(config)
        for name in ("beam", "length_penalty", "hidden", "label_smoothing", "vocabulary_size"):
            setattr(self, name, getattr(config, name, getattr(self, name)))
        self._make_vocabularies()

    @classmethod
    def columns_of(cls, config, tables):
        names = {cls.source: config.source, cls.target: config.target}
        columns = {
            split: {name: tf.constant(table.texts(column)) for name, column in names.items()}
            for split, table in tables.items()
        }
        for split, table in tables.items():
            for name, column in names.items():
                lengths = tf.strings.split(columns[split][name]).row_lengths().numpy()
                for row in np.flatnonzero(lengths > cls.longest):
                    place = table.place(row, column)
                    raise RecipeError(f"Expected at most {cls.longest} words in {place}, received {lengths[row]}.")
        return columns, []

    def model_arguments(self):
        return {
            "features": self.config.features,
            "outputs": len(self.target_vocabulary),
            "vocabulary": len(self.source_vocabulary),
            "attention": None if self.config.attention == "none" else self.config.attention,
            "bidirectional": True,
        }

    def learn(self, splits):
        """Takes from the training split the vocabularies that the page does not list."""
        super().learn(splits)
        for side in ("source", "target"):
            if not getattr(type(self), f"{side}_pieces"):
                texts = tf.reshape(splits.train[getattr(self, side)], [-1])
                pieces = [piece.decode(errors="replace") for piece in self.pieces(texts, side).flat_values.numpy()]
                unknown = UNKNOWN[getattr(self, f"{side}_level")]
                frequent = most_frequent(pieces, self.vocabulary_size, self.min_count)
                found = [unknown, *(piece for piece in frequent if piece != unknown)]
                setattr(self, f"{side}_pieces", found)
        self._make_vocabularies()

    def restore(self, state):
        super().restore(state)
        self._make_vocabularies()

    def _make_vocabularies(self):
        for side in ("source", "target"):
            pieces, unknown = getattr(self, f"{side}_pieces"), UNKNOWN[getattr(self, f"{side}_level")]
            vocabulary = Vocabulary(["", *pieces], unknown if unknown in pieces else None)
            setattr(self, f"{side}_vocabulary", vocabulary)

    def pieces(self, texts, side):
        """The pieces (batch, None), ragged, of texts (batch,); `side` is "source" or "target"."""
        if side in self.lowercase:
            texts = lower(texts)
        level = getattr(self, f"{side}_level")
        if level == "letters":
            return tf.strings.unicode_split(tf.strings.strip(texts), "UTF-8")
        return words_and_marks(texts) if level == "words and marks" else tf.strings.split(texts)

    def encode(self, texts, side):
        """The numbers (batch, time) and lengths (batch,) of texts (batch,); END is the padding.

        Raises:
            InvalidArgumentError: a text has no pieces, too many, or one that is refused; in a graph, when it runs.
        """
        pieces = self.pieces(signatures.checked_texts(texts, getattr(self, side)), side)
        numbers = getattr(self, f"{side}_vocabulary").numbers(pieces)
        lengths = tf.cast(pieces.row_lengths(), tf.int32)
        listed = self._listed(side)
        among = f", each one of {listed}" if listed else ""
        refused = tf.boolean_mask(pieces.flat_values, numbers.flat_values <= END)
        checks = [
            expect(lengths > 0, "expected text, received an empty one"),
            expect(lengths <= self.longest, f"expected at most {self.longest} in a row{among}"),
            tf.debugging.Assert(tf.size(refused) == 0, [f"expected {listed}, received", refused]),
        ]
        with tf.control_dependencies(checks):
            return numbers.to_tensor(), lengths

    def _listed(self, side):
        """The pieces that are accepted, in words; empty where all are."""
        pieces = getattr(self, f"{side}_pieces")
        return "" if UNKNOWN[getattr(self, f"{side}_level")] in pieces else " ".join(pieces)

    def join(self, numbers):
        """The texts (...) of numbers (..., time) of the target."""
        if self.target_level == "letters":
            return tf.strings.reduce_join(self.target_vocabulary.names(numbers), axis=-1)
        texts = self.target_vocabulary.texts(numbers)
        return closed_up(texts) if self.target_level == "words and marks" else texts

    def pairs(self, columns):
        """The numbers of each source with each of its references, and their lengths, as columns.

        Raises:
            RecipeError: a text is refused, see `encode`.
        """
        sources = tf.convert_to_tensor(columns[self.source])
        targets = tf.reshape(columns[self.target], [len(sources), -1])
        is_there = targets != ""
        encode = tf.function(self.encode)  # a check that fails in a graph has our words alone
        try:
            inputs, lengths = encode(tf.gather(sources, tf.where(is_there)[:, 0]), "source")
            targets, target_lengths = encode(targets[is_there], "target")
        except tf.errors.InvalidArgumentError as error:
            raise RecipeError(f"These data cannot be trained on: {signatures.words(error)}") from error
        return {"inputs": inputs, "lengths": lengths, "targets": targets, "decoder_lengths": target_lengths + 1}

    def example(self, batch, seed=None, hidden=0.0):
        """Inputs and targets of the model, for a batch of `pairs`."""
        inputs = batch["inputs"][:, : tf.reduce_max(batch["lengths"])]
        targets = tf.pad(batch["targets"], [[0, 0], [0, 1]])[:, : tf.reduce_max(batch["decoder_lengths"])]
        fed = tf.pad(targets[:, :-1], [[0, 0], [1, 0]])
        if hidden:
            fed = tf.where(tf.random.stateless_uniform(tf.shape(fed), seed) < hidden, END, fed)
        return {
            "inputs": inputs,
            "lengths": batch["lengths"],
            "decoder_inputs": fed,
            "decoder_lengths": batch["decoder_lengths"],
        }, targets

    def batches(self, columns, training=False):
        pairs = self.pairs(columns)
        lengths = pairs["decoder_lengths"]
        if self.sorted_by == "source":
            lengths = (2 + self.longest) * pairs["lengths"] + lengths
        is_mixed = training and getattr(self.config, "batches", "sorted") == "mixed"
        return batching.Batches(
            pairs,
            self.config.batch_size if training else self.several,
            functools.partial(self.example, hidden=self.hidden if training else 0.0),
            seed=self.config.seed if training else None,
            lengths=None if is_mixed else lengths,
        )

    def compile(self, model, steps):
        model.compile(
            self.optimizer(steps),
            smoothed_crossentropy(self.label_smoothing),
            metrics=["accuracy"],
            jit_compile=False,  # batches differ in shape, and XLA would compile for each of them
        )

    def signatures(self, model):
        """Texts in, answers out.

        `serving_default` gives the best `beam` answers of a beam search, the best first, each of at most `max_length`
        pieces, with their probabilities and the scores that order them; where rows differ in `beam`, empty ones of
        probability 0 fill up. `greedy` writes the likeliest piece in each step, and tells where it looked, where the
        model has attention. `logits` is told what to write.
        """
        attends = "memory" in model.get_layer("encoder").output
        unknown = UNKNOWN[self.target_level]
        never = [1 + self.target_pieces.index(unknown)] if unknown in self.target_pieces else []
        search = functools.partial(archs.decoding.beam_search, model, start=END, end=END, never=never)

        def encoded(texts):
            return dict(zip(("inputs", "lengths"), self.encode(texts, "source"), strict=True))

        def serving_default(inputs):
            inputs = signatures.checked_rows(inputs)
            beam, most, penalty = (inputs[name] for name in ("beam", "max_length", "length_penalty"))
            settings = signatures.checked(
                inputs,
                expect((beam > 0) & (beam <= WIDEST), f"beam: expected 1 to {WIDEST}", beam),
                expect((most > 0) & (most <= self.longest), f"max_length: expected 1 to {self.longest}", most),
                expect((penalty >= 0) & (penalty <= 10), "length_penalty: expected 0 to 10", penalty),
            )
            written = search(encoded(settings.pop(self.source)), **settings)
            length = tf.cast(written["lengths"], tf.float32)
            log_probabilities = written["log_probabilities"]
            return {
                self.target: self.join(written["tokens"]),
                "probabilities": tf.exp(log_probabilities),
                "scores": log_probabilities / ((6 + length) / 6) ** penalty[:, None],
            }

        def greedy(inputs):
            request = encoded(inputs[self.source])
            written = search(request, max_length=self.longest)
            answer = {
                self.target: self.join(written["tokens"][:, 0]),
                "probability": tf.exp(written["log_probabilities"][:, 0]),
            }
            return answer | ({"attention": attention(model, request, written)} if attends else {})

        texts = tf.TensorSpec((None,), tf.string, name=self.source)
        ints = [tf.TensorSpec((None,), tf.int32, name=name) for name in ("beam", "max_length")]
        penalty = tf.TensorSpec((None,), tf.float32, name="length_penalty")
        counts = {"inputs": len(self.source_vocabulary), "decoder_inputs": len(self.target_vocabulary)}
        return {
            "serving_default": signatures.by_name(serving_default, [texts, *ints, penalty]),
            "greedy": signatures.by_name(greedy, [texts]),
            "logits": signatures.logits(model, **counts),
        }

    def request(self, texts):
        """A request of `serving_default` for an array of str."""
        rows = len(texts)
        return {
            self.source: np.array(texts),
            "beam": np.full(rows, self.beam, np.int32),
            "max_length": np.full(rows, self.longest, np.int32),
            "length_penalty": np.full(rows, self.length_penalty, np.float32),
        }

    def sample(self, model, splits):
        request = self.test_request(splits.test, 0)
        logits = signatures.first(self.batches(splits.validation))
        return {"serving_default": request, "greedy": {self.source: request[self.source]}, "logits": logits}

    def test_request(self, columns, number):
        return self.request(decoded(columns[self.source][number : number + 1]))

    def truth(self, columns, number):
        return " or ".join(filter(None, self.references(columns)[number]))

    def read(self, text):
        try:
            self.encode(tf.constant([text]), "source")
        except tf.errors.InvalidArgumentError:
            listed = self._listed("source")
            kind = f"of the {self.source_level} {listed}" if listed else self.source_level
            raise RecipeError(
                f"Expected a {self.source} of 1 to {self.longest} {kind}, or test:N, received {text!r}."
            ) from None
        return self.request([text])

    def show(self, answer):
        return f"{answer[self.target][0][0]} (probability {answer['probabilities'][0][0]:.3f})"

    def references(self, columns):
        """The right answers of a split, an array of str (examples, references), empty past the last."""
        references = decoded(columns[self.target])
        return references.reshape(len(references), -1)

    def figures(self, answers, references):
        """Figures of answers, an array of str (examples,), held to `references`: a dict of name to float."""
        if not self.error_rates:
            is_right = (answers[:, None] == references) & (references != "")
            return {"exact_match": float(is_right.any(axis=1).mean())}
        rates = self.errors(answers, references)
        return {f"{name}_error_rate": rate for name, rate in zip(self.error_rates, rates, strict=True)}

    def errors(self, answers, references):
        """The share of answers that equal none of their references, and of pieces that differ from the nearest one."""
        written = self.pieces(tf.constant(list(answers)), "target").to_sparse()
        distances, lengths = np.full((2, *references.shape), np.inf)
        for column, texts in enumerate(references.T):
            pieces = self.pieces(tf.constant(texts), "target")
            distance = tf.edit_distance(written, pieces.to_sparse(), normalize=False).numpy()
            distances[:, column] = np.where(texts == "", np.inf, distance)
            lengths[:, column] = pieces.row_lengths()
        nearest = distances.argmin(axis=1)[:, None]
        errors, pieces = (np.take_along_axis(counts, nearest, axis=1) for counts in (distances, lengths))
        return float((errors > 0).mean()), float(errors.sum() / pieces.sum())

    def baselines(self, splits):
        """Answers to the test split that need no model, by name: arrays of str (examples,)."""
        return {f"nearest_{self.source}": self.nearest(splits)}

    def nearest(self, splits):
        """The answer of the training source that is nearest to each of the test split.

        It has the most words in the same places, or begins with the most of the same letters.
        """
        asked, known = (decoded(split[self.source]) for split in (splits.test, splits.train))
        answers = self.references(splits.train)[:, 0]
        if self.source_level == "letters":
            order = np.argsort(known, kind="stable")
            return answers[order[begin_alike(asked.tolist(), known[order].tolist())]]
        numbers = self.encode(tf.constant([*asked, *known]), "source")[0].numpy()
        asked, known = numbers[: len(asked)], numbers[len(asked) :]
        return answers[[(known == row).sum(axis=1).argmax() for row in asked]]

    def evaluate(self, answer, splits, folder=None):
        """Figures of the answers, and of baselines; draws what the greedy answers looked at, if there is attention.

        A baseline's figure has the name of the baseline, followed by that of the figure if there are several.
        """
        sources, references = decoded(splits.test[self.source]), self.references(splits.test)
        sorted_by = {"source": sources, "target": references[:, 0]}[self.sorted_by]
        lengths = self.pieces(tf.constant(sorted_by), self.sorted_by).row_lengths().numpy()
        order = np.argsort(lengths, kind="stable")  # little padding
        written = {}
        for signature in self.evaluated:
            best = np.empty(len(order), object)
            for part in slices(len(order), self.several):
                rows = order[part]
                if signature == "greedy":
                    best[rows] = answer({self.source: sources[rows]}, signature)[self.target]
                else:
                    best[rows] = answer(self.request(sources[rows]), signature)[self.target][:, 0]
            written[signature if written else "test"] = best
        if folder:
            chosen = order[(len(order) * np.array(self.pictured)).astype(int)]
            self.draw(answer, sources[chosen], folder / "attention.png")
        baselines = self.baselines(splits)
        figures = {name: self.figures(texts, references) for name, texts in (written | baselines).items()}
        kinds = figures["test"]
        return {
            name if name in baselines and len(kinds) == 1 else f"{name}_{kind}": figures[name][kind]
            for kind in kinds
            for name in figures
        }

    def draw(self, answer, sources, path):
        """Draws at which pieces of each source those of its greedy answer look; nothing without attention."""
        answers = [answer({self.source: np.array([text])}, "greedy") for text in sources]
        if "attention" not in answers[0]:
            return
        panels = []
        for text, one in zip(sources, answers, strict=True):
            read, written = (
                [piece.decode() for piece in self.pieces(tf.constant([whole]), side)[0].numpy()]
                for side, whole in (("source", text), ("target", one[self.target][0]))
            )
            panels.append((read, written, one["attention"][0][: len(written)]))
        plots.attention(panels, path)


def smoothed_crossentropy(share):
    """A loss of int targets and logits: the cross-entropy to targets of which a share is spread over all classes."""
    if not share:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(targets, logits):
        told = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        spread = keras.ops.logsumexp(logits, axis=-1) - keras.ops.mean(logits, axis=-1)
        return (1 - share) * told + share * spread

    return loss


def decoded(column):
    """A column of strings as an array of str, of the same shape."""
    return np.char.decode(tf.convert_to_tensor(column).numpy().astype("S"), "utf-8")


def begin_alike(asked, known):
    """For each of the texts the place of the sorted text of `known` that begins with the most of the same letters."""
    places = []
    for text in asked:
        place = bisect.bisect(known, text)
        near = range(max(place - 1, 0), min(place + 1, len(known)))
        places.append(max(near, key=lambda other: same_letters(text, known[other])))
    return places


def same_letters(one, other):
    """Number of letters that two texts have in common from the first on."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def attention(model, request, written):
    """Attention weights (batch, steps, time) for each token of the best of what `beam_search` returned."""
    lengths = written["lengths"][:, 0]
    steps = tf.reduce_max(lengths)
    fed = tf.pad(written["tokens"][:, 0], [[0, 0], [1, 0]])[:, :steps]
    weights = archs.decoding.attention(model, request, fed)
    return tf.where(tf.sequence_mask(lengths, steps)[..., None], weights, 0)
