"""The decoder that looks at a memory: a recurrent cell with Bahdanau's or Luong's attention around it."""

import keras
from keras import ops

from archs._core import checks, inner
from archs._core.cell import Cell
from archs._core.policy import InPolicyOf
from archs._core.registry import cell
from archs._core.step import Step


@cell(paper="Bahdanau et al. 2014; Luong et al. 2015", url="https://arxiv.org/abs/1409.0473", year=2014)
class AttentionDecoderCell(Cell):
    r"""Recurrent cell that reads a memory, such as the outputs of an encoder, by attention in each time step.

    D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2014,
    section 3.1 and appendix A.1.2; M.-T. Luong, H. Pham, C. D. Manning, "Effective Approaches to Attention-based Neural
    Machine Translation", EMNLP 2015, equations (5), (7) and (8) and section 3.3 (input feeding).

    Equations:

    $$
    \begin{aligned}
    h_t &= f([x_t; c_t], h_{t-1}) \\
    e_{tj} &= \tanh(h_{t-1} W_q + m_j W_m) v \\
    \alpha_{tj} &= \exp(e_{tj}) / \sum_k \exp(e_{tk}) \\
    c_t &= \sum_j \alpha_{tj} m_j \\
    a_t &= \tanh([c_t; h_t] W_a)
    \end{aligned}
    $$

    for an inner cell f with the output h, and the entries m_j of the memory that are not masked; where all are, c is
    zero. With `attention="luong"` the first two lines are

    $$
    \begin{aligned}
    h_t &= f([x_t; a_{t-1}], h_{t-1}) \\
    e_{tj} &= h_t (m_j W_m)^\top
    \end{aligned}
    $$

    Weights, for d features, n units and a memory of m = `memory_size`, with the inner cell `lstm`:

    | name | symbol | shape |
    |---|---|---|
    | memory_kernel | W_m | (m, n) |
    | query_kernel | W_q | (n, n) |
    | score_kernel | v | (n,) |
    | attention_kernel | W_a | (m + n, n) |
    | kernel | of f | (d + m, 4n) |
    | recurrent_kernel | of f | (n, 4n) |
    | bias | of f | (4n,) |

    With `attention="luong"` kernel is (d + n, 4n), and there is no query_kernel and no score_kernel.

    Departures from the papers: f is any cell, by default `lstm`, where Bahdanau has a GRU and Luong a stack of LSTMs;
    the output a of both is Luong's, where Bahdanau reads a maxout layer of the state before, the word before and the
    context. Of Luong's attentions the global one with the score "general" is here. Neither has biases outside f.

    Args:
        units: positive integer, n.
        cell: the inner cell f: a catalog name, a cell class, a function `units -> cell`, or a cell. What it has of
            dropout and zoneout acts as if it had been given here; on inputs, on x alone.
        attention: `"bahdanau"` or `"luong"`.
        memory_size: m, the size of one entry of the memory. Default: n.
        **kwargs: of `archs.Cell`. Those of activations, biases, kernels and dtype are the inner cell's, too.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of a, (batch, units), and the states of the inner cell.
        training: whether dropout is active.

    The memory is given before: `cell.memorize(memory, mask)`, or in the call of `archs.Recurrent` as
    `memory=...`.

    Returns:
        a, (batch, units), and the list of the new states.

    Raises:
        ValueError: see `archs.Cell`; and on a call, there is no memory, or one of another size.

    Example:

    >>> import keras, archs
    >>> layer = archs.Recurrent(archs.AttentionDecoderCell(6, cell="gru", memory_size=3), return_sequences=True)
    >>> layer(keras.ops.ones((2, 5, 4)), memory=keras.ops.ones((2, 7, 3))).shape
    TensorShape([2, 5, 6])
    """

    states = ("a", "h", "c")
    reads_memory = True

    def __init__(self, units, *, cell="lstm", attention="bahdanau", memory_size=None, **kwargs):
        cell = inner.make_inner(cell, units, kwargs)
        kwargs.setdefault("zoneout", inner.zoneout_of(cell, before=1, after=0))
        self.candidate, self.one_memory = cell.candidate, cell.one_memory  # the checks of Cell read them
        super().__init__(units, **kwargs)
        self.cell = cell
        self.attention = checks.one_of("attention", attention, ("bahdanau", "luong"))
        self.memory_size = checks.positive_integer("memory_size", memory_size or units)
        self.states = ("a", *cell.states)
        self.clocks = cell.clocks
        self.state_size = [units, *cell.state_size]
        # Noise is drawn for the step as a whole, by this cell's rates and seed.
        self.product_sizes, self.inner_sizes = cell.product_sizes, cell.inner_sizes

    def get_config(self):
        return super().get_config() | {"cell": inner.serialized(self.cell)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(inner.deserialized(config))

    def build(self, input_shape):
        super().build(input_shape)
        d, n, m, size = input_shape[-1], self.units, self.memory_size, self.cell.state_size[0]
        self.cell.build((None, d + (m if self.attention == "bahdanau" else n)))
        self._drawn.extend(self.cell._drawn)
        self.memory_kernel = self.weight(
            "memory_kernel", (m, n if self.attention == "bahdanau" else size), role="kernel"
        )
        if self.attention == "bahdanau":
            self.query_kernel = self.weight("query_kernel", (size, n), role="kernel")
            self.score_kernel = self.weight("score_kernel", (n,), role="kernel")
        self.attention_kernel = self.weight("attention_kernel", (m + size, n), role="kernel")

    def prepare(self, memory, mask):
        return [ops.matmul(memory, self.memory_kernel), memory, mask]

    def project(self, inputs):
        return inner.project(self.cell, inputs)

    def recur(self, x, states, step):
        a, old = states[0], tuple(states[1:])
        if self.attention == "bahdanau":
            context, _ = self.look(old[0], step)
            new = inner.run(self.cell, x, context, old, step, step.product)
        else:
            new = inner.run(self.cell, x, a, old, step, step.product)
            context, _ = self.look(new[0], step)
        a = ops.tanh(step.product(ops.concatenate([context, new[0]], axis=-1), self.attention_kernel))
        return a, *new

    def look(self, h, step):
        """The context (batch, m) and the attention weights (batch, memory time) for outputs h of the inner cell."""
        keys, values, mask = step.memory
        # The scores in single precision at least, since the gradient of v is a sum over all that is looked at.
        wide = keras.backend.result_type(keys.dtype, "float32")
        if self.attention == "bahdanau":
            query = step.product(h, self.query_kernel)
            seen = ops.cast(ops.tanh(query[:, None] + keys), wide)
            scores = ops.sum(seen * ops.cast(self.score_kernel, wide), axis=-1)
        else:
            scores = ops.cast(ops.matmul(keys, h[..., None])[..., 0], wide)
        is_read = ops.cast(mask, "bool")
        lowest = ops.min(scores, axis=-1, keepdims=True)
        top = ops.max(ops.where(is_read, scores, lowest), axis=-1, keepdims=True)
        weights = ops.where(is_read, ops.exp(ops.where(is_read, scores - top, 0)), 0)
        total = ops.sum(weights, axis=-1, keepdims=True)
        weights = ops.cast(weights / ops.where(total == 0, 1, total), values.dtype)  # nothing to read: zeros
        return ops.matmul(weights[:, None], values)[:, 0], weights

    def alignment(self, old, new):
        """The attention weights (batch, memory time) of the step that led from the states `old` to `new`."""
        h, step = (old if self.attention == "bahdanau" else new)[1], Step.of_call(self, False)
        return InPolicyOf(self)([h], function=lambda h: self.look(h, step)[1])

    def get_initial_state(self, batch_size):
        a = ops.zeros((batch_size, self.units), dtype=self.compute_dtype)
        return [a, *self.cell.get_initial_state(batch_size)]
