"""One sequence of named tokens into another: texts as numbers and back, and what a model is taught."""

import numpy as np
import tensorflow as tf

import archs
from recipes._core import plots
from recipes._core.signatures import by_name, checked, checked_rows, expect, first, logits

WIDEST = 32  # beam that a request may ask for
END = 0  # what the decoder is fed first, and what it ends with; names are numbered from 1 on


def encode(pieces, names, longest):
    """The numbers of names, (batch, time), and how many each row has; behind its last name stands END.

    Args:
        pieces: ragged tensor (batch, None) of names.
        names: list of str.
        longest: of how many names a row may be.

    Raises:
        InvalidArgumentError: a name is not in the list, or a row has none or too many; in a graph, when it runs.
    """
    lengths = tf.cast(pieces.row_lengths(), tf.int32)
    same = pieces.flat_values[:, None] == tf.constant(names)
    is_known = tf.reduce_any(same, axis=-1)
    unknown = tf.boolean_mask(pieces.flat_values, ~is_known)
    checks = [
        expect(pieces.nrows() > 0, "expected at least one row, received an empty batch"),
        expect(lengths > 0, "expected text, received an empty one"),
        expect(lengths <= longest, f"expected at most {longest} in a row, each one of {' '.join(names)}"),
        tf.debugging.Assert(tf.reduce_all(is_known), [f"expected {' '.join(names)}, received", unknown]),
    ]
    with tf.control_dependencies(checks):
        numbers = 1 + tf.argmax(tf.cast(same, tf.int32), axis=-1, output_type=tf.int32)
        return pieces.with_flat_values(numbers).to_tensor(), lengths


def decode(tokens, names):
    """The texts (...) of tokens (..., time): their names with spaces between them."""
    joined = tf.strings.reduce_join(tf.gather(tf.constant(["", *names]), tokens), axis=-1, separator=" ")
    return tf.strings.strip(joined)


def columns(inputs, lengths, targets, target_lengths):
    """What `data.Batches` holds: pairs of sequences, as `encode` returns them."""
    return {"inputs": inputs, "lengths": lengths, "targets": targets, "decoder_lengths": target_lengths + 1}


def like_lengths(columns):
    """For `lengths` of `data.Batches`: one number that orders by the inputs' length and then by the targets'."""
    return 1000 * columns["lengths"] + columns["decoder_lengths"]


def example(batch, seed=None, hidden=0.0):
    """What a model is taught with, for a batch of `columns`: what it is fed, and what it should write.

    `hidden` is the share of the tokens written before that the decoder is not told: END is fed in their place.
    """
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


def signatures(model, asked, answered, encode, names, longest):
    """What a trained model is asked: texts in, and out come what it writes, all in the graph.

    `serving_default` gives the best `beam` answers of a beam search, the best first, each of at most `max_length`
    names, with their probabilities and the scores that order them; where rows differ in `beam`, empty ones of
    probability 0 fill up. `greedy` writes the likeliest name in each step, and tells where it looked, where the model
    has attention. `logits` is told what to write.

    Args:
        model: of `encoder_decoder_lstm`.
        asked: name of the texts, (batch,).
        answered: name of the answers.
        encode: function from texts to what `encode` of this module returns.
        names: of what is written.
        longest: how many of them an answer may have.
    """
    texts = tf.TensorSpec((None,), tf.string, name=asked)
    ints = [tf.TensorSpec((None,), tf.int32, name=name) for name in ("beam", "max_length")]
    ends = {"start": END, "end": END}
    attends = "memory" in model.get_layer("encoder").output

    def search(inputs):
        inputs = checked_rows(inputs)
        beam, most, penalty = (inputs[name] for name in ("beam", "max_length", "length_penalty"))
        settings = checked(
            inputs,
            expect((beam > 0) & (beam <= WIDEST), f"beam: expected 1 to {WIDEST}"),
            expect((most > 0) & (most <= longest), f"max_length: expected 1 to {longest}"),
            expect((penalty >= 0) & (penalty <= 10), "length_penalty: expected 0 to 10"),
        )
        words, lengths = encode(settings.pop(asked))
        request = {"inputs": words, "lengths": lengths}
        written = archs.decoding.beam_search(model, request, **ends, **settings)
        length = tf.cast(written["lengths"], tf.float32)
        log_probabilities = written["log_probabilities"]
        return {
            answered: decode(written["tokens"], names),
            "probabilities": tf.exp(log_probabilities),
            "scores": log_probabilities / ((6 + length) / 6) ** penalty[:, None],
        }

    def greedy(inputs):
        words, lengths = encode(inputs[asked])
        request = {"inputs": words, "lengths": lengths}
        written = archs.decoding.beam_search(model, request, **ends, max_length=longest)
        answer = {
            answered: decode(written["tokens"][:, 0], names),
            "probability": tf.exp(written["log_probabilities"][:, 0]),
        }
        return answer | ({"attention": attention(model, request, written)} if attends else {})

    counts = {
        "inputs": model.get_layer("encoder").get_layer("embedding").input_dim,
        "decoder_inputs": model.get_layer("decoder_embedding").input_dim,
    }
    return {
        "serving_default": by_name(search, [texts, *ints, tf.TensorSpec((None,), tf.float32, name="length_penalty")]),
        "greedy": by_name(greedy, [texts]),
        "logits": logits(model, **counts),
    }


def request(asked, texts, longest, beam=4, length_penalty=0.0):
    """What `serving_default` takes, for a list of strings."""
    rows = len(texts)
    return {
        asked: np.array(texts),
        "beam": np.full(rows, beam, np.int32),
        "max_length": np.full(rows, longest, np.int32),
        "length_penalty": np.full(rows, length_penalty, np.float32),
    }


def sample(asked, text, longest, batches):
    """A request for each of the signatures."""
    return {
        "serving_default": request(asked, [text], longest),
        "greedy": {asked: np.array([text])},
        "logits": first(batches),
    }


def draw(answer, asked, answered, texts, path, *, pieces):
    """Draws at which `pieces` of each text the names of its greedy answer look; nothing without attention."""
    drawn = [answer({asked: np.array([text])}, "greedy") for text in texts]
    if "attention" in drawn[0]:
        panels = zip(texts, drawn, strict=True)
        panels = [(pieces(str(text)), one[answered][0].split(), one["attention"][0]) for text, one in panels]
        plots.attention(panels, path)


def attention(model, request, written):
    """Where a model looked, (batch, steps, time), for each token of the best of what `beam_search` returned."""
    lengths = written["lengths"][:, 0]
    steps = tf.reduce_max(lengths)
    fed = tf.pad(written["tokens"][:, 0], [[0, 0], [1, 0]])[:, :steps]
    weights = archs.decoding.attention(model, request, fed)
    return tf.where(tf.sequence_mask(lengths, steps)[..., None], weights, 0)
