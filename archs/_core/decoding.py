"""Decoding by a trained model: beam search, sampling and attention weights, labels of CTC.

Models with a decoder are those of `encoder_decoder_lstm` and `attention_captioner`. All of it runs within a graph, too.
"""

import contextlib

import keras
import numpy as np
from keras import ops

from archs._core import calls, checks, external_memory, generation
from archs._core.losses import without_padding


class _Decoder:
    """The decoder of a model, step by step: from tokens and states to logits and states."""

    def __init__(self, model):
        names = {layer.name for layer in getattr(model, "layers", [])}
        name = getattr(model, "name", model)
        if not {"encoder", "decoder_1", "outputs"} <= names:
            raise ValueError(f"Expected a model of `encoder_decoder_lstm` or `attention_captioner`, received {name!r}.")
        if "decoder_embedding" not in names:
            raise ValueError(
                f"Expected a model whose decoder writes tokens, received {name!r}, whose decoder reads vectors "
                "(`decoder_features`). A call of the model answers for all of its steps."
            )
        self.encoder, self.embedding = model.get_layer("encoder"), model.get_layer("decoder_embedding")
        self.outputs = model.get_layer("outputs")
        self.draws = model.get_layer("decoder_draws") if "decoder_draws" in names else None
        count = sum(name.startswith("decoder_") and name.removeprefix("decoder_").isdecimal() for name in names)
        self.cells = [model.get_layer(f"decoder_{number}").cell for number in range(1, count + 1)]

    def request(self, request):
        """A request as a dict of what the encoder takes, int tensors but for vectors.

        Raises:
            ValueError: other keys, shapes or dtypes, or lengths that are not one for each row.
        """
        takes = self.encoder.input if isinstance(self.encoder.input, dict) else {"inputs": self.encoder.input}
        if len(takes) == 1 and not isinstance(request, dict):
            request = {"inputs": request}
        if not isinstance(request, dict) or set(request) != set(takes):
            received = sorted(request) if isinstance(request, dict) else type(request).__name__
            raise ValueError(f"Expected a request to be a dict of {' and '.join(takes)}, received {received}.")
        given = {}
        for name, tensor in takes.items():
            if tensor.dtype == "int32":
                given[name] = checks.integers(name, request[name], *("batch", "time")[: len(tensor.shape)])
            else:
                given[name] = ops.convert_to_tensor(checks.dense(name, request[name]), dtype=tensor.dtype)
        return given

    @contextlib.contextmanager
    def encoded(self, request, copies):
        """The initial states for `copies` of each row of a request; within it the decoder can be run."""
        encoded = self.encoder(request if "lengths" in request else request["inputs"], training=False)
        last, memory = self.cells[-1], None
        if getattr(last, "reads_memory", False):
            memory = external_memory.prepared(last, encoded["memory"], encoded.get("mask"))
            memory = [ops.repeat(array, copies, axis=0) for array in memory]
        with calls.within(last, calls.Call(draws=False, memory=memory)):
            yield keras.tree.map_structure(lambda state: ops.repeat(state, copies, axis=0), encoded["states"])

    def ends(self, start, end):
        """The tokens that begin and end a sequence, if it can have them."""
        size = self.outputs.units
        start = checks.integer_between("start", start, int(self.embedding.mask_zero), size - 1)  # no padding
        return start, checks.integer_between("end", end, 0, size - 1)

    def step(self, tokens, states):
        """Logits (batch, outputs) and the new states after `tokens` (batch,)."""
        x, new = generation.vectors(self.embedding, tokens), []
        for cell, old in zip(self.cells, states, strict=True):
            x = self.draws(x) if self.draws and cell is self.cells[-1] else x
            x, after = cell(x, list(old), training=False)
            new.append(generation.kept(self.embedding, tokens, old, keras.tree.flatten(after)))
        return self.outputs(x), new


def beam_search(model, request, *, start, end, max_length, beam=1, length_penalty=0.0, never=()):
    """The most probable sequences that the decoder can write, as far as a beam finds them; a beam of 1 is greedy.

    In each step the `beam` most probable beginnings of each row are kept. One that has ended stays as it is. At the end
    they are ordered by log probability / ((5 + length) / 6) ** length_penalty (Wu et al. 2016), where the length counts
    an end token, also of those that were cut off before it. `beam`, `max_length` and `length_penalty` may be tensors
    (batch,), one for each row, whose values are not looked at within a graph that XLA compiles.

    Args:
        model: of `encoder_decoder_lstm` or `attention_captioner`.
        request: dict of `inputs` and, if the model takes them, `lengths`, as the model takes them; or the inputs alone.
        start: int, the token that the decoder is fed first; not 0 in a model with `mask_zero=True`.
        end: int, the token that ends a sequence.
        max_length: int, after so many tokens a sequence is cut off.
        beam: positive integer.
        length_penalty: float, 0 for none; a larger one favours longer sequences.
        never: ints, tokens that are not written, such as one that stands for unknown words; not `end`.

    Returns:
        A dict of `tokens`, int32 (batch, beam, max_length), the best first, filled up with `end`; `lengths`, int32
        (batch, beam), without the end token; `log_probabilities`, float32 (batch, beam), of the sequence with its end
        token. A row with fewer sequences than the widest beam is filled up with empty ones, whose log probability is
        -1e9.

    Raises:
        ValueError: the model is neither, or an argument is out of its range, or of another shape or
            dtype. Within a graph, of what is not known before: InvalidArgumentError.
    """
    decoder = _Decoder(model)
    request = decoder.request(request)
    batch, size = ops.shape(request["inputs"])[0], decoder.outputs.units
    beams, beam = _per_row("beam", beam, batch)
    limits, max_length = _per_row("max_length", max_length, batch)
    length_penalty = _penalty("length_penalty", length_penalty, batch)
    start, end = decoder.ends(start, end)
    never = [checks.integer_between("never", token, 0, size - 1) for token in never]
    if end in never:
        raise ValueError(f"Expected `never` without the end token {end}, received {never!r}.")
    barred = ops.convert_to_tensor(np.where(np.isin(np.arange(size), never), -1e9, 0.0), "float32")
    places = ops.arange(max_length)
    is_spare = ops.arange(beam) >= beams
    only_end = ops.where(ops.arange(size) == end, 0.0, -1e9)

    def pick(tensor, parents):
        """Of a tensor (batch, beam, ...) or (batch * beam, ...), the rows (batch, beam) that `parents` names."""
        rows = ops.reshape(ops.arange(batch)[:, None] * beam + parents, (-1,))
        return ops.take(ops.reshape(tensor, (-1, ops.shape(tensor)[-1])), rows, axis=0)

    def more(t, tokens, last, scores, done, states):
        return ops.logical_and(t < max_length, ops.logical_not(ops.all(done)))

    def body(t, tokens, last, scores, done, states):
        logits, states = decoder.step(ops.reshape(last, (-1,)), states)
        gains = ops.log_softmax(ops.cast(logits, "float32"), axis=-1) + barred
        gains = ops.where(done[..., None], only_end, ops.reshape(gains, (batch, beam, size)))
        totals = ops.reshape(scores[..., None] + gains, (batch, beam * size))
        scores, best = ops.top_k(totals, beam)
        scores = ops.where(is_spare, -1e9, scores)
        best = ops.cast(best, "int32")
        parents, last = best // size, best % size
        tokens = ops.reshape(pick(tokens, parents), (batch, beam, max_length))
        tokens = ops.where(places == t, last[..., None], tokens)
        done = ops.logical_or(ops.take_along_axis(done, parents, axis=1), last == end)
        done = ops.logical_or(done, ops.logical_or(is_spare, t + 1 >= limits))
        states = keras.tree.map_structure(lambda state: pick(state, parents), states)
        return t + 1, tokens, last, scores, done, states

    with decoder.encoded(request, beam) as states:
        first = ops.where(ops.arange(beam) == 0, 0.0, -1e9)  # all copies of a row are alike: only one goes on
        loop = (
            ops.cast(0, "int32"),
            ops.full((batch, beam, max_length), end, dtype="int32"),
            ops.full((batch, beam), start, dtype="int32"),
            ops.broadcast_to(first, (batch, beam)),
            ops.broadcast_to(is_spare, (batch, beam)),
            states,
        )
        _, tokens, _, scores, _, _ = ops.while_loop(more, body, loop, maximum_iterations=max_length)
    is_spare = ops.logical_or(is_spare, scores <= -5e8)  # for which there was no sequence
    tokens, scores = ops.where(is_spare[..., None], end, tokens), ops.where(is_spare, -1e9, scores)
    lengths = _lengths(tokens, end)
    penalty = ((6.0 + ops.cast(lengths, "float32")) / 6.0) ** length_penalty
    _, order = ops.top_k(scores / penalty, beam)
    order = ops.cast(order, "int32")
    return {
        "tokens": ops.take_along_axis(tokens, order[..., None], axis=1),
        "lengths": ops.take_along_axis(lengths, order, axis=1),
        "log_probabilities": ops.take_along_axis(scores, order, axis=1),
    }


def sample(model, request, *, start, end, max_length, temperature=1.0, top_k=0, top_p=1.0, seed=0):
    """A sequence for each row, drawn token by token. For more of a row, repeat it, each with a seed of its own.

    Each setting may be a tensor (batch,), one for each row; then, on TensorFlow, a row draws by nothing else.

    Args:
        model, request, start, end, max_length: as for `beam_search`.
        temperature, top_k, top_p: as for `archs.generation.generate`.
        seed: int of 64 bits, or (batch,): the same draws the same. On other backends one int of 31 bits.

    Returns:
        A dict of `tokens`, int32 (batch, max_length), filled up with `end`; `lengths`, int32 (batch,), without the end
        token; `log_probabilities`, float32 (batch,), what the model gives the sequence with its end token, whatever the
        settings.

    Raises:
        ValueError: see `beam_search`; or a logit is not finite.
    """
    decoder = _Decoder(model)
    request = decoder.request(request)
    batch, count = ops.shape(request["inputs"])[0], request["inputs"].shape[0]
    limits, max_length = _per_row("max_length", max_length, batch)
    start, end = decoder.ends(start, end)
    settings = generation.sampling_settings(temperature, top_k, top_p, batch, count)
    draws = generation.uniform_draws(seed, max_length, batch, count)
    places = ops.arange(max_length)

    def more(t, tokens, last, scores, done, states):
        return ops.logical_and(t < max_length, ops.logical_not(ops.all(done)))

    def body(t, tokens, last, scores, done, states):
        logits, states = decoder.step(last, states)
        logits = generation.finite(ops.cast(logits, "float32"), ops.logical_not(done))
        last = ops.where(done, end, generation.sample(logits, *settings, draws[:, t]))
        gains = ops.take_along_axis(ops.log_softmax(logits, axis=-1), last[:, None], axis=1)[:, 0]
        scores = scores + ops.where(done, 0.0, gains)
        tokens = ops.where(places == t, last[:, None], tokens)
        done = ops.logical_or(done, ops.logical_or(last == end, t + 1 >= limits[:, 0]))
        return t + 1, tokens, last, scores, done, states

    with decoder.encoded(request, 1) as states:
        loop = (
            ops.cast(0, "int32"),
            ops.full((batch, max_length), end, dtype="int32"),
            ops.full((batch,), start, dtype="int32"),
            ops.zeros((batch,)),
            ops.zeros((batch,), "bool"),
            states,
        )
        _, tokens, _, scores, _, _ = ops.while_loop(more, body, loop, maximum_iterations=max_length)
    return {"tokens": tokens, "lengths": _lengths(tokens, end), "log_probabilities": scores}


def _lengths(tokens, end):
    """Number of tokens before the first `end`."""
    return ops.sum(ops.cast(ops.cumsum(ops.cast(tokens == end, "int32"), axis=-1) == 0, "int32"), axis=-1)


def _is_one(values):
    return not (ops.is_tensor(values) or isinstance(values, (list, tuple, np.ndarray)))


def _per_row(name, values, batch):
    """A positive integer for each row, (batch, 1), and the largest."""
    if _is_one(values):
        values = checks.positive_integer(name, values)
        return ops.full((batch, 1), values, dtype="int32"), values
    values = checks.integers(name, values, "batch")
    values = checks.within(values, 1, 2**31 - 1, f"Expected `{name}` to be positive integers")
    return _column(name, values, batch), ops.max(values)


def _penalty(name, values, batch):
    """A number, or one for each row, (batch, 1)."""
    if _is_one(values):
        return float(checks.number(name, values))
    values = values if ops.is_tensor(values) else np.asarray(checks.dense(name, values))
    if not ops.is_tensor(values) and values.dtype.kind not in "iuf":
        raise ValueError(f"Expected `{name}` to be numbers, received {values.tolist()!r}.")
    values = ops.cast(values, "float32")
    return _column(name, checks.require(values, ops.isfinite(values), f"Expected `{name}` to be numbers"), batch)


def _column(name, values, batch):
    if len(values.shape) != 1 or (isinstance(batch, int) and values.shape[0] not in (None, batch)):
        raise ValueError(f"Expected `{name}` to be one, or one for each row, received shape {tuple(values.shape)}.")
    return values[:, None]


def attention(model, request, decoder_inputs):
    """Attention weights of a decoder while it is fed given tokens.

    Args:
        model: of `encoder_decoder_lstm`, with attention, or of `attention_captioner`.
        request: as for `beam_search`.
        decoder_inputs: int tensor (batch, steps): the start token, and what was written.

    Returns:
        Float tensor (batch, steps, time): in each step a weight for each time step of the inputs, or each place of an
        image, row by row; of several heads their mean. Their sum is one, but with `local="predictive"`.

    Raises:
        ValueError: the model has no attention; and see `beam_search`.
    """
    decoder = _Decoder(model)
    last = decoder.cells[-1]
    if not getattr(last, "reads_memory", False):
        raise ValueError(f"Expected a model with attention, received {model.name!r}, which has none.")

    request, tokens = decoder.request(request), checks.integers("decoder_inputs", decoder_inputs, "batch", "steps")
    counts = request["inputs"].shape[0], tokens.shape[0]
    if None not in counts and counts[0] != counts[1]:
        raise ValueError(f"Expected `decoder_inputs` of the {counts[0]} rows of the request, received {counts[1]}.")
    tokens = ops.transpose(tokens)
    steps, batch = ops.shape(tokens)

    def body(t, states, weights):
        _, new = decoder.step(tokens[t], states)
        looked = ops.cast(last.alignment(states[-1], new[-1]), "float32")
        return t + 1, new, ops.slice_update(weights, (t, 0, 0), looked[None])

    with decoder.encoded(request, 1) as states:
        weights = ops.zeros((steps, batch, ops.shape(calls.get(last).memory[2])[1]))
        loop = (ops.cast(0, "int32"), states, weights)
        _, _, weights = ops.while_loop(lambda t, *_: t < steps, body, loop)
    return ops.transpose(weights, (1, 0, 2))


def ctc_decode(model, inputs, *, beam=1):
    """The most probable labels of a model trained by `archs.losses.CTC`, for as many time steps as its mask leaves in.

    Args:
        model: any with logits (batch, time, classes) as its answer, whose class 0 is the blank.
        inputs: what the model takes.
        beam: positive int. 1: the labels of the most probable path. More: those whose paths together are the most
            probable, as far as a beam of this width finds them.

    Returns:
        A dict of `tokens`, int32 (batch, time), zeros after the labels; `lengths`, int32 (batch,), how many they are;
        `log_probabilities`, float32 (batch,), of the path or of all paths.

    Raises:
        ValueError: the model does not answer for each time step, or `beam` is out of its range.
    """
    beam = checks.positive_integer("beam", beam)
    logits, steps = without_padding(model(inputs, training=False))
    found, scores = ops.ctc_decode(
        ops.log_softmax(ops.cast(logits, "float32"), axis=-1),
        steps,
        strategy="greedy" if beam == 1 else "beam_search",
        beam_width=beam,
        mask_index=0,
    )
    return {
        "tokens": ops.maximum(found[0], 0),
        "lengths": ops.sum(ops.cast(found[0] > 0, "int32"), axis=-1),
        "log_probabilities": (-scores if beam == 1 else scores)[:, 0],
    }
