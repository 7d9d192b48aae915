"""Continuations of a trained `generative_lstm`: one token at a time, or a text drawn at once; also within a graph.

`generate` is for Keras on TensorFlow, the others for every backend.
"""

import keras
import numpy as np
from keras import ops

from archs._core import checks
from archs._core.cell import Cell
from archs._core.inputs import TiedEmbedding
from archs._core.lengths import CutToLengths
from archs._core.recurrent import Recurrent
from archs._core.registry import initial_states as states_of, state_sizes


class _Layers:
    def __init__(self, model):
        layers = {layer.name: layer for layer in getattr(model, "layers", [])}
        if not {"embedding", "recurrent_1", "outputs"} <= set(layers):
            name = getattr(model, "name", model)
            raise ValueError(f"Expected a model of `generative_lstm`, or `stacked_lstm` of tokens, received {name!r}.")
        self.embedding, self.outputs = layers["embedding"], layers["outputs"]
        activation = self.outputs.activation
        if activation not in (keras.activations.linear, keras.activations.log_softmax):
            raise ValueError(
                "Expected a model whose outputs are logits, received one with "
                f"`activation={getattr(activation, '__name__', activation)!r}`."
            )
        self.is_residual = any(isinstance(layer, keras.layers.Add) for layer in model.layers)
        count = sum(name.startswith("recurrent_") for name in layers)
        self.cells = [layers[f"recurrent_{number}"].cell for number in range(1, count + 1)]
        self.sizes = [state_sizes(cell) for cell in self.cells]

    def above(self, number, x, new):
        """The input of the next layer: the output `new` of layer `number`, residual or not, whose input was `x`."""
        return x + new if self.is_residual and number else new

    def checked(self, states, tokens):
        """The states as a flat list, if their number and shapes are right for the tokens (batch, ...)."""
        sizes, batch = [size for one in self.sizes for size in one], tokens.shape[0]
        is_list = isinstance(states, (list, tuple))
        received = [tuple(getattr(s, "shape", ())) for s in states] if is_list else type(states).__name__
        if (
            not is_list
            or [shape[1:] for shape in received] != [(size,) for size in sizes]
            or any(None not in (batch, shape[0]) and shape[0] != batch for shape in received)
        ):
            raise ValueError(
                f"Expected `states` to be a list of tensors with {batch or 'batch'} rows, of the sizes {sizes}, "
                f"received {received}."
            )
        return list(states)

    def logits(self, h):
        if isinstance(self.embedding, TiedEmbedding):
            h = self.embedding(h, reverse=True)
        return self.outputs(h)


def state_names(model):
    """The names of a model's states, as `prefill` and `step` have them: `h_1`, `c_1`, `h_2`, ... in a flat list.

    The states of a cell that is not of the catalog have no names: they are `h`, `h2`, `h3`, ...
    """
    layers, names = _Layers(model), []
    for number, (cell, sizes) in enumerate(zip(layers.cells, layers.sizes, strict=True), 1):
        own = cell.states if isinstance(cell, Cell) else ["h", *(f"h{n}" for n in range(2, len(sizes) + 1))]
        names += [f"{name}_{number}" for name in own]
    return names


def initial_states(model, batch_size):
    """The states before the first token: a flat list of tensors (batch_size, size)."""
    if not ops.is_tensor(batch_size):
        batch_size = checks.positive_integer("batch_size", batch_size)
    return [ops.cast(s, c.compute_dtype) for c in _Layers(model).cells for s in states_of(c, batch_size)]


def prefill(model, tokens, lengths=None, states=None):
    """Reads the beginning of a text.

    Args:
        model: of `generative_lstm`, or of `stacked_lstm` over tokens. The states that a stateful one carries are
            neither read nor changed.
        tokens: int tensor (batch, time), with at least one time step.
        lengths: int tensor (batch,); a row of length 0 keeps its states, and its logits say nothing. Default: all of
            the time, but for token 0 in a model with `mask_zero=True`.
        states: flat list of states to begin from. Default: the initial ones.

    Returns:
        The logits after each token, float (batch, time, outputs), after a row's length those at its end; and the flat
        list of the states then.

    Raises:
        ValueError: tokens, lengths or states out of their range, or of another number, shape or dtype. Values that are
            tensors of a graph are checked within it, if XLA does not compile it: InvalidArgumentError.
    """
    layers = _Layers(model)
    tokens = checks.integers("tokens", tokens, "batch", "time")
    sequences, mask = layers.embedding(tokens), layers.embedding.compute_mask(tokens)
    if lengths is not None:
        lengths = checks.integers("lengths", lengths, "batch")
        sequences, mask = CutToLengths(dtype=sequences.dtype)(sequences, lengths, sequences_mask=mask)
    given, after = iter([] if states is None else layers.checked(states, tokens)), []
    for number, (cell, sizes) in enumerate(zip(layers.cells, layers.sizes, strict=True)):
        initial = None if states is None else [next(given) for _ in sizes]
        layer = Recurrent(cell, return_sequences=True, return_state=True)
        new, *finals = layer(sequences, initial_state=initial, mask=mask, training=False)
        sequences = layers.above(number, sequences, new)
        after.extend(finals)
    return layers.logits(sequences), after


def step(model, tokens, states):
    """Reads one more token.

    Args:
        model: see `prefill`.
        tokens: int tensor (batch,). In a model with `mask_zero=True` a row of token 0 keeps its states, and its logits
            say nothing.
        states: flat list, as `prefill`, `step` or `initial_states` returned it.

    Returns:
        The logits of the next token, float (batch, outputs), and the flat list of the new states.

    Raises:
        ValueError: see `prefill`.
    """
    layers = _Layers(model)
    tokens = checks.integers("tokens", tokens, "batch")
    before = layers.checked(states, tokens)
    x, given, after = vectors(layers.embedding, tokens), iter(before), []
    for number, (cell, sizes) in enumerate(zip(layers.cells, layers.sizes, strict=True)):
        new, states = cell(x, [next(given) for _ in sizes], training=False)
        x = layers.above(number, x, new)
        after.extend(keras.tree.flatten(states))
    return layers.logits(x), kept(layers.embedding, tokens, before, after)


def vectors(embedding, tokens):
    """The vectors of tokens, without the mask that Keras hangs on them, of which a cell knows nothing."""
    return ops.copy(embedding(tokens))


def kept(embedding, tokens, before, after):
    """The states `after` the tokens (batch,), but those from `before` in rows whose token is padding."""
    mask = embedding.compute_mask(tokens)
    if mask is None:
        return after
    pairs = zip(after, before, strict=True)
    return [ops.where(mask[:, None], new, ops.cast(old, new.dtype)) for new, old in pairs]


def generate(
    model,
    tokens,
    lengths=None,
    *,
    max_new_tokens,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    repetition_penalty=1.0,
    seed=0,
    end=None,
    stop=(),
    states=None,
):
    """Draws tokens, each after all before it, on TensorFlow. Each row has its own settings, and draws by nothing else.

    Args:
        model: see `prefill`.
        tokens: int tensor (batch, time), the beginnings, with at least one token each.
        lengths: int tensor (batch,), of the beginnings. Default: all of the time.
        max_new_tokens: int, or int tensor (batch,), how many to draw.
        temperature: positive float, or (batch,): below 1 the likely becomes likelier.
        top_k: int, or (batch,): only so many of the likeliest are drawn from; 0 for all.
        top_p: float in (0, 1], or (batch,): only the likeliest are, that together have this probability (nucleus
            sampling, Holtzman et al. 2020).
        repetition_penalty: positive float, or (batch,): what the logits of all tokens that the row holds so far, its
            beginning included, are divided by, or, if negative, multiplied by, so that more than 1 always makes a token
            rarer. 1 for none. Named after Keskar et al. 2019, whose paper was not at hand to compare with.
        seed: int of 64 bits, or (batch,): the same draws the same.
        end: None, or the token after which a row ends.
        stop: list of sequences of tokens, such as those of a line's end, each a list of ints. A row ends when the last
            that it drew are one of them.
        states: see `prefill`.

    Returns:
        int32 tensors (batch, most new tokens), zeros after what was drawn, and (batch,), how many were: neither the
        token `end` nor a sequence of `stop` is counted, or kept.

    Raises:
        ValueError: a setting is out of its range, of a wrong type or not one for each row, and see `prefill`; or the
            model's logits are not finite. Settings that are tensors of a graph are not looked at; there a logit that is
            not finite is an InvalidArgumentError, if XLA does not compile the graph.
        NotImplementedError: Keras' backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            f"Expected Keras' backend to be TensorFlow for `generate`, received {keras.backend.backend()!r}. `prefill` "
            "and `step` are for every backend."
        )
    import tensorflow as tf  # for draws whose seeds are tensors, which Keras has not

    embedding = _Layers(model).embedding
    outputs = embedding.input_dim
    tokens = checks.integers("tokens", tokens, "batch", "time")
    batch = tf.shape(tokens)[0]
    if lengths is not None:
        expected = "Expected lengths of beginnings from 1 to the number of time steps"
        lengths = checks.within(checks.integers("lengths", lengths, "batch"), 1, tf.shape(tokens)[1], expected)
    if end is not None and not tf.is_tensor(end):
        end = checks.integer_between("end", end, 0, outputs - 1)

    stops, stop_lengths = _stops(stop, outputs)
    count = tokens.shape[0]
    expected = "a whole number, 0 or more"
    budget = _setting("max_new_tokens", max_new_tokens, "int32", batch, count, _is_whole, expected)
    settings = sampling_settings(temperature, top_k, top_p, batch, count)
    penalises = ops.is_tensor(repetition_penalty) or repetition_penalty is None or np.any(repetition_penalty != 1)
    expected = "a positive number of 32 bits"
    penalty = _setting("repetition_penalty", repetition_penalty, "float32", batch, count, _is_wide_enough, expected)
    most = tf.reduce_max(budget)
    draws = uniform_draws(seed, most, batch, count)
    logits, states = prefill(model, tokens, lengths, states)

    def body(t, logits, states, seen, last, drawn, counts, going):
        logits = finite(logits, going)  # the other rows have ended
        if penalises:
            logits = tf.cast(logits, tf.float32)
            rarer = tf.where(logits > 0, logits / penalty[:, None], logits * penalty[:, None])
            logits = tf.where(seen, rarer, logits)
        token = sample(logits, *settings, draws[:, t])
        going = going & (t < budget)
        if end is not None:
            going = going & (token != end)
        token = tf.where(going, token, 0)
        drawn = tf.where(tf.range(most) == t, token[:, None], drawn)
        counts += tf.cast(going, tf.int32)
        if penalises:
            seen |= (tf.range(outputs) == token[:, None]) & going[:, None]
        if len(stops):
            last = tf.concat([last[:, 1:], token[:, None]], axis=1)
            ends = tf.reduce_all((last[:, None] == stops) | (stops < 0), axis=-1) & going[:, None]
            counts -= tf.reduce_max(tf.where(ends, stop_lengths, 0), axis=1)
            going &= ~tf.reduce_any(ends, axis=1)
        logits, states = step(model, token, states)
        return t + 1, logits, [tf.identity(s) for s in states], seen, last, drawn, counts, going

    loop = (
        tf.constant(0),
        logits[:, -1],
        list(states),
        _held(tokens, lengths, embedding) if penalises else tf.zeros((batch, 0), tf.bool),
        tf.fill((batch, stops.shape[1]), -2),  # no token
        tf.zeros((batch, most), tf.int32),
        tf.zeros((batch,), tf.int32),
        tf.ones((batch,), tf.bool),
    )
    *_, drawn, counts, _ = tf.while_loop(lambda t, *rest: (t < most) & tf.reduce_any(rest[-1]), body, loop)
    return tf.where(tf.range(most) < counts[:, None], drawn, 0), counts


def _stops(stop, size):
    """The sequences that end a row, int32 (sequences, longest), filled up with -1 in front, and their lengths."""
    rows = [list(row) if isinstance(row, (list, tuple, np.ndarray)) else row for row in stop]
    if not all(isinstance(row, list) and row for row in rows):
        raise ValueError(
            f"Expected `stop` to be a list of sequences of tokens, such as [[3], [1, 2]], received {stop!r}."
        )
    rows = [[checks.integer_between("stop", token, 0, size - 1) for token in row] for row in rows]
    longest = max(map(len, rows), default=0)
    filled = [[-1] * (longest - len(row)) + row for row in rows]
    return np.array(filled, "int32").reshape(len(rows), longest), np.array([len(row) for row in rows], "int32")


def _held(tokens, lengths, embedding):
    """Bool (batch, tokens): each row of `tokens` (batch, time), without its padding, has each token or not."""
    import tensorflow as tf

    rows, time = tf.unstack(tf.shape(tokens))
    inside = tf.ones((rows, time), tf.bool) if lengths is None else tf.sequence_mask(lengths, time)
    mask = embedding.compute_mask(tokens)
    inside = inside if mask is None else inside & mask
    places = tf.stack([tf.broadcast_to(tf.range(rows)[:, None], (rows, time)), tokens], axis=-1)
    return tf.scatter_nd(places, tf.cast(inside, tf.int32), (rows, embedding.input_dim)) > 0


def _setting(name, value, dtype, batch, count, holds, expected):
    """A number for each row, a tensor (batch,) of `dtype`, of one or as many; values that are known are checked."""
    is_tensor = ops.is_tensor(checks.dense(name, value))
    known = checks.known(value) if is_tensor else np.asarray(value)
    try:
        kind = keras.backend.standardize_dtype(value.dtype if is_tensor else known.dtype)
    except ValueError:  # no numbers
        kind = "object"
    is_number = "int" in kind or ("float" in kind and "float" in dtype)
    if not is_number or (known is not None and not np.all(holds(known))):
        raise ValueError(f"Expected `{name}` to be {expected}, received {kind if known is None else known}.")
    value = ops.cast(value, dtype)
    shape = tuple(value.shape)
    if len(shape) > 1 or (shape and None not in (shape[0], count) and shape[0] != count):
        raise ValueError(f"Expected one `{name}`, or one for each row, received {shape}.")
    return ops.broadcast_to(value, (batch,))


def _is_whole(n):
    return (n >= 0) & (n < 2**31)


def _is_wide_enough(t):
    with np.errstate(over="ignore"):
        t = t.astype("float32")
    return (t >= np.finfo("float32").tiny) & np.isfinite(t)


def sampling_settings(temperature, top_k, top_p, batch, count):
    """`temperature`, `top_k` and `top_p` of `generate` for each row, as `sample` takes them.

    Args:
        temperature, top_k, top_p: one, or one for each row.
        batch: number of rows, may be a tensor.
        count: number of rows, or None where it is not known.
    """
    positive = "a positive number of 32 bits (for the likeliest token give `top_k=1`)"
    return (
        _setting("temperature", temperature, "float32", batch, count, _is_wide_enough, positive),
        _setting("top_k", top_k, "int32", batch, count, _is_whole, "a whole number, 0 or more"),
        _setting("top_p", top_p, "float32", batch, count, lambda p: (p > 0) & (p <= 1), "above 0 and up to 1"),
    )


def uniform_draws(seed, most, batch, count):
    """Draws in [0, 1), (batch, most): on TensorFlow those of a row are of its own seed alone.

    On other backends `seed` is one integer of 31 bits.
    """
    if keras.backend.backend() != "tensorflow":
        seed = checks.integer_between("seed", seed, 0, 2**31 - 1)
        return keras.random.uniform((int(batch), int(most)), seed=seed)
    import tensorflow as tf  # for draws whose seeds are tensors, which Keras has not

    seed = _setting("seed", seed, "int64", batch, count, lambda s: s < 2**63, "an integer of 64 bits")
    return tf.map_fn(
        lambda s: tf.map_fn(
            lambda t: tf.random.stateless_uniform((), tf.stack([s, t])),
            tf.range(tf.cast(most, tf.int64)),
            fn_output_signature=tf.float32,
        ),
        seed,
        fn_output_signature=tf.TensorSpec((None,), tf.float32),
    )


def finite(logits, going):
    """Logits (batch, outputs), if the largest of each row that is `going` is finite; the others draw nothing."""
    top = ops.max(logits, axis=-1)
    top = ops.where(ops.any(ops.isnan(logits), axis=-1), ops.cast(np.nan, top.dtype), top)
    holds = ops.logical_or(ops.isfinite(top), ops.logical_not(going))
    top = checks.require(top, holds, "Expected the largest logit of a row to be finite")
    return ops.where(ops.isnan(top)[:, None], top[:, None], logits)  # so that a graph holds the check


def sample(logits, temperature, top_k, top_p, draws):
    """Tokens (batch,) by logits (batch, outputs), of the settings of `generate`, each (batch,), and draws in [0, 1)."""
    size = logits.shape[-1]
    logits, order = ops.top_k(ops.cast(logits, "float32"), size)
    shares = ops.softmax((logits - logits[:, :1]) / temperature[:, None], axis=-1)
    before = ops.cumsum(shares, axis=-1) - shares
    kept = ops.logical_and(
        ops.logical_or(ops.arange(size) < top_k[:, None], top_k[:, None] <= 0), before < top_p[:, None]
    )
    total = ops.cumsum(ops.where(kept, shares, 0.0), axis=-1)
    chosen = ops.sum(ops.cast(total <= draws[:, None] * total[:, -1:], "int32"), axis=-1)
    chosen = ops.minimum(chosen, ops.sum(ops.cast(kept, "int32"), axis=-1) - 1)  # where rounding left nothing
    return ops.cast(ops.take_along_axis(order, chosen[:, None], axis=1)[:, 0], "int32")
