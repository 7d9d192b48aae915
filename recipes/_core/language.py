"""Language models over characters: texts as streams to train on, and what a trained model is asked."""

import math
import pathlib

import keras
import numpy as np
import tensorflow as tf

from archs import generation
from recipes._core import baselines, data, pictures
from recipes._core.errors import RecipeError
from recipes._core.signatures import by_name, checked, checked_rows, checked_tokens, expect

UNKNOWN, EDGE = 0, 1  # the token of all other characters, and that before and behind a document
LONGEST = 10_000  # characters that one request may draw
LONGEST_TEXT = 10_000_000  # characters of the prompts, or of the texts to score, each as long as the longest
CODES = 0x110000  # the characters that Unicode has room for, one of which an unknown character is
_AT_ONCE = 1_000_000  # logits that are in memory at a time


class Alphabet:
    """Characters as tokens: `UNKNOWN`, `EDGE`, and the characters by their code points.

    Attributes:
        characters: a text with each of them.
        size: number of tokens.
        labels: what each token stands for; the edge is empty.
    """

    def __init__(self, characters):
        self.characters = "".join(sorted(set(characters)))
        self.size = len(self.characters) + 2
        # By token, for those who draw from `step` themselves: the unknown one, the edge, the characters.
        self.labels = ["\N{REPLACEMENT CHARACTER}", "", *self.characters]
        self._codes = np.array([ord(character) for character in self.characters], np.int32)

    def tokens(self, texts):
        """Ragged tokens (batch, None) of a tensor of strings in UTF-8; what is no UTF-8 is unknown."""
        codes = tf.strings.unicode_decode(texts, "UTF-8")
        places = tf.minimum(tf.searchsorted(self._codes, codes.flat_values), len(self._codes) - 1)
        known = tf.gather(self._codes, places) == codes.flat_values
        return codes.with_flat_values(tf.where(known, places + 2, UNKNOWN))

    def texts(self, tokens, counts):
        """Strings (batch,) of the first `counts` tokens of each row; what is no character becomes U+FFFD."""
        codes = tf.gather(np.concatenate([[0xFFFD] * 2, self._codes]).astype(np.int32), tokens)
        return tf.strings.unicode_encode(tf.RaggedTensor.from_tensor(codes, lengths=counts), "UTF-8")

    def documents(self, texts):
        """Each of the texts as an array of tokens between two edges."""
        return [np.pad(row.numpy(), 1, constant_values=EDGE) for row in self.tokens(texts)]


def streams(sequences, batch_size, window, longest, seed=0):
    """`Batches` that read sequences of tokens side by side: each row goes on where that of the batch before stopped.

    They yield `inputs`, `lengths` and `starts`, as a stateful `generative_lstm` takes them, and the tokens that follow.
    A row reads sequence after sequence, `window` tokens at a time, the last of a sequence padded.

    Args:
        sequences: int arrays.
        batch_size: number of rows.
        window: tokens in a row of a batch.
        longest: a longer sequence is cut in parts of so many tokens, so that the rows are about equally long.
        seed: of the order of the sequences in a row.
    """
    parts = [part[start : start + longest + 1] for part in sequences for start in range(0, len(part) - 1, longest)]
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
    return data.Batches(columns, batch_size, example)


def bits(tokens, logits):
    """What each token costs, in bits."""
    return keras.losses.sparse_categorical_crossentropy(tokens, logits, from_logits=True) / math.log(2)


def read(model, tokens, lengths, targets=None):
    """Reads texts in parts, so that long ones take little memory; for the graph of a signature.

    In half precision the clock of a `phased_lstm` is rounded from part to part.

    Args:
        model: what `generation.prefill` takes.
        tokens: int tensor (batch, time), any time.
        lengths: int tensor (batch,); a row of length 0 keeps the initial states, and its logits are zeros.
        targets: None, or the tokens (batch, time) that follow.

    Returns:
        What each of the targets costs, in nats, (batch, time), of no meaning behind a length, or None; the logits after
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


def signatures(model, alphabet):
    """What a trained model is asked, all in the graph.

    `generate`, which is also `serving_default`, draws what follows each `prompt`, an empty one being the beginning of a
    document, until the document ends or `max_new_tokens` are drawn. `score` tells what each text costs, in bits, and
    each character of it; one that is not in the alphabet costs what naming it in Unicode takes besides. `prefill` reads
    a prompt and `step` one more token: they return logits, and the states to hand to the next `step`.
    """

    def to_tokens(name, text):
        """Behind an edge each, and their lengths with it."""
        tokens = alphabet.tokens(text)
        lengths = tokens.row_lengths()
        fits = tokens.nrows() * tf.reduce_max(lengths) <= LONGEST_TEXT
        message = f"{name}: expected at most {LONGEST_TEXT} characters, those of the longest for each row"
        with tf.control_dependencies([expect(fits, message)]):
            tokens = tf.pad(tokens.to_tensor(), [[0, 0], [1, 0]], constant_values=EDGE)
            return tokens, 1 + tf.cast(lengths, tf.int32)

    def begin(prompt):
        """The last token of each prompt, and the states before it."""
        tokens, lengths = to_tokens("prompt", prompt)
        _, _, states = read(model, tokens[:, :-1], lengths - 1)
        return tf.gather(tokens, lengths - 1, batch_dims=1), states

    @tf.function(
        input_signature=[
            tf.TensorSpec((None,), tf.string, name="prompt"),
            tf.TensorSpec((None,), tf.int32, name="max_new_tokens"),
            tf.TensorSpec((None,), tf.float32, name="temperature"),
            tf.TensorSpec((None,), tf.int32, name="top_k"),
            tf.TensorSpec((None,), tf.float32, name="top_p"),
            tf.TensorSpec((None,), tf.int32, name="seed"),
        ]
    )
    def generate(prompt, max_new_tokens, temperature, top_k, top_p, seed):
        inputs = checked_rows(
            {
                "prompt": prompt,
                "max_new_tokens": max_new_tokens,
                "temperature": temperature,
                "top_k": top_k,
                "top_p": top_p,
                "seed": seed,
            }
        )
        settings = checked(
            inputs,
            expect((max_new_tokens >= 0) & (max_new_tokens <= LONGEST), f"max_new_tokens: expected 0 to {LONGEST}"),
            expect((temperature > 0) & tf.math.is_finite(temperature), "temperature: expected a positive number"),
            expect((top_k >= 0) & (top_k <= alphabet.size), f"top_k: expected 1 to {alphabet.size}, or 0 for all"),
            expect((top_p > 0) & (top_p <= 1), "top_p: expected a number above 0 and up to 1"),
        )
        last, states = begin(settings.pop("prompt"))
        drawn, counts = generation.generate(model, last[:, None], states=states, end=EDGE, **settings)
        return {"text": alphabet.texts(drawn, counts), "characters": counts}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def score(text):
        tokens, lengths = to_tokens("text", checked_rows({"text": text})["text"])
        with tf.control_dependencies([expect(lengths > 1, "text: expected at least one character in each")]):
            before, tokens, lengths = tokens[:, :-1], tokens[:, 1:], lengths - 1
        costs, _, _ = read(model, before, lengths, targets=tokens)
        costs = costs / math.log(2) + tf.where(tokens == UNKNOWN, math.log2(CODES), 0.0)
        costs = tf.where(tf.sequence_mask(lengths, tf.shape(tokens)[1]), costs, 0)
        return {"bits": tf.reduce_sum(costs, axis=1), "characters": lengths, "bits_of_each": costs}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="prompt")])
    def prefill(prompt):
        return _answer(model, *generation.step(model, *begin(checked_rows({"prompt": prompt})["prompt"])))

    return {
        "serving_default": generate,
        "generate": generate,
        "score": score,
        "prefill": prefill,
        "step": step(model, alphabet.size),
    }


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


def first_step(model, token):
    """A request for `step`: `token` as the first one of all."""
    states = zip(generation.state_names(model), generation.initial_states(model, 1), strict=True)
    return {"token": np.array([token], np.int32), **{name: np.asarray(state, np.float32) for name, state in states}}


def _answer(model, logits, states):
    names = generation.state_names(model)
    return {"logits": logits, **{name: tf.cast(s, tf.float32) for name, s in zip(names, states, strict=True)}}


def request(prompt, max_new_tokens=500, temperature=0.7, top_k=0, top_p=1.0, seed=0):
    """What `serving_default` takes, for one prompt."""
    return {
        "prompt": np.array([prompt]),
        "max_new_tokens": np.array([max_new_tokens], np.int32),
        "temperature": np.array([temperature], np.float32),
        "top_k": np.array([top_k], np.int32),
        "top_p": np.array([top_p], np.float32),
        "seed": np.array([seed], np.int32),
    }


def sample(model, alphabet, prompt):
    """A request for each of the signatures."""
    return {
        "serving_default": request(prompt),
        "generate": request(prompt),
        "score": {"text": np.array([prompt])},
        "prefill": {"prompt": np.array([prompt])},
        "step": first_step(model, EDGE),
    }


def read_input(text, documents):
    """A request from a file's path, a text to go on with, or `test:N`, the beginning of the N-th test document.

    Args:
        text: of the command line.
        documents: function that returns the test documents.
    """
    if text.startswith("test:"):
        texts = documents()
        return request(texts[pictures.index(text, len(texts))][:200])
    try:
        if text and pathlib.Path(text).is_file():
            text = pathlib.Path(text).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"Expected a text in UTF-8, received {text!r} ({error}).") from None
    except (OSError, ValueError):
        pass  # no path: too long, or with characters that no path has
    return request(text)


def show(answer):
    """The first text of an answer of `serving_default`."""
    return "\n" + answer["text"][0]


def figures(answer, test, train, alphabet):
    """Bits per character of the texts `test`, beside what counts and compressors need for them; and those of each.

    Returns:
        A dict of figures, and the array (texts, characters) of `score`. A compressor's `_after_training` is what the
        test texts add to the training texts before them.
    """
    scores = answer({"text": np.array(test)}, "score")
    characters = scores["characters"].sum(dtype=np.int64)
    result = {"test_bits_per_character": float(scores["bits"].sum(dtype=np.float64) / characters)}
    known, asked = (np.concatenate(alphabet.documents(texts)) for texts in (train, test))
    unknown = math.log2(CODES) * np.sum(asked == UNKNOWN)
    for name, order in {"unigram": 1, "5_gram": 5}.items():
        costs = baselines.ngram_bits(known, asked, order, alphabet.size, EDGE)
        result[name] = float((costs.sum() + unknown) / characters)
    known, asked = ("".join(texts).encode() for texts in (train, test))
    for name, size in baselines.COMPRESSORS.items():
        result[name] = 8 * size(asked) / characters
        result[f"{name}_after_training"] = 8 * (size(known + asked) - size(known)) / characters
    return {name: float(value) for name, value in result.items()}, scores["bits_of_each"]
