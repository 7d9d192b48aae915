"""Language models, over characters and over words: how probable a text is, and what comes next."""

import math
import pathlib
import re

import keras
import numpy as np
import tensorflow as tf

from archs import generation
from recipes._core.data import batching
from recipes._core.data.vocabulary import Vocabulary, most_frequent
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines, plots
from recipes._core.export.signatures import by_name, checked, checked_lengths, checked_rows, checked_tokens, expect
from recipes._core.settings import Count
from recipes._core.task import Task

UNKNOWN, END = 0, 1  # tokens: of what is not in the vocabulary, and of what stands between texts or lines
CODES = 0x110000  # the characters that Unicode has room for, one of which an unknown character is
DRAW = {  # settings of a draw, as a request has them by default
    "max_new_tokens": np.int32(500),
    "temperature": np.float32(0.7),
    "top_k": np.int32(0),
    "top_p": np.float32(1.0),
    "seed": np.int32(0),
}
_AT_ONCE = 1_000_000  # logits that are in memory at a time


class LanguageModelling(Task):
    """The next token of a text. The tokens are characters in one subclass, and words in the other.

    A split has a column `text`, (examples,), of texts in UTF-8. The model is stateful and has `config.batch_size` rows,
    which read side by side, `config.window` tokens in a batch.

    Attributes:
        labels: what each token stands for: `unknown` and `end`, and then the vocabulary of the training texts.
        unknown: label of the token `UNKNOWN`.
        end: label of the token `END`.
    """

    are_classes = False

    def __init__(self, config):
        super().__init__(config)
        self.labels = [self.unknown, self.end]

    @property
    def vocabulary(self):
        """The `Vocabulary` of the labels."""
        return Vocabulary(self.labels, self.unknown)

    def learn(self, splits):
        special = [self.unknown, self.end]
        self.labels = special + [piece for piece in self.pieces(splits.train) if piece not in special]

    def pieces(self, columns):
        """The different characters or words of the training texts that are to have a token, in the order of these."""
        raise NotImplementedError

    def split(self, texts):
        """Texts (batch,) as a ragged tensor (batch, None) of their characters or words."""
        raise NotImplementedError

    def request(self, text):
        """A request of `serving_default` for one text."""
        raise NotImplementedError

    def read(self, text):
        """A request from the path of a text, or from a text."""
        try:
            if text and pathlib.Path(text).is_file():
                text = pathlib.Path(text).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"Expected a text in UTF-8, received {text!r} ({error}).") from None
        except (OSError, ValueError):
            pass  # no path: too long, or with characters that no path has
        return self.request(text)


OWN = {"text": (str, "text"), "features": (Count, 64), "window": (Count, 50)}


class CharacterModelling(LanguageModelling):
    """The next character of a text. Each text is a document, read from `END` on; behind its last character is `END`.

    Attributes:
        alphabet: the characters that have a token. None: those of the training texts.
        whole: whether the texts end where they end, and are not cut off there; the model then learns to end a text.
        prompt: what `sample.txt` goes on with.
        longest: characters of the prompts, or of the texts to score, of a request, each as long as the longest.
        most_drawn: characters that a request may draw for a prompt.
    """

    unknown, end = "\N{REPLACEMENT CHARACTER}", ""
    alphabet = None
    own = OWN
    name = "language_modelling"
    whole = True
    prompt = ""
    longest = 10_000_000
    most_drawn = 10_000

    @classmethod
    def columns_of(cls, config, tables):
        text = tables["train"].find(config.text, "text")
        return {name: {"text": tf.constant(table.texts(text))} for name, table in tables.items()}, []

    def model_arguments(self):
        return {
            "features": self.config.features,
            "outputs": max(2, len(self.labels)),
            "stateful": True,
            "batch_size": self.config.batch_size,
        }

    def pieces(self, columns):
        return sorted(set(self.alphabet or "".join(texts(columns))))

    def split(self, texts):
        return tf.strings.unicode_split(texts, "UTF-8")

    def documents(self, columns):
        """Each text of a split as an array of tokens between two `END`."""
        tokens = self.vocabulary.numbers(self.split(columns["text"]))
        return [np.pad(row.numpy(), 1, constant_values=END) for row in tokens]

    def part(self, documents):
        """The number of characters of a document that one row reads; documents with more are cut in parts."""
        return -(-sum(len(document) - 1 for document in documents) // self.config.batch_size)

    def batches(self, columns, training=False):
        documents = [document if self.whole else document[:-1] for document in self.documents(columns)]
        config = self.config
        return streams(documents, config.batch_size, config.window, self.part(documents), config.seed)

    def compile(self, model, steps):
        model.compile(self.optimizer(steps), loss=bits)

    def signatures(self, model):
        """Signatures of texts and of the model's own steps, all in the graph.

        `generate`, which is also `serving_default`, draws what follows each `prompt`, an empty one being the beginning
        of a document, until the document ends or `max_new_tokens` are drawn. `score` tells what each text costs, in
        bits, and each character of it; one that is not in the alphabet costs what naming it in Unicode takes besides.
        `prefill` reads a prompt and `step` one more token: they return logits, and the states for the next `step`.
        """
        vocabulary, size, most = self.vocabulary, len(self.labels), self.most_drawn

        def to_tokens(name, text):
            """Tokens (batch, time) of texts, `END` before each, and their lengths with it."""
            tokens = vocabulary.numbers(self.split(text))
            lengths = tokens.row_lengths()
            fits = tokens.nrows() * tf.reduce_max(lengths) <= self.longest
            message = f"{name}: expected at most {self.longest} characters, those of the longest for each row"
            with tf.control_dependencies([expect(fits, message)]):
                tokens = tf.pad(tokens.to_tensor(), [[0, 0], [1, 0]], constant_values=END)
                return tokens, 1 + tf.cast(lengths, tf.int32)

        def begin(prompt):
            """The last token of each prompt, and the states before it."""
            tokens, lengths = to_tokens("prompt", prompt)
            _, _, states = read_in_parts(model, tokens[:, :-1], lengths - 1)
            return tf.gather(tokens, lengths - 1, batch_dims=1), states

        def generate(inputs):
            inputs = checked_rows(inputs)
            count, temperature, top_k, top_p, _ = (inputs[name] for name in DRAW)
            is_positive = (temperature > 0) & tf.math.is_finite(temperature)
            settings = checked(
                inputs,
                expect((count >= 0) & (count <= most), f"max_new_tokens: expected 0 to {most}", count),
                expect(is_positive, "temperature: expected a positive number", temperature),
                expect((top_k >= 0) & (top_k <= size), f"top_k: expected 1 to {size}, or 0 for all", top_k),
                expect((top_p > 0) & (top_p <= 1), "top_p: expected a number above 0 and up to 1", top_p),
            )
            last, states = begin(settings.pop("prompt"))
            drawn, counts = generation.generate(model, last[:, None], states=states, end=END, **settings)
            characters = tf.where(tf.sequence_mask(counts, tf.shape(drawn)[1]), vocabulary.names(drawn), "")
            return {"text": tf.strings.reduce_join(characters, axis=1), "characters": counts}

        def score(inputs):
            tokens, lengths = to_tokens("text", checked_rows(inputs)["text"])
            with tf.control_dependencies([expect(lengths > 1, "text: expected at least one character in each")]):
                before, tokens, lengths = tokens[:, :-1], tokens[:, 1:], lengths - 1
            costs, _, _ = read_in_parts(model, before, lengths, targets=tokens)
            costs = costs / math.log(2) + tf.where(tokens == UNKNOWN, math.log2(CODES), 0.0)
            costs = tf.where(tf.sequence_mask(lengths, tf.shape(tokens)[1]), costs, 0)
            return {"bits": tf.reduce_sum(costs, axis=1), "characters": lengths, "bits_of_each": costs}

        def prefill(inputs):
            return _answer(model, *generation.step(model, *begin(checked_rows(inputs)["prompt"])))

        prompt, text = (tf.TensorSpec((None,), tf.string, name=name) for name in ("prompt", "text"))
        settings = [tf.TensorSpec((None,), value.dtype, name=name) for name, value in DRAW.items()]
        generate = by_name(generate, [prompt, *settings])
        return {
            "serving_default": generate,
            "generate": generate,
            "score": by_name(score, [text]),
            "prefill": by_name(prefill, [prompt]),
            "step": step(model, size),
        }

    def request(self, text, **settings):
        """A request of `serving_default` for one prompt, with some `settings` of the draw."""
        arrays = {name: np.array([value], DRAW[name].dtype) for name, value in (DRAW | settings).items()}
        return {"prompt": np.array([text]), **arrays}

    def sample(self, model, splits):
        prompt = self.test_request(splits.test, 0)
        return {
            "serving_default": prompt,
            "generate": prompt,
            "score": {"text": prompt["prompt"]},
            "prefill": {"prompt": prompt["prompt"]},
            "step": first_step(model),
        }

    def test_request(self, columns, number):
        return self.request(texts(columns)[number][:200])

    def show(self, answer):
        return "\n" + answer["text"][0]

    def evaluate(self, answer, splits, folder=None):
        """Bits per character, beside what counts and compressors need; draws what the test text costs, and a sample.

        A compressor's `_after_training` is what the test texts add to the training texts before them.
        """
        test = texts(splits.test)
        scores = answer({"text": np.array(test)}, "score")
        characters = scores["characters"].sum(dtype=np.int64)
        figures = {"test_bits_per_character": scores["bits"].sum(dtype=np.float64) / characters}
        known, asked = (np.concatenate(self.documents(split)) for split in (splits.train, splits.test))
        unknown = math.log2(CODES) * np.sum(asked == UNKNOWN)
        for name, order in {"unigram": 1, "5_gram": 5}.items():
            costs = baselines.ngram_bits(known, asked, order, len(self.labels), END)
            figures[name] = (costs.sum() + unknown) / characters
        known, asked = ("".join(some).encode() for some in (texts(splits.train), test))
        for name, compressed in baselines.COMPRESSORS.items():
            figures[name] = 8 * compressed(asked) / characters
            figures[f"{name}_after_training"] = 8 * (compressed(known + asked) - compressed(known)) / characters
        if folder:
            plots.surprise(test[0], scores["bits_of_each"][0], folder / "surprise.png")
            (drawn,) = answer(self.request(self.prompt, max_new_tokens=2000))["text"]
            (folder / "sample.txt").write_text(self.prompt + drawn + "\n", encoding="utf-8")
        return {name: float(value) for name, value in figures.items()}


class WordModelling(LanguageModelling):
    """The next word of a text. The texts of a split, one behind the other, are one text; a line ends with `END`.

    Attributes:
        tokenized: whether a text is words between spaces. In others punctuation is cut off, and letters become small.
        longest: words of a text that the signature takes.
    """

    unknown, end = "<unk>", "<eos>"
    tokenized = False
    longest = 1_000_000

    def pieces(self, columns):
        """The words, the most frequent first; those seen once are unknown, where the texts mark none as unknown."""
        words = [word.decode() for word in self.words(columns).numpy()]
        return most_frequent(words, times=1 if self.unknown in words else 2)

    def split(self, texts):
        if not self.tokenized:
            texts = tf.strings.regex_replace(tf.strings.lower(texts), r"([^\w\s'])", r" \1 ")
        return tf.strings.split(tf.strings.regex_replace(texts, "\n", f" {self.end} "))

    def words(self, columns):
        """The words of a split, one behind the other, (words,)."""
        return self.split(["".join(texts(columns))]).flat_values

    def batches(self, columns, training=False):
        tokens, size = self.vocabulary.numbers(self.words(columns)), self.config.batch_size
        pairs = windows(tokens, size, self.config.window)
        return batching.Batches(pairs, size, lambda batch, seed: (batch["inputs"], batch["targets"]))

    def compile(self, model, steps):
        model.compile(self.optimizer(steps), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def curves(self, history):
        perplexity = {"perplexity": "loss", "val_perplexity": "val_loss"}
        return [row | {name: math.exp(row[loss]) for name, loss in perplexity.items()} for row in history]

    def signatures(self, model):
        """Texts in; how probable each of their words is, and which come next, out. `step` reads one more token."""
        vocabulary, size = self.vocabulary, len(self.labels)

        def serving_default(inputs):
            tokens = self.split(inputs["text"])
            lengths = tf.cast(tokens.row_lengths(), tf.int32)
            tokens = vocabulary.numbers(tokens).to_tensor()
            tokens, lengths = checked_lengths(tokens, lengths, self.longest, names=("text", None))
            # A text begins behind the end of a line; behind its last word comes what is asked for.
            before = tf.pad(tokens, [[0, 0], [1, 0]], constant_values=END)
            costs, logits, _ = read_in_parts(model, before, lengths + 1, targets=tf.pad(tokens, [[0, 0], [0, 1]]))
            inside = tf.sequence_mask(lengths)
            log_probabilities = tf.where(inside, -costs[:, :-1], 0)
            total = tf.reduce_sum(log_probabilities, axis=1)
            probabilities, following = tf.math.top_k(tf.nn.softmax(logits), min(10, size))
            return {
                "words": tf.where(inside, vocabulary.names(tokens), ""),
                "log_probabilities": log_probabilities,
                "lengths": lengths,
                "perplexity": tf.exp(-total / tf.cast(lengths, tf.float32)),
                "next_words": vocabulary.names(following),
                "next_probabilities": probabilities,
            }

        text = tf.TensorSpec((None,), tf.string, name="text")
        return {"serving_default": by_name(serving_default, [text]), "step": step(model, size)}

    def request(self, text):
        return {"text": np.array([text])}

    def sample(self, model, splits):
        return {"serving_default": self.test_request(splits.test, 0), "step": first_step(model)}

    def test_request(self, columns, number):
        return self.request(texts(columns)[number].strip())

    def read(self, text):
        request = super().read(text)
        if not request["text"][0].strip():
            raise RecipeError(f"Expected a text of at least one word or test:N, received {text!r}.")
        return request

    def show(self, answer):
        words = " ".join(answer["words"][0])
        pairs = zip(answer["next_words"][0][:5], answer["next_probabilities"][0], strict=False)
        following = ", ".join(f"{word} {probability:.3f}" for word, probability in pairs)
        return f"{words!r}, perplexity {answer['perplexity'][0]:.1f}; next {following}"

    def evaluate(self, answer, splits, folder=None):
        """Perplexity of the test text, beside models that count; draws how hard its first words are."""
        answered = answer(self.request("".join(texts(splits.test))))
        log_probabilities = answered["log_probabilities"]
        if folder:
            plots.surprises(answered["words"][0, :60], log_probabilities[0, :60], folder / "surprises.png")
        known, asked = (self.vocabulary.numbers(self.words(split)) for split in (splits.train, splits.test))
        return {
            "test_perplexity": math.exp(-log_probabilities.mean()),
            "kneser_ney_5_gram": baselines.kneser_ney(known, asked, 5),
            "unigram": baselines.kneser_ney(known, asked, 1),
        }


def texts(columns):
    """The texts of a split, a list of str."""
    return [text.decode() for text in tf.convert_to_tensor(columns["text"]).numpy()]


def lines(texts):
    """The lines of texts (examples,) that are not empty, each with the empty ones behind it."""
    return tf.constant([line for text in texts.numpy() for line in re.findall(r"\s*\S.*\s*", text.decode())])


def streams(documents, batch_size, window, longest, seed=0):
    """`Batches` that read documents side by side: each row goes on where that of the batch before stopped.

    They yield `inputs`, `lengths` and `starts`, as a stateful `generative_lstm` takes them, and the tokens that follow.
    A row reads document after document, `window` tokens at a time, the last of a document padded.

    Args:
        documents: int arrays of tokens.
        batch_size: number of rows.
        window: tokens in a row of a batch.
        longest: a longer document is cut in parts of so many tokens, so that the rows are about equally long.
        seed: of the order of the documents in a row.
    """
    parts = [part[start : start + longest + 1] for part in documents for start in range(0, len(part) - 1, longest)]
    rows, lengths = [[] for _ in range(batch_size)], np.zeros(batch_size, int)
    for part in sorted(parts, key=len, reverse=True):
        row = lengths.argmin()
        lengths[row] += -(-(len(part) - 1) // window)
        rows[row].append(part)
    steps, draw = lengths.max(), np.random.default_rng(seed)
    tokens = np.zeros((steps, batch_size, window + 1), np.int32)
    length, starts = np.zeros((steps, batch_size), np.int32), np.zeros((steps, batch_size), bool)
    for row, parts in enumerate(rows):
        step = 0
        for index in draw.permutation(len(parts)):
            for start in range(0, len(parts[index]) - 1, window):
                read = parts[index][start : start + window + 1]
                tokens[step, row, : len(read)] = read
                length[step, row], starts[step, row] = len(read) - 1, start == 0
                step += 1
    columns = {"tokens": tokens, "lengths": length, "starts": starts}

    def example(batch, seed):
        # Every batch is whole, as a stateful layer wants to know before it runs.
        batch = {name: tf.ensure_shape(column, (batch_size, *column.shape[1:])) for name, column in batch.items()}
        tokens = batch.pop("tokens")
        return {"inputs": tokens[:, :-1], **batch}, tokens[:, 1:]

    columns = {name: tf.constant(column.reshape(-1, *column.shape[2:])) for name, column in columns.items()}
    return batching.Batches(columns, batch_size, example)


def windows(tokens, count, window):
    """A text cut into `count` streams, and each into windows: (windows * count, window) of tokens and of next tokens.

    The streams' first windows come first, then their second ones.

    Raises:
        RecipeError: the text is too short.
    """
    length = (len(tokens) - 1) // count // window * window
    if not length:
        raise RecipeError(f"Expected a text of more than {count * window} words, received {len(tokens)}.")
    parts = {"inputs": tokens[: count * length], "targets": tokens[1 : count * length + 1]}
    split = {name: tf.reshape(part, (count, -1, window)) for name, part in parts.items()}
    return {name: tf.reshape(tf.transpose(part, (1, 0, 2)), (-1, window)) for name, part in split.items()}


def bits(tokens, logits):
    """Cost of each token, in bits."""
    return keras.losses.sparse_categorical_crossentropy(tokens, logits, from_logits=True) / math.log(2)


def read_in_parts(model, tokens, lengths, targets=None):
    """Reads texts in parts, so that long ones take little memory; for the graph of a signature.

    In half precision the clock of a `phased_lstm` is rounded from part to part.

    Args:
        model: what `generation.prefill` takes.
        tokens: int tensor (batch, time), any time.
        lengths: int tensor (batch,); a row of length 0 keeps the initial states, and its logits are zeros.
        targets: None, or the tokens (batch, time) that follow.

    Returns:
        Cost of each of the targets, in nats, (batch, time), of no meaning after a length, or None; the logits after
        the last token of each row, (batch, outputs); and the flat list of the states then.
    """
    batch, time = tf.unstack(tf.shape(tokens))
    outputs = model.output_shape[-1]
    steps = tf.maximum(1, _AT_ONCE // (outputs * batch))
    count = -(-time // steps)

    def body(part, costs, last, states):
        now = slice(part * steps, (part + 1) * steps)
        left = lengths - part * steps
        here = tokens[:, now]
        logits, states = generation.prefill(model, here, tf.clip_by_value(left, 0, tf.shape(here)[1]), states)
        if targets is not None:
            cost = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[:, now], logits)
            costs = costs.write(part, tf.transpose(cost))
        last = tf.where(left[:, None] > 0, logits[:, -1], last)
        return part + 1, costs, last, [tf.identity(state) for state in states]

    loop = (
        0,
        tf.TensorArray(tf.float32, 0 if targets is None else count, infer_shape=False, element_shape=(None, None)),
        tf.zeros((batch, outputs)),
        generation.initial_states(model, batch),
    )
    _, costs, last, states = tf.while_loop(lambda part, *_: part < count, body, loop)
    return None if targets is None else tf.transpose(costs.concat()), last, states


def step(model, size):
    """The signature `step`: a token below `size` and the states before it, by name; its logits, and the states then."""
    names, initial = generation.state_names(model), generation.initial_states(model, 1)
    specs = [tf.TensorSpec((None, *state.shape[1:]), name=name) for name, state in zip(names, initial, strict=True)]

    def answer(inputs):
        inputs = checked_rows(inputs)
        token = checked_tokens(inputs["token"], size, "token")
        finite = {
            name: tf.debugging.assert_all_finite(inputs[name], f"{name}: expected finite numbers") for name in names
        }
        states = [tf.cast(finite[name], like.dtype) for name, like in zip(names, initial, strict=True)]
        return _answer(model, *generation.step(model, token, states))

    return by_name(answer, [tf.TensorSpec((None,), tf.int32, name="token"), *specs])


def first_step(model):
    """A request for `step`: `END` as the first token of all."""
    states = zip(generation.state_names(model), generation.initial_states(model, 1), strict=True)
    return {"token": np.array([END], np.int32), **{name: np.asarray(state, np.float32) for name, state in states}}


def _answer(model, logits, states):
    names = generation.state_names(model)
    return {"logits": logits, **{name: tf.cast(s, tf.float32) for name, s in zip(names, states, strict=True)}}
