"""One sequence of named tokens into another: texts as numbers and back, and what a model is taught."""

import tensorflow as tf

import archs

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
        tf.debugging.assert_positive(pieces.nrows(), "expected at least one row, received an empty batch"),
        tf.debugging.assert_positive(lengths, "expected text, received an empty one"),
        tf.debugging.assert_less_equal(lengths, longest, f"expected at most {longest} of {' '.join(names)} in a row"),
        tf.debugging.Assert(tf.reduce_all(is_known), [f"expected {' '.join(names)}, received", unknown]),
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
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


def example(batch, seed=None):
    """What a model is taught with, for a batch of `columns`: what it is fed, and what it should write."""
    inputs = batch["inputs"][:, : tf.reduce_max(batch["lengths"])]
    targets = tf.pad(batch["targets"], [[0, 0], [0, 1]])[:, : tf.reduce_max(batch["decoder_lengths"])]
    fed = tf.pad(targets[:, :-1], [[0, 0], [1, 0]])
    return {
        "inputs": inputs,
        "lengths": batch["lengths"],
        "decoder_inputs": fed,
        "decoder_lengths": batch["decoder_lengths"],
    }, targets


def write(model, request, longest, beam=1):
    """What a model writes: `archs.decoding.beam_search`."""
    return archs.decoding.beam_search(model, request, start=END, end=END, max_length=longest, beam=beam)


def attention(model, request, written):
    """Where a model looked, (batch, steps, time), for each token of the best of what `write` returned."""
    lengths = written["lengths"][:, 0]
    steps = tf.reduce_max(lengths)
    fed = tf.pad(written["tokens"][:, 0], [[0, 0], [1, 0]])[:, :steps]
    weights = archs.decoding.attention(model, request, fed)
    return tf.where(tf.sequence_mask(lengths, steps)[..., None], weights, 0)
