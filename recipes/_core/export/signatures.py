"""Parts of the signatures of a SavedModel: checks that refuse nonsense, and a model's own inputs by name.

A check that fails is an InvalidArgument with our words, wherever the graph runs.
"""

import codecs
import inspect
import re

import numpy as np
import tensorflow as tf

LIMIT = 10_000  # time steps of one request, unless its signature allows for another number


def expect(condition, message, received=None):
    """An operation that fails with `message`, unless all of `condition` holds.

    `received` has as many values as the condition; the error tells the first for which it does not hold.
    """
    if received is None:
        return tf.debugging.Assert(tf.reduce_all(condition), [message])
    wrong = tf.boolean_mask(*(tf.reshape(a, (-1,)) for a in (received, tf.logical_not(condition))))
    return tf.debugging.Assert(tf.reduce_all(condition), [f"{message}, received", wrong], summarize=3)


def checked(inputs, *checks):
    """A dict of tensors as it is, once none of the operations `checks` has failed."""
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in inputs.items()}


def checked_rows(inputs):
    """A dict of tensors (batch, ...), once there is a row, and each of them has as many as the first."""
    first, *others = inputs
    rows = tf.shape(inputs[first])[0]
    sizes = {name: tf.shape(inputs[name])[0] for name in others}
    counts = [expect(size == rows, f"{name}: expected one for each row", size) for name, size in sizes.items()]
    return checked(inputs, expect(rows > 0, f"{first}: expected at least one row, received an empty batch"), *counts)


def checked_texts(texts, name):
    """Texts (batch,), once there is one, and each has more than white space."""
    checks = [
        expect(tf.size(texts) > 0, f"{name}: expected at least one row, received an empty batch"),
        expect(tf.strings.length(tf.strings.strip(texts)) > 0, f"{name}: expected text, received an empty one"),
    ]
    return checked({name: texts}, *checks)[name]


def checked_lengths(sequences, lengths, limit=LIMIT, names=("inputs", "lengths")):
    """Sequences (batch, time, ...) and their lengths (batch,), from 1 to the number of time steps, at most `limit`.

    `names` are what the caller calls the two; the second is None where the lengths were counted in a text of his.
    """
    first, second = names[0], names[1] or "lengths"
    counted = f"{first}: expected 1 or more characters or words in each, received an empty one"
    inputs = checked_rows({first: sequences, second: lengths})
    time = tf.shape(sequences)[1]
    return checked(
        inputs,
        expect(inputs[second] > 0, f"{second}: expected 1 or more", inputs[second])
        if names[1]
        else expect(inputs[second] > 0, counted),
        expect(inputs[second] <= time, f"{second}: expected no more than there are time steps", inputs[second]),
        expect(time <= limit, f"{first}: expected at most {limit} time steps", time),
    ).values()


def checked_signals(signals, lengths, limit=LIMIT, names=("inputs", "lengths")):
    """As `checked_lengths`, for floats, which must be finite up to each length; behind it they become zeros."""
    signals, lengths = checked_lengths(signals, lengths, limit, names)
    inside = tf.sequence_mask(lengths, tf.shape(signals)[1])
    for _ in signals.shape[2:]:
        inside = inside[..., None]
    message = f"{names[0]}: expected finite numbers"
    return tf.debugging.assert_all_finite(tf.where(inside, signals, 0), message), lengths


def checked_tokens(tokens, count, name):
    """Int `tokens`, all of them from 0 to `count` - 1."""
    is_known = (tokens >= 0) & (tokens < count)
    return checked({name: tokens}, expect(is_known, f"{name}: expected 0 to {count - 1}", tokens))[name]


def words(error):
    """The message of an error, ours where it is one of a check, without the places in TensorFlow's graph."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    ours = re.search(r"assertion failed: \[(.*?)\]\s*(?:\n|\[\[\{|\[Op:|$)", text, re.DOTALL)
    if not ours:
        ours = re.search(r"^(.*\S)\s*\n?\s*\[\[\{\{", text, re.MULTILINE) or re.search(r"^(.*\S)", text)
    told = ours[1].replace("] [", " ")  # a check that tells several things
    return re.sub(r"(?:\\(?:[0-7]{3}|.))+", _unescaped, told)[:1000]


def _unescaped(found):
    """Turns back what TensorFlow escaped in a text: quotes, and all but ASCII."""
    return codecs.escape_decode(found[0])[0].decode(errors="replace")


def by_name(function, specs):
    """A `tf.function` that is called by the names of `specs`, as SavedModels are; `function` gets a dict of tensors."""
    names = [spec.name for spec in specs]

    def call(*inputs):
        return function(dict(zip(names, inputs, strict=True)))

    # What takes *inputs could be called by position only.
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    call.__signature__ = inspect.Signature(parameters)
    return tf.function(call, input_signature=specs)


def logits(model, **counts):
    """The signature `logits`: what the model itself takes, in numbers, and its logits.

    Args:
        model: its inputs are `inputs` or `decoder_inputs`, (batch, time, ...), and for each `lengths` or
            `decoder_lengths`, (batch,); or, without `lengths`, `inputs` alone, (batch, ...).
        counts: for each input of tokens, by its name, how many there are.
    """
    is_one = not isinstance(model.input, dict)
    taken = {"inputs": model.input} if is_one else model.input
    specs = [tf.TensorSpec(x.shape, x.dtype, name=name) for name, x in taken.items()]
    pairs = [("inputs", "lengths"), ("decoder_inputs", "decoder_lengths")]

    def answer(inputs):
        inputs = checked_rows(inputs)
        for names in pairs:
            if names[0] in counts:
                inputs[names[0]] = checked_tokens(inputs[names[0]], counts[names[0]], names[0])
            if names[1] in inputs:
                check = checked_lengths if names[0] in counts else checked_signals
                inputs |= zip(names, check(*(inputs[name] for name in names), names=names), strict=True)
            elif names[0] in inputs and names[0] not in counts:
                message = f"{names[0]}: expected finite numbers"
                inputs[names[0]] = tf.debugging.assert_all_finite(inputs[names[0]], message)
        return {"logits": tf.cast(model(inputs["inputs"] if is_one else inputs, training=False), tf.float32)}

    return by_name(answer, specs)


def first(batches):
    """The request for `logits` of the first example of `data.Batches`."""
    inputs, _ = next(iter(batches.epoch()))
    inputs = inputs if isinstance(inputs, dict) else {"inputs": inputs}
    return {name: np.asarray(value[:1]) for name, value in inputs.items()}


class Compiled:
    """A model that XLA compiles, anew for each shape of its inputs; for the rest as it is.

    What stands around its call, such as the checks, which XLA would leave out, stays TensorFlow's.
    """

    def __init__(self, model):
        self._model = model
        self._call = tf.function(lambda inputs: model(inputs, training=False), jit_compile=True)

    def __call__(self, inputs, training=False):
        return self._call(inputs)

    def __getattr__(self, name):
        return getattr(self._model, name)
