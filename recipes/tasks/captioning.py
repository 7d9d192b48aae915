"""A picture into a text that says what is in it, and where each word looked: by beam search, with attention."""

import functools

import keras
import numpy as np
import tensorflow as tf

import archs
from recipes._core.data import batching, datasets, pictures
from recipes._core.data.vocabulary import Vocabulary, closed_up, lower, most_frequent, words_and_marks
from recipes._core.evaluate import baselines, plots
from recipes._core.evaluate.bleu import bleu
from recipes._core.export import signatures
from recipes._core.export.signatures import expect
from recipes._core.task import Task, count, slices
from recipes.tasks.sequence_to_sequence import END, WIDEST, decoded

UNKNOWN = "<unk>"  # the word that stands for all others


class Captioning(Task):
    """The caption of a picture.

    A split has the columns `image`, uint8 (examples, side, side), or (examples, side, side, 3) of ones in colours, and
    `caption`, texts (examples, captions), empty past the last of an example. In training each caption is an example.
    Where the things that a caption names have boxes, there is `boxes`, float32 (examples, things, 4), in the order in
    which they are named: top, left, bottom and right as shares of the picture. Captions are read and written in small
    letters, marks being words of their own; `UNKNOWN` is read and trained on, but never written.

    The model is one of `attention_captioner`; its own loss of where it looks is in the loss of the training. The
    setting `side` says how many pixels the sides of a picture have. A setting `batches` says which captions share a
    batch in training: "sorted", of like lengths, or "mixed".

    Attributes:
        in_colours: whether the pictures are.
        pieces: the vocabulary, list of str, without the end.
        vocabulary_size, min_count: how many words are taken from the training split, and how often each is there. A
            setting `vocabulary_size` or `beam` takes the place of the attribute.
        longest: words of a caption; longer ones are cut off in training.
        beam: of the search that evaluates, and that a person asks for.
        names: words that name things, each the next one of `boxes`.
        counts: the figure that counts, "exact_match" or "bleu_4".
        pictured: the test examples that are drawn, by their places in the order of lengths, from 0 to 1.
        several: how many examples are evaluated at a time.
    """

    kept = ("pieces",)
    vocabulary_size, min_count = 10_000, 1
    longest = 30
    beam = 3
    in_colours = False
    names = ()
    counts = "exact_match"
    pictured = (0.1, 0.4, 0.6, 0.8, 0.95)
    several = 250

    def __init__(self, config):
        super().__init__(config)
        for name in ("beam", "vocabulary_size"):
            setattr(self, name, getattr(config, name, getattr(self, name)))
        self.restore({"pieces": []})

    @property
    def image(self):
        """The `tf.TensorSpec` of the pictures that `serving_default` takes."""
        colours = [3] if self.in_colours else []
        return tf.TensorSpec((None, self.config.side, self.config.side, *colours), tf.uint8, name="image")

    def learn(self, splits):
        """Takes the vocabulary from the captions of the training split."""
        super().learn(splits)
        captions = tf.reshape(splits.train["caption"], [-1])
        words = (word.decode(errors="replace") for word in self.words(captions).flat_values.numpy())
        found = most_frequent(words, self.vocabulary_size, self.min_count)
        self.restore({"pieces": [UNKNOWN, *(word for word in found if word != UNKNOWN)]})

    def restore(self, state):
        super().restore(state)
        self.vocabulary = Vocabulary(["", *self.pieces], UNKNOWN if UNKNOWN in self.pieces else None)

    @staticmethod
    def words(captions):
        """The words and marks (captions, None), ragged, of texts (captions,)."""
        return words_and_marks(lower(captions))

    def written(self, numbers):
        """The texts (...) of numbers (..., time), as a person writes them."""
        return closed_up(self.vocabulary.texts(numbers))

    def preprocess(self, images):
        """The pictures as the model takes them: floats from 0 to 1, with an axis of colours."""
        images = tf.cast(images, tf.float32) / 255
        return images if images.shape.rank == 4 else images[..., None]

    def batches(self, columns, training=False):
        captions = tf.convert_to_tensor(columns["caption"])
        images = tf.convert_to_tensor(columns["image"])
        places = tf.where(captions != "")
        numbers = self.vocabulary.numbers(self.words(tf.gather_nd(captions, places))[:, : self.longest])
        lengths = tf.cast(numbers.row_lengths(), tf.int32) + 1
        pairs = {"image": places[:, 0], "targets": numbers.to_tensor(default_value=END), "decoder_lengths": lengths}

        def example(batch, seed):
            lengths = batch["decoder_lengths"]
            targets = tf.pad(batch["targets"], [[0, 0], [0, 1]])[:, : tf.reduce_max(lengths)]
            return {
                "inputs": self.preprocess(tf.gather(images, batch["image"])),
                "decoder_inputs": tf.pad(targets[:, :-1], [[0, 0], [1, 0]]),
                "decoder_lengths": lengths,
            }, targets

        size = self.config.batch_size if training else self.several
        is_mixed = training and getattr(self.config, "batches", "sorted") == "mixed"
        return batching.Batches(
            pairs, size, example, self.config.seed if training else None, lengths=None if is_mixed else lengths
        )

    def compile(self, model, steps):
        model.compile(
            self.optimizer(steps),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,  # batches differ in shape, and XLA would compile for each of them
        )

    def signatures(self, model):
        """Pictures in; captions, and where the words of the best one looked, out.

        `serving_default` gives the best `beam` captions of a beam search, the best first, each of at most `max_length`
        words, with their probabilities and the scores that order them; where rows differ in `beam`, empty ones of
        probability 0 fill up. `words` are those of the best, empty past its last, and `attention`, (batch, words, rows,
        columns), has the weight that each gave to each place of the picture. `logits` is told what to write.
        """
        rows, columns = model.get_layer("encoder").get_layer("annotations").input.shape[1:3]
        never = [1 + self.pieces.index(UNKNOWN)] if UNKNOWN in self.pieces else []
        search = functools.partial(archs.decoding.beam_search, model, start=END, end=END, never=never)

        def serving_default(inputs):
            inputs = signatures.checked_rows(inputs)
            beam, most, penalty = (inputs[name] for name in ("beam", "max_length", "length_penalty"))
            inputs = signatures.checked(
                inputs,
                expect((beam > 0) & (beam <= WIDEST), f"beam: expected 1 to {WIDEST}", beam),
                expect((most > 0) & (most <= self.longest), f"max_length: expected 1 to {self.longest}", most),
                expect((penalty >= 0) & (penalty <= 10), "length_penalty: expected 0 to 10", penalty),
            )
            request = {"inputs": self.preprocess(inputs.pop("image"))}
            found = search(request, **inputs)
            scores, lengths = found["log_probabilities"], found["lengths"]
            steps = tf.maximum(tf.reduce_max(lengths[:, 0]), 1)
            best = found["tokens"][:, 0, :steps]
            looked = archs.decoding.attention(model, request, tf.pad(best[:, :-1], [[0, 0], [1, 0]]))
            looked = tf.where(tf.sequence_mask(lengths[:, 0], steps)[..., None], looked, 0)
            return {
                "caption": self.written(found["tokens"]),
                "probabilities": tf.exp(scores),
                "scores": scores / ((6 + tf.cast(lengths, tf.float32)) / 6) ** penalty[:, None],
                "words": self.vocabulary.names(best),
                "attention": tf.reshape(looked, [-1, steps, rows, columns]),
            }

        ints = [tf.TensorSpec((None,), tf.int32, name=name) for name in ("beam", "max_length")]
        penalty = tf.TensorSpec((None,), tf.float32, name="length_penalty")
        return {
            "serving_default": signatures.by_name(serving_default, [self.image, *ints, penalty]),
            "logits": signatures.logits(model, decoder_inputs=len(self.vocabulary)),
        }

    def request(self, images):
        """A request of `serving_default` for pictures as `image` has them."""
        rows = len(images)
        return {
            "image": np.asarray(images, np.uint8),
            "beam": np.full(rows, self.beam, np.int32),
            "max_length": np.full(rows, self.longest, np.int32),
            "length_penalty": np.zeros(rows, np.float32),
        }

    def sample(self, model, splits):
        logits = signatures.first(self.batches(splits.validation))
        return {"serving_default": self.test_request(splits.test, 0), "logits": logits}

    def test_request(self, columns, number):
        return self.request(columns["image"][number : number + 1])

    def truth(self, columns, number):
        return " or ".join(filter(None, decoded(columns["caption"])[number]))

    def read(self, text):
        read = pictures.read_photograph if self.in_colours else pictures.read_drawing
        return self.request(read(text, self.config.side)[None])

    def show(self, answer):
        return f"{answer['caption'][0][0]} (probability {answer['probabilities'][0][0]:.3f})"

    def references(self, columns):
        """The right captions of a split as answers are written, an array of str (examples, captions)."""
        captions = decoded(columns["caption"])
        words = tf.strings.reduce_join(self.words(tf.constant(captions.ravel())), axis=-1, separator=" ")
        return decoded(closed_up(words)).reshape(captions.shape)

    def evaluate(self, answer, splits, folder=None):
        """Figures of the captions of beam search, and of two that need no model; draws where words looked.

        `exact_match` is the share of captions that equal one of the right ones; `bleu_1` to `bleu_4` are shares, too.
        Where there are boxes, and of the captions that are right, `attention_in_box` is the share of the weights of a
        word that names a thing that lies in its box, and `area_of_box` the share of the picture that does.
        """
        test, references = splits.test, self.references(splits.test)
        rows = slices(count(test), self.several)
        answers = [answer(self.request(test["image"][some])) for some in rows]
        captions = np.concatenate([one["caption"][:, 0] for one in answers])
        is_right = exact(captions, references)
        figures = {"exact_match": float(is_right.mean())}
        figures |= {f"bleu_{order}": bleu(captions, references, order) / 100 for order in (1, 2, 3, 4)}
        figures = {self.counts: figures.pop(self.counts)} | figures
        if "boxes" in test:
            boxes = np.asarray(test["boxes"])
            looks = []
            for one, some in zip(answers, rows, strict=True):
                right = is_right[some]
                looks.append(in_boxes(one["words"][right], one["attention"][right], boxes[some][right], self.names))
            masses, areas = (np.concatenate(values) for values in zip(*looks, strict=True))
            if len(masses):
                figures |= {"attention_in_box": float(masses.mean()), "area_of_box": float(areas.mean())}
        for name, texts in self.baselines(splits).items():
            figures[name] = float(exact(texts, references).mean())
            figures[f"{name}_bleu_4"] = bleu(texts, references) / 100
        if folder:
            self.draw(answer, test, references, folder / "glimpses.png")
        return figures

    def baselines(self, splits):
        """Captions of the test split that need no model, by name: arrays of str (examples,)."""
        known = self.references(splits.train)[:, 0]
        texts, counts = np.unique(known, return_counts=True)
        nearest = baselines.nearest_picture(splits.train["image"], splits.test["image"])
        frequent = np.repeat(texts[counts.argmax()], count(splits.test))
        return {"most_frequent_caption": frequent, "nearest_picture": known[nearest]}

    def draw(self, answer, columns, references, path):
        """Draws some test examples, and where in them each word of their captions looked."""
        order = np.argsort([len(caption.split()) for caption in references[:, 0]], kind="stable")
        chosen = order[(len(order) * np.array(self.pictured)).astype(int)]
        drawn = []
        for number in chosen:
            one = {name: rows[0] for name, rows in answer(self.test_request(columns, number)).items()}
            words = [word for word in one["words"] if word]
            is_right = bool(exact(one["caption"][:1], references[number : number + 1])[0])
            drawn.append((np.asarray(columns["image"][number]), words, one["attention"][: len(words)], is_right))
        plots.glimpses(drawn, path)


def columns(builder, split, side):
    """The columns of a split of a TFDS dataset that has the features of `coco_captions`.

    Args:
        builder: of TFDS. Where its objects have a `size`, captions name them in their order, and there are `boxes`.
        split: name of the split.
        side: pixels of each side of a picture, which is the middle of the dataset's.
    """
    images, captions, boxes = [], [], []
    for example in datasets.examples(builder, split):
        images.append(pictures.middle(example["image"], side))
        captions.append(example["captions"]["text"].tolist())
        boxes.append(example["objects"]["bbox"])
    found = {"image": np.stack(images), "caption": tf.ragged.constant(captions).to_tensor()}
    if "size" not in example["objects"]:
        return found
    return found | {"boxes": batching.columns({"boxes": each} for each in boxes)["boxes"]}


def exact(captions, references):
    """True of each of the captions (examples,) that is one of its references (examples, captions)."""
    return ((captions[:, None] == references) & (references != "")).any(axis=1)


def in_boxes(words, maps, boxes, names):
    """For all words that name things the share of their weights that lies in the box of the thing, and its area.

    Args:
        words: str array (examples, words).
        maps: array (examples, words, rows, columns) of weights, each spread evenly over its place.
        boxes: array (examples, things, 4), as shares of the picture, in the order in which they are named.
        names: words that name things.

    Returns:
        Two arrays (named things of all examples,).
    """
    is_name = np.isin(words, names)
    examples, steps = np.nonzero(is_name)
    boxes = boxes[examples, is_name.cumsum(axis=1)[examples, steps] - 1]
    maps, sides = maps[examples, steps], []
    for axis in (0, 1):
        places = maps.shape[1 + axis]
        edges = np.arange(places + 1) / places
        low, high = boxes[:, axis, None], boxes[:, 2 + axis, None]
        sides.append(np.maximum(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0) * places)
    masses = np.einsum("nrc,nr,nc->n", maps, *sides)
    return masses, (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
