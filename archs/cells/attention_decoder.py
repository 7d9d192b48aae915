"""The decoder that looks at a memory: a recurrent cell with Bahdanau's or Luong's attention around it."""

import keras
from keras import ops

from archs._core import checks, inner
from archs._core.cell import Cell
from archs._core.policy import InPolicyOf
from archs._core.registry import cell
from archs._core.step import Step

_LAST = 1 - 1e-5  # the largest number that draws: in single precision the weights may sum to less than one


@cell(paper="Bahdanau et al. 2014; Luong et al. 2015", url="https://arxiv.org/abs/1409.0473", year=2014)
class AttentionDecoderCell(Cell):
    r"""Recurrent cell that reads a memory, such as the outputs of an encoder, by attention in each time step.

    D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2014,
    section 3.1 and appendix A.1.2; M.-T. Luong, H. Pham, C. D. Manning, "Effective Approaches to Attention-based Neural
    Machine Translation", EMNLP 2015, equations (5), (7) to (10) and sections 3.2 and 3.3 (input feeding).

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
    zero. With `attention="luong"` (Luong's score "general"), `"luong_dot"` or `"luong_concat"` the first two lines are

    $$
    \begin{aligned}
    h_t &= f([x_t; a_{t-1}], h_{t-1}) \\
    e_{tj} &= h_t (m_j W_m)^\top, \quad h_t m_j^\top \quad\text{or}\quad \tanh(h_t W_q + m_j W_m) v
    \end{aligned}
    $$

    Below, q is the h that the score reads: $h_{t-1}$ with `"bahdanau"`, $h_t$ with the others.

    - `gate=True` (K. Xu et al., "Show, Attend and Tell", ICML 2015, section 4.2.1): $\beta_t c_t$ stands for the
      context $c_t$, with one number $\beta_t = \sigma(q W_\beta)$.
    - `deep_output=True` (Xu et al., equation (7) without $L_o$): $a_t = x_t + [c_t; h_t] W_a$, or where x is not of n
      units $x_t W_x$ in the place of $x_t$.
    - `hard=True` (Xu et al., equations (8) and (9)): c is one entry, drawn by its weight. Two more states sum up
      the log probabilities of what was drawn, $\log \alpha_{tj}$, and the entropies
      $-\sum_j \alpha_{tj} \log \alpha_{tj}$, for a loss such as that of `archs.attention_captioner`.
    - `coverage="sum"`: a state sums up the weights, $u_t = u_{t-1} + \alpha_t$, for a loss. With `"score"` (A. See,
      P. J. Liu, C. D. Manning, "Get To The Point", ACL 2017, equations (10) to (12)) the score reads it,
      $e_{tj} = \tanh(q W_q + m_j W_m + u_{t-1,j} w_u) v$, and one more state sums up
      $\sum_j \min(\alpha_{tj}, u_{t-1,j})$. With `"fertility"` (Z. Tu et al., "Modeling Coverage for Neural Machine
      Translation", ACL 2016, linguistic coverage) also $u_{tj} = u_{t-1,j} + \alpha_{tj} / \Phi_j$, where
      $\Phi_j = 2 \sigma(m_j w_\Phi)$ is how many steps an entry is worth.
    - `local="monotonic"` (Luong et al., section 3.2, local-m): only entries with $|j - p_t| \leq D$ are read, where
      $p_t$ is t, or the last entry if t is past it. `"predictive"` (local-p, equations (9) and (10)):
      $p_t = S \sigma(\tanh(q W_p) v_p)$ for S entries, and what is softmax within the window is multiplied by
      $\exp(-2 (j - p_t)^2 / D^2)$. t and j count from 0, and entries that are masked do not count.
    - `heads=k` (A. Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2): the units of queries and keys
      are split into k parts, each with weights of its own for its part of $m_j W_v$; c is what all of them read. For
      coverage $\alpha$ is the mean of their weights.

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

    With Luong's attentions kernel is (d + n, 4n). `"luong"` has no query_kernel and no score_kernel, `"luong_dot"` no
    memory_kernel either. Each where an equation above has it, there are gate_kernel (n, 1), skip_kernel (d, n),
    coverage_kernel (n,), fertility_kernel (m,), position_kernel (n, n), position_score (n,) and value_kernel (m, m).

    Departures from the papers: f is any cell, by default `lstm`, where Bahdanau has a GRU and Luong a stack of LSTMs;
    the output a of both is Luong's, where Bahdanau reads a maxout layer of the state before, the word before and the
    context. None has biases outside f. Local attention scores all entries and leaves most out, so that it saves no
    time. Heads have any of the scores above, where Vaswani's are scaled products. Xu's code squashes (7) by tanh, the
    formula does not. Tu's coverage by a network is not here.

    Args:
        units: positive integer, n.
        cell: the inner cell f: a catalog name, a cell class, a function `units -> cell`, or a cell. What it has of
            dropout and zoneout acts as if it had been given here; on inputs, on x alone.
        attention: `"bahdanau"`, `"luong"`, `"luong_dot"` or `"luong_concat"`.
        memory_size: m, the size of one entry of the memory. Default: n.
        gate: whether the context has the gate beta.
        deep_output: whether a is Xu's, not Luong's.
        hard: whether one entry is drawn. The last of the inputs, one for each head, are then no features but the
            numbers that draw, uniform in [0, 1). Where one is negative, all entries are read by their weights.
        coverage: None, `"sum"`, `"score"` or `"fertility"`; the last two with `"bahdanau"` and `"luong_concat"`.
        local: None, `"monotonic"` or `"predictive"`; the latter not with `hard`.
        window: D of `local`, a positive integer.
        heads: positive integer that divides m and n; with `"luong"` and `"luong_dot"` m and the size of h.
        **kwargs: of `archs.Cell`. Those of activations, biases, kernels and dtype are the inner cell's, too. Zoneout
            does not touch the states that sum up or count.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of a, (batch, units), the states of the inner cell, and, if there are such, those of `coverage`,
            (batch, memory time) and (batch, 1), the steps of `local="monotonic"`, (batch, 1), and the log probability
            and the entropy of `hard`, (batch, 1).
        training: whether dropout is active.

    The memory is given before: `cell.memorize(memory, mask)`, or in the call of `archs.Recurrent` as
    `memory=...`.

    Returns:
        a, (batch, units), and the list of the new states.

    Raises:
        ValueError: see `archs.Cell`; arguments that do not go together; and on a call, there is no memory, or one of
            another size.

    Example:

    >>> import keras, archs
    >>> layer = archs.Recurrent(archs.AttentionDecoderCell(6, cell="gru", memory_size=3), return_sequences=True)
    >>> layer(keras.ops.ones((2, 5, 4)), memory=keras.ops.ones((2, 7, 3))).shape
    TensorShape([2, 5, 6])
    """

    states = ("a", "h", "c")
    attentions = ("bahdanau", "luong", "luong_dot", "luong_concat")
    reads_memory = True

    def __init__(
        self,
        units,
        *,
        cell="lstm",
        attention="bahdanau",
        memory_size=None,
        gate=False,
        deep_output=False,
        hard=False,
        coverage=None,
        local=None,
        window=10,
        heads=1,
        **kwargs,
    ):
        cell = inner.make_inner(cell, units, kwargs)
        kwargs.setdefault("zoneout", inner.zoneout_of(cell, before=1, after=0))
        self.candidate, self.one_memory = cell.candidate, cell.one_memory  # the checks of Cell read them
        super().__init__(units, **kwargs)
        self.cell = cell
        self.attention = checks.one_of("attention", attention, self.attentions)
        self.memory_size = checks.positive_integer("memory_size", units if memory_size is None else memory_size)
        self.gate, self.hard = checks.flag("gate", gate), checks.flag("hard", hard)
        self.deep_output = checks.flag("deep_output", deep_output)
        self.coverage = checks.one_of("coverage", coverage, (None, "sum", "score", "fertility"))
        self.local = checks.one_of("local", local, (None, "monotonic", "predictive"))
        self.window = checks.positive_integer("window", window)
        self.heads = checks.positive_integer("heads", heads)
        self._is_additive, self._is_scored = attention in ("bahdanau", "luong_concat"), coverage not in (None, "sum")
        if self._is_scored and not self._is_additive:
            raise ValueError(
                f"Expected `attention` to be 'bahdanau' or 'luong_concat' with `coverage={coverage!r}`, which their "
                f"score reads, received {attention!r}."
            )
        if hard and local == "predictive":
            raise ValueError("Expected no `hard=True` with `local='predictive'`, whose weights do not sum to one.")
        kept = {"coverage": None} if coverage else {}  # as long as the memory
        kept |= {"overlap": 1} if self._is_scored else {}
        kept |= {"steps": 1} if local == "monotonic" else {}
        kept |= {"log_probability": 1, "entropy": 1} if hard else {}
        self._kept, own = tuple(kept), 1 + len(cell.states)
        self.states = ("a", *cell.states, *kept)
        self.clocks = (*cell.clocks, "steps") if "steps" in kept else cell.clocks
        self.state_size = [units, *cell.state_size, *kept.values()]
        if kept and self.zoneout:
            rates = self.zoneout if isinstance(self.zoneout, list) else [self.zoneout] * own
            self.zoneout = rates[:own] + [0.0] * len(kept)
        self.undropped = heads if hard else 0
        # Noise is drawn for the step as a whole, by this cell's rates and seed.
        self.product_sizes, self.inner_sizes = cell.product_sizes, cell.inner_sizes

    def get_config(self):
        return super().get_config() | {"cell": inner.serialized(self.cell)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(inner.deserialized(config))

    def build(self, input_shape):
        super().build(input_shape)
        d, n, m, size = input_shape[-1] - self.undropped, self.units, self.memory_size, self.cell.state_size[0]
        hidden = n if self._is_additive else size
        if d < 1:
            raise ValueError(f"Expected features besides the {self.undropped} that draw, received {input_shape[-1]}.")
        if self.attention == "luong_dot" and m != size:
            raise ValueError(
                f"Expected a memory of size {size}, as the output of the cell, with `attention='luong_dot'`, received "
                f"{m}. Behind a bidirectional encoder take twice the units in the decoder."
            )
        if hidden % self.heads or m % self.heads:
            raise ValueError(
                f"Expected `heads` to divide {hidden}, the size of a query, and {m}, that of the memory, received "
                f"{self.heads}."
            )
        self.cell.build((None, d + (m if self.attention == "bahdanau" else n)))
        self._drawn.extend(self.cell._drawn)
        if self.attention != "luong_dot":
            self.memory_kernel = self.weight("memory_kernel", (m, hidden), role="kernel")
        if self._is_additive:
            self.query_kernel = self.weight("query_kernel", (size, n), role="kernel")
            self.score_kernel = self.weight("score_kernel", (n,), role="kernel")
        self.attention_kernel = self.weight("attention_kernel", (m + size, n), role="kernel")
        if self.gate:
            self.gate_kernel = self.weight("gate_kernel", (size, 1), role="kernel")
        self.skip_kernel = None
        if self.deep_output and d != n:
            self.skip_kernel = self.weight("skip_kernel", (d, n), role="kernel")
        if self._is_scored:
            self.coverage_kernel = self.weight("coverage_kernel", (n,), role="kernel")
        if self.coverage == "fertility":
            self.fertility_kernel = self.weight("fertility_kernel", (m,), role="kernel")
        if self.local == "predictive":
            self.position_kernel = self.weight("position_kernel", (size, n), role="kernel")
            self.position_score = self.weight("position_score", (n,), role="kernel")
        if self.heads > 1:
            self.value_kernel = self.weight("value_kernel", (m, m), role="kernel")

    def prepare(self, memory, mask):
        keys = memory if self.attention == "luong_dot" else ops.matmul(memory, self.memory_kernel)
        values = memory if self.heads == 1 else ops.matmul(memory, self.value_kernel)
        prepared = [self._by_head(keys), self._by_head(values), mask]
        if self.coverage == "fertility":
            prepared.append(2 * ops.sigmoid(ops.sum(memory * self.fertility_kernel, axis=-1)))
        return prepared

    def _by_head(self, a):
        """The parts (..., heads, time, size) of a tensor (..., time, heads * size); with one head the tensor."""
        if self.heads == 1:
            return a
        a = ops.reshape(a, (*ops.shape(a)[:-1], self.heads, a.shape[-1] // self.heads))
        return ops.swapaxes(a, -3, -2)

    def project(self, inputs):
        d = inputs.shape[-1] - self.undropped
        x, beside = inputs[..., :d], [inputs[..., d:]] if self.hard else []
        if self.deep_output:
            beside.insert(0, x if self.skip_kernel is None else ops.matmul(x, self.skip_kernel))
        x = inner.project(self.cell, x)
        return ops.concatenate([x, *(ops.cast(a, x.dtype) for a in beside)], axis=-1) if beside else x

    def recur(self, x, states, step):
        a, old = states[0], tuple(states[1:])
        own, kept = self._split_states(old)
        x, skip, draws = self._split_inputs(x)
        if self.attention == "bahdanau":
            context, kept, _ = self.look(own[0], kept, step, draws)
            new = inner.run(self.cell, x, context, own, step, step.product)
        else:
            new = inner.run(self.cell, x, a, own, step, step.product)
            context, kept, _ = self.look(new[0], kept, step, draws)
        a = step.product(ops.concatenate([context, new[0]], axis=-1), self.attention_kernel)
        a = ops.tanh(a) if skip is None else a + skip
        return a, *new, *kept.values()

    def _split_states(self, states):
        """The states of f, and a dict of those that sum up or count."""
        count = len(self.cell.states)
        return states[:count], dict(zip(self._kept, states[count:], strict=True))

    def _split_inputs(self, x):
        """Splits x into what f reads, what the output adds, and the numbers that draw; None where there is none."""
        draws = skip = None
        if self.hard:
            x, draws = x[..., : -self.heads], x[..., -self.heads :]
        if self.deep_output:
            x, skip = x[..., : -self.units], x[..., -self.units :]
        return x, skip, draws

    def look(self, h, kept, step, draws=None):
        """Reads the memory for outputs h of the inner cell.

        Args:
            h: float tensor (batch, size).
            kept: dict of the states that sum up or count, before the step.
            step: `Step`.
            draws: the numbers (batch, heads) that draw, or None.

        Returns:
            The context (batch, m), the dict of the states after the step, and the attention weights
            (batch, memory time), of several heads their mean.
        """
        values = step.memory[1]
        scores, (is_read, bump) = self._scores(h, kept, step), self._reach(h, kept, step)
        lowest = ops.min(scores, axis=-1, keepdims=True)
        top = ops.max(ops.where(is_read, scores, lowest), axis=-1, keepdims=True)
        weights = ops.where(is_read, ops.exp(ops.where(is_read, scores - top, 0)), 0)
        total = ops.sum(weights, axis=-1, keepdims=True)
        weights = weights / ops.where(total == 0, 1, total)  # nothing to read: zeros
        weights = weights if bump is None else weights * bump
        mean = weights if self.heads == 1 else ops.mean(weights, axis=1)
        kept = self._counted(kept, mean, step)
        if self.hard:
            weights, kept = self._drawn_from(weights, kept, draws)
        context = ops.matmul(ops.cast(weights, values.dtype)[..., None, :], values)[..., 0, :]
        if self.heads > 1:
            context = ops.reshape(context, (-1, self.memory_size))
        if self.gate:
            context = context * ops.sigmoid(step.product(h, self.gate_kernel))
        return context, kept, ops.cast(mean, values.dtype)

    def _scores(self, h, kept, step):
        """Scores (batch, memory time), or (batch, heads, memory time)."""
        keys = step.memory[0]
        # In single precision at least, since the gradient of v is a sum over all that is looked at.
        wide = keras.backend.result_type(keys.dtype, "float32")
        if not self._is_additive:
            h = h if self.heads == 1 else ops.reshape(h, (-1, self.heads, keys.shape[-1]))
            return ops.cast(ops.matmul(keys, h[..., None])[..., 0], wide)
        seen = self._by_head(step.product(h, self.query_kernel)[:, None]) + keys
        if self._is_scored:
            read = ops.cast(kept["coverage"], wide)[..., None] * ops.cast(self.coverage_kernel, wide)
            seen = seen + ops.cast(self._by_head(read), seen.dtype)
        weights = self._by_head(ops.cast(self.score_kernel, wide)[None])
        return ops.sum(ops.cast(ops.tanh(seen), wide) * weights, axis=-1)

    def _reach(self, h, kept, step):
        """Tells which entries are read, bool, and what their weights are multiplied with, or None; as the scores."""
        mask = ops.cast(step.memory[2], "bool")
        bump = None
        if self.local is not None:
            counts = ops.cast(mask, keras.backend.result_type(h.dtype, "float32"))
            size, places = ops.sum(counts, axis=-1, keepdims=True), ops.cumsum(counts, axis=-1) - 1
            if self.local == "monotonic":
                distance = places - ops.minimum(ops.cast(kept["steps"], counts.dtype), size - 1)
            else:
                at = ops.cast(ops.tanh(step.product(h, self.position_kernel)), counts.dtype)
                at = ops.sum(at * ops.cast(self.position_score, counts.dtype), axis=-1, keepdims=True)
                distance = places - size * ops.sigmoid(at)
                bump = ops.exp(-2 * ops.square(distance / self.window))
            mask = ops.logical_and(mask, ops.abs(distance) <= self.window)
        if self.heads == 1:
            return mask, bump
        return mask[:, None], bump if bump is None else bump[:, None]

    def _counted(self, kept, weights, step):
        """The states of coverage and of the steps after one with the weights (batch, memory time)."""
        new = dict(kept)
        if self.coverage:
            before = kept["coverage"]
            weights = ops.cast(weights, before.dtype)
            shares = weights / ops.cast(step.memory[3], before.dtype) if self.coverage == "fertility" else weights
            new["coverage"] = before + shares
        if self._is_scored:
            new["overlap"] = kept["overlap"] + ops.sum(ops.minimum(weights, before), axis=-1, keepdims=True)
        if "steps" in kept:
            new["steps"] = kept["steps"] + 1
        return new

    def _drawn_from(self, weights, kept, draws):
        """One-hot draws from the weights, or the weights where nothing is drawn, and the states after it."""
        logs = ops.log(ops.where(weights > 0, weights, 1))
        sums = {"log_probability": ops.zeros_like(weights), "entropy": -weights * logs}
        if draws is not None:
            draws = ops.cast(draws if self.heads == 1 else draws[..., None], weights.dtype)
            is_past = ops.cumsum(weights, axis=-1) > ops.minimum(draws, _LAST)
            was_past = ops.concatenate([ops.zeros_like(is_past[..., :1]), is_past[..., :-1]], axis=-1)
            drawn = ops.cast(ops.logical_and(is_past, ops.logical_not(was_past)), weights.dtype)
            sums["log_probability"] = ops.where(draws < 0, 0, drawn * logs)
            weights = ops.where(draws < 0, weights, drawn)
        axes = tuple(range(1, len(weights.shape)))
        new = {name: ops.cast(ops.sum(a, axis=axes)[:, None], kept[name].dtype) for name, a in sums.items()}
        return weights, kept | {name: kept[name] + a for name, a in new.items()}

    def alignment(self, old, new):
        """The attention weights (batch, memory time) of the step that led from the states `old` to `new`."""
        h, step = (old if self.attention == "bahdanau" else new)[1], Step.of_call(self, False)
        _, kept = self._split_states(tuple(old[1:]))

        def weights(h, *kept):
            return self.look(h, dict(zip(self._kept, kept, strict=True)), step)[2]

        return InPolicyOf(self)([h, *kept.values()], function=weights)

    def get_initial_state(self, batch_size):
        """Zeros, and the initial states of the inner cell."""
        sizes = [self.units]
        for name, size in zip(self._kept, self.state_size[-len(self._kept) :], strict=False):
            is_long = name == "coverage"
            sizes.append(ops.shape(Step.of_call(self, False).memory[2])[1] if is_long else size)
        a, *kept = [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in sizes]
        return [a, *self.cell.get_initial_state(batch_size), *kept]
