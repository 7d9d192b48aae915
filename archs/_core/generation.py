"""What a trained `generative_lstm` goes on with: one token at a time, or a text drawn at once; also within a graph."""

import keras
import numpy as np
from keras import ops

from archs._core.inputs import TiedEmbedding
from archs._core.lengths import CutToLengths
from archs._core.recurrent import Recurrent


class _Layers:
    def __init__(self, model):
        layers = {layer.name: layer for layer in model.layers}
        if not {"embedding", "recurrent_1", "outputs"} <= set(layers):
            raise ValueError(
                f"Expected a model of `generative_lstm`, or `stacked_lstm` of tokens, received {model.name!r}."
            )
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

    def above(self, number, x, new):
        """What goes into the next layer: the output `new` of layer `number`, residual or not, whose input was `x`."""
        return x + new if self.is_residual and number else new

    def logits(self, h):
        if isinstance(self.embedding, TiedEmbedding):
            h = self.embedding(h, reverse=True)
        return self.outputs(h)


def state_names(model):
    """The names of a model's states, as `prefill` and `step` have them: `h_1`, `c_1`, `h_2`, ... in a flat list."""
    cells = enumerate(_Layers(model).cells, 1)
    return [f"{name}_{number}" for number, cell in cells for name in cell.states]


def initial_states(model, batch_size):
    """The states before the first token: a flat list of tensors (batch_size, size)."""
    return [ops.cast(s, c.compute_dtype) for c in _Layers(model).cells for s in c.get_initial_state(batch_size)]


def prefill(model, tokens, lengths=None, states=None):
    """Reads the beginning of a text.

    Args:
        model: of `generative_lstm`, or of `stacked_lstm` over tokens. The states that a stateful one carries are
            neither read nor changed.
        tokens: int tensor (batch, time), with at least one time step.
        lengths: int tensor (batch,); a row of length 0 keeps its states, and its logits say nothing. Default: all of
            the time.
        states: flat list of states to begin from. Default: the initial ones.

    Returns:
        The logits after each token, float (batch, time, outputs), behind a row's length those at its end; and the flat
        list of the states then.
    """
    layers = _Layers(model)
    sequences, mask = layers.embedding(tokens), None
    if lengths is not None:
        sequences, mask = CutToLengths(dtype=sequences.dtype)(sequences, lengths)
    given, after = iter(states or []), []
    for number, cell in enumerate(layers.cells):
        initial = [next(given) for _ in cell.state_size] if states else None
        layer = Recurrent(cell, return_sequences=True, return_state=True)
        new, *finals = layer(sequences, initial_state=initial, mask=mask)
        sequences = layers.above(number, sequences, new)
        after.extend(finals)
    return layers.logits(sequences), after


def step(model, tokens, states):
    """Reads one more token.

    Args:
        model: see `prefill`.
        tokens: int tensor (batch,).
        states: flat list, as `prefill`, `step` or `initial_states` returned it.

    Returns:
        The logits of the next token, float (batch, outputs), and the flat list of the new states.
    """
    layers = _Layers(model)
    x, given, after = layers.embedding(tokens), iter(states), []
    for number, cell in enumerate(layers.cells):
        new, states = cell(x, [next(given) for _ in cell.state_size], training=False)
        x = layers.above(number, x, new)
        after.extend(states)
    return layers.logits(x), after


def generate(
    model, tokens, lengths=None, *, max_new_tokens, temperature=1.0, top_k=0, top_p=1.0, seed=0, end=None, states=None
):
    """Draws tokens, each after all before it. Each row has its own settings, and what it draws depends on nothing else.

    Args:
        model: see `prefill`.
        tokens: int tensor (batch, time), the beginnings, with at least one token each.
        lengths: int tensor (batch,), of the beginnings. Default: all of the time.
        max_new_tokens: int, or int tensor (batch,), how many to draw.
        temperature: positive float, or (batch,): below 1 the likely becomes likelier.
        top_k: int, or (batch,): only so many of the likeliest are drawn from; 0 for all.
        top_p: float in (0, 1], or (batch,): only the likeliest are, that together have this probability (nucleus
            sampling, Holtzman et al. 2020).
        seed: int, or (batch,): the same draws the same.
        end: None, or the token after which a row ends.
        states: see `prefill`.

    Returns:
        int32 tensors (batch, most new tokens), zeros behind what was drawn, and (batch,), how many were: the token
        `end` is not counted.

    Raises:
        ValueError: a setting is out of its range. Those that are tensors of a graph are not looked at.
    """
    import tensorflow as tf  # for draws whose seeds are tensors, which Keras has not

    tokens = tf.convert_to_tensor(tokens)
    batch = tf.shape(tokens)[0]

    def rows(name, value, dtype, holds=None, expected=None):
        value = tf.cast(value, dtype)
        known = tf.get_static_value(value)
        if holds and known is not None and not np.all(holds(known)):
            raise ValueError(f"Expected `{name}` to be {expected}, received {known}.")
        return tf.broadcast_to(value, [batch])

    budget = rows("max_new_tokens", max_new_tokens, tf.int32, lambda n: n >= 0, "0 or more")
    temperature = rows("temperature", temperature, tf.float32, lambda t: (t > 0) & np.isfinite(t), "a positive number")
    top_k = rows("top_k", top_k, tf.int32, lambda k: k >= 0, "0 or more")
    top_p = rows("top_p", top_p, tf.float32, lambda p: (p > 0) & (p <= 1), "above 0 and up to 1")
    seed = rows("seed", seed, tf.int32)
    most = tf.reduce_max(budget)
    # One number for each token, of a row's own seed: whatever else is in the batch, a row draws the same.
    draws = tf.map_fn(
        lambda s: tf.map_fn(
            lambda t: tf.random.stateless_uniform((), tf.stack([s, t])), tf.range(most), fn_output_signature=tf.float32
        ),
        seed,
        fn_output_signature=tf.TensorSpec((None,), tf.float32),
    )
    logits, states = prefill(model, tokens, lengths, states)

    def body(t, logits, states, drawn, counts, going):
        token = sample(logits, temperature, top_k, top_p, draws[:, t])
        going = going & (t < budget)
        if end is not None:
            going = going & (token != end)
        token = tf.where(going, token, 0)
        logits, states = step(model, token, states)
        drawn = tf.where(tf.range(most) == t, token[:, None], drawn)
        return t + 1, logits, [tf.identity(s) for s in states], drawn, counts + tf.cast(going, tf.int32), going

    loop = (
        tf.constant(0),
        logits[:, -1],
        list(states),
        tf.zeros((batch, most), tf.int32),
        tf.zeros((batch,), tf.int32),
        tf.ones((batch,), tf.bool),
    )
    _, _, _, drawn, counts, _ = tf.while_loop(lambda t, *rest: (t < most) & tf.reduce_any(rest[-1]), body, loop)
    return drawn, counts


def sample(logits, temperature, top_k, top_p, draws):
    """Tokens (batch,) by logits (batch, outputs), of the settings of `generate`, each (batch,), and draws in [0, 1)."""
    size = logits.shape[-1]
    logits, order = ops.top_k(ops.cast(logits, "float32") / temperature[:, None], size)
    shares = ops.softmax(logits, axis=-1)
    before = ops.cumsum(shares, axis=-1) - shares
    kept = ops.logical_and(
        ops.logical_or(ops.arange(size) < top_k[:, None], top_k[:, None] <= 0), before < top_p[:, None]
    )
    total = ops.cumsum(ops.where(kept, shares, 0.0), axis=-1)
    chosen = ops.sum(ops.cast(total <= draws[:, None] * total[:, -1:], "int32"), axis=-1)
    chosen = ops.minimum(chosen, ops.sum(ops.cast(kept, "int32"), axis=-1) - 1)  # where rounding left nothing
    return ops.cast(ops.take_along_axis(order, chosen[:, None], axis=1)[:, 0], "int32")
