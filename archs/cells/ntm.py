"""The Neural Turing Machine: a recurrent cell that reads from and writes to a memory by heads."""

import itertools
import math

import keras
from keras import ops

from archs._core import checks, inner
from archs._core.cell import Cell, widen
from archs._core.chrono import without_chrono
from archs._core.registry import cell

_EPSILON = 1e-16  # keeps the gradients of norms and powers finite at 0
_BLANK = 1e-6  # of a constant first memory, as Collier and Beel have it


@cell(paper="Graves et al. 2014; Collier & Beel 2018", url="https://arxiv.org/abs/1410.5401", year=2014)
class NTMCell(Cell):
    r"""Neural Turing Machine: a controller whose heads read and write a memory, found by content and by shifts.

    A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, equations (1) to (9); the first values: M.
    Collier, J. Beel, "Implementing Neural Turing Machines", ICANN 2018.

    Equations:

    With f for the controller, M_t for the memory of N locations of width m, and for each head its weighting w, a
    distribution over the locations; places of locations count modulo N.

    $$
    \begin{aligned}
    h_t &= f([x_t; r_{t-1}], h_{t-1}) \\
    z &= h_t W + b \\
    k, g &= \tanh(z_k), \sigma(z_g) \\
    \beta, \gamma &= \log(1 + \exp(z_{\beta})), 1 + \log(1 + \exp(z_{\gamma})) \\
    s(j) &= \exp(z_s(j)) / \sum_l \exp(z_s(l)) \\
    e, a &= \sigma(z_e), \tanh(z_a) \\
    K(i) &= \sum_j k(j) M_{t-1}(i, j) / (|k| |M_{t-1}(i)|) \\
    w^c(i) &= \exp(\beta K(i)) / \sum_l \exp(\beta K(l)) \\
    w^g &= g w^c + (1 - g) w_{t-1} \\
    \tilde w(i) &= \sum_j s(j) w^g(i - j) \\
    w_t(i) &= \tilde w(i)^{\gamma} / \sum_l \tilde w(l)^{\gamma} \\
    M_t(i) &= M_{t-1}(i) \odot (1 - w_t(i) e) + w_t(i) a \\
    r_t &= \sum_i w_t(i) M_{t-1}(i)
    \end{aligned}
    $$

    With `read_memory="new"` the reading heads address and read the memory after the writes of the step. Of several
    writing heads all erase before any adds. The output is [h_t; r_t], with the reads of all reading heads.

    Weights, for d features, n units, a memory of width m, one head of each kind and shifts of -1, 0, 1, with the
    controller `lstm`. The columns of W are k, beta, g, s, gamma of all heads, the reading heads first, then e and a of
    the writing heads; each of these blocks goes head by head:

    | name | symbol | shape |
    |---|---|---|
    | heads_kernel | W | (n, 4m + 12) |
    | heads_bias | b | (4m + 12,) |
    | kernel | of f | (d + m, 4n) |
    | recurrent_kernel | of f | (n, 4n) |
    | bias | of f | (4n,) |

    With h heads, r of them reading and v writing, and 2q + 1 shifts, W has h(m + 2q + 4) + 2vm columns and kernel has
    d + rm rows. Without a `cell` there is kernel (d + rm, n) and bias (n,). What is learned of the first states is
    first_weighting (h, N), first_memory (N, m) and first_states, of the controller and then of the reads.

    Departures from the paper, which leaves much of this open: heads' parameters are clipped (`clip=None` undoes it),
    1e-16 stands under the roots of the norms, and w~ is at least 1e-16, so that no gradient is infinite. The reads and
    the controller start at zeros, in the paper at learned values (`learn_first_states=True`), and the memory at 1e-6,
    by Collier and Beel, in the paper at learned values (`first_memory="learned"`). The shifts are a softmax; the paper
    names a single number for them as another way.

    Args:
        units: positive integer, the size of the controller.
        cell: the controller f: a catalog name, a cell class, a function `units -> cell`, or a cell. What it has of
            dropout and zoneout acts as if it had been given here; dropout on x alone, recurrent dropout on the reads,
            too. None: a feed-forward controller, $h_t = f([x_t; r_{t-1}] W + b)$ for `activation` f.
        memory_locations: positive integer, N.
        memory_width: positive integer, m.
        read_heads, write_heads: positive integers.
        shift_range: positive integer, q: a head shifts by -q to q locations. Default 1.
        read_memory: `"old"` or `"new"`: whether reading heads see the memory before or after the writes of the step.
        first_weighting: `"one_hot"`: all heads start at location 0. `"learned"`: a softmax of learned numbers.
            `"uniform"`: all locations alike.
        first_memory: `"constant"`: 1e-6 everywhere. `"random"`: drawn once, with the weights. `"learned"`.
        learn_first_states: whether the first reads and the first states of the controller, but for clocks, are learned.
        output_reads: whether the output holds the reads beside h. If not, they are a state of their own.
        key_activation, add_activation: of k and of a. Default `"tanh"`.
        clip: None, or a positive number: the heads' parameters are clipped to [-clip, clip] before they are activated.
        weighting_initializer: of first_weighting. Default: normal with a standard deviation of 0.5.
        memory_initializer: of first_memory. Default: uniform between -+1 / sqrt(N + m).
        **kwargs: of `archs.Cell`. Those of activations, biases, kernels and dtype are the controller's, too. A rate of
            `zoneout` is better given as a list, one for each of `states`: a weighting of which parts are kept is no
            distribution.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of the output, (batch, n + rm); the states of the controller; with `output_reads=False` the reads,
            (batch, rm); the memory, (batch, N m), location by location; the weightings, (batch, h N), head by head.
        training: whether dropout is active.

    Returns:
        [h; r], (batch, n + rm), or h, and the list of the new states. The memory is computed in single precision at
        least.

    Raises:
        ValueError: a size is no positive integer; there are fewer than 2 * `shift_range` + 1 locations; or the first
            weighting and the first memory are both equal for all locations, so that all would get the same gradients.
            Else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> cell = archs.NTMCell(6, cell="gru", memory_locations=16, memory_width=3, read_heads=2)
    >>> keras.layers.RNN(cell, return_sequences=True)(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 5, 12])
    """

    states = ("output", "h", "c", "memory", "weightings")
    own_starts = ("output", "memory", "weightings")

    def __init__(
        self,
        units,
        *,
        cell="lstm",
        memory_locations=128,
        memory_width=20,
        read_heads=1,
        write_heads=1,
        shift_range=1,
        read_memory="old",
        first_weighting="one_hot",
        first_memory="constant",
        learn_first_states=False,
        output_reads=True,
        key_activation="tanh",
        add_activation="tanh",
        clip=20.0,
        weighting_initializer=None,
        memory_initializer=None,
        **kwargs,
    ):
        self.candidate = None
        if cell is not None:
            cell = inner.make_inner(cell, units, kwargs)
            after = 2 if checks.flag("output_reads", output_reads) else 3
            kwargs.setdefault("zoneout", inner.zoneout_of(cell, before=1, after=after))
            self.candidate, self.one_memory = cell.candidate, cell.one_memory  # the checks of Cell read them
        super().__init__(units, **kwargs)
        self.cell = cell
        self.memory_locations = checks.positive_integer("memory_locations", memory_locations)
        self.memory_width = checks.positive_integer("memory_width", memory_width)
        self.read_heads = checks.positive_integer("read_heads", read_heads)
        self.write_heads = checks.positive_integer("write_heads", write_heads)
        self.shift_range = checks.positive_integer("shift_range", shift_range)
        if 2 * shift_range + 1 > memory_locations:
            raise ValueError(
                f"Expected `memory_locations` to be at least 2 * `shift_range` + 1 = {2 * shift_range + 1}, so that no "
                f"two shifts are the same, received {memory_locations}."
            )
        self.read_memory = checks.one_of("read_memory", read_memory, ("old", "new"))
        self.first_weighting = checks.one_of("first_weighting", first_weighting, ("one_hot", "learned", "uniform"))
        self.first_memory = checks.one_of("first_memory", first_memory, ("constant", "random", "learned"))
        self.learn_first_states = checks.flag("learn_first_states", learn_first_states)
        self.output_reads = checks.flag("output_reads", output_reads)
        self.key_activation = keras.activations.get(key_activation)
        self.add_activation = keras.activations.get(add_activation)
        self.clip = clip if clip is None else checks.positive("clip", clip)
        self.weighting_initializer = keras.initializers.get(
            weighting_initializer or keras.initializers.RandomNormal(stddev=0.5)
        )
        reach = (memory_locations + memory_width) ** -0.5
        self.memory_initializer = keras.initializers.get(
            memory_initializer or keras.initializers.RandomUniform(-reach, reach)
        )
        self._check_first_values()
        self._set_states()

    def _check_first_values(self):
        """Refuses first values that are the same for all locations: so would be all gradients."""
        told_apart = (
            self.first_weighting == "one_hot"
            or (self.first_weighting == "learned" and not _is_constant(self.weighting_initializer))
            or (self.first_memory != "constant" and not _is_constant(self.memory_initializer))
        )
        if not told_apart:
            raise ValueError(
                "Expected a first weighting or a first memory that differs between locations, since those that start "
                f"alike stay alike and nothing is learned; received first_weighting={self.first_weighting!r} and "
                f'first_memory={self.first_memory!r}. Take first_weighting="one_hot", or initializers that draw.'
            )

    def _set_states(self):
        """Sets the names and sizes of the states, and the sizes of what noise is for."""
        f, reads = self.cell, self.read_heads * self.memory_width
        names, sizes = (f.states, f.state_size) if f else ((), [])
        self._size = sizes[0] if f else self.units  # of the controller's output
        self.clocks = f.clocks if f else ()
        self.states = ("output", *names, *([] if self.output_reads else ["reads"]), "memory", "weightings")
        self.state_size = [
            self._size + (reads if self.output_reads else 0),
            *sizes,
            *([] if self.output_reads else [reads]),
            self.memory_locations * self.memory_width,
            (self.read_heads + self.write_heads) * self.memory_locations,
        ]
        self.output_size = self.state_size[0]
        # Noise is drawn for the step as a whole, by this cell's rates and seed; the reads are the last site.
        self.product_sizes = [*(f.product_sizes if f else []), reads]
        self.inner_sizes = f.inner_sizes if f else []

    def get_config(self):
        config = super().get_config()
        return config if self.cell is None else config | {"cell": inner.serialized(self.cell)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(inner.deserialized(config))

    def build(self, input_shape):
        super().build(input_shape)
        d, heads = input_shape[-1], self.read_heads + self.write_heads
        width = d + self.read_heads * self.memory_width
        if self.cell is not None:
            self.cell.build((None, width))
            self._drawn.extend(self.cell._drawn)
        columns = sum(self._columns())
        self.heads_kernel = self.weight("heads_kernel", (self._size, columns), role="kernel")
        self.heads_bias = (
            self.weight("heads_bias", (columns,), role="bias", start=without_chrono) if self.use_bias else None
        )
        if self.cell is None:
            self.kernel = self.weight("kernel", (width, self.units))
            self.bias = self.weight("bias", (self.units,)) if self.use_bias else None
        N, m = self.memory_locations, self.memory_width
        if self.first_weighting == "learned":
            draw = self.weighting_initializer
            self.weighting_start = self.add_weight((heads, N), draw, name="first_weighting", autocast=False)
        if self.first_memory != "constant":
            draw, learns = self.memory_initializer, self.first_memory == "learned"
            self.memory_start = self.add_weight((N, m), draw, trainable=learns, name="first_memory", autocast=False)
        if self.learn_first_states:
            size = sum(self._learned_sizes())
            self.states_start = self.add_weight((size,), "zeros", name="first_states", autocast=False)

    def _learned_sizes(self):
        """The sizes of the first states that can be learned: of the controller, but for clocks, and the reads."""
        f = self.cell
        sizes = zip(f.states, f.state_size, strict=True) if f else ()
        return [*(size for name, size in sizes if name not in self.clocks), self.product_sizes[-1]]

    def _columns(self):
        """The sizes of the blocks of a row of parameters: k, beta, g, s, gamma of all heads, e, a of writing ones."""
        heads, written = self.read_heads + self.write_heads, self.write_heads * self.memory_width
        return [heads * self.memory_width, heads, heads, heads * (2 * self.shift_range + 1), heads, written, written]

    def project(self, inputs):
        if self.cell is not None:
            return inner.project(self.cell, inputs)
        return self.add_bias(ops.matmul(inputs, self.kernel[: inputs.shape[-1]]))

    def recur(self, x, states, step):
        output, *controller, memory, weightings = states
        reads = output[:, self._size :] if self.output_reads else controller.pop()
        h, *controller = self.control(x, reads, controller, step)
        z = step.product(h, self.heads_kernel)
        z = widen(z if self.heads_bias is None else step.shift(z, self.heads_bias))
        *addressing, erases, adds = self.parameters(z)
        memory = ops.reshape(widen(memory), (-1, self.memory_locations, self.memory_width))
        weightings = ops.reshape(widen(weightings), (-1, self.read_heads + self.write_heads, self.memory_locations))
        addressing.append(weightings)
        old, split = memory, self.read_heads
        if self.read_memory == "old":
            weightings = address(old, *addressing)
            reading, writing = weightings[:, :split], weightings[:, split:]
            memory = write(old, writing, erases, adds)
            reads = ops.matmul(reading, old)
        else:
            writing = address(old, *(a[:, split:] for a in addressing))
            memory = write(old, writing, erases, adds)
            reading = address(memory, *(a[:, :split] for a in addressing))
            weightings = ops.concatenate([reading, writing], axis=1)
            reads = ops.matmul(reading, memory)

        def flat(a):
            return ops.cast(ops.reshape(a, (-1, a.shape[1] * a.shape[2])), h.dtype)

        if self.output_reads:
            return ops.concatenate([h, flat(reads)], axis=-1), *controller, flat(memory), flat(weightings)
        return h, *controller, flat(reads), flat(memory), flat(weightings)

    def control(self, x, reads, states, step):
        """The output of the controller, and then its new states."""
        site = len(self.product_sizes) - 1
        if self.cell is None:
            z = x + step.recurrent_product(reads, self.kernel[-reads.shape[-1] :], site)
            return [self.activation(z)]
        new = inner.run(self.cell, x, step.drop_recurrent(reads, site), tuple(states), step, step.product)
        return [new[0], *new]

    def parameters(self, z):
        """Splits `z` (..., columns) into what the heads are told.

        Returns:
            Keys (..., heads, m), strengths and gates (..., heads, 1), shifts (..., heads, 2q + 1), sharpenings
            (..., heads, 1), and of the writing heads what they erase and add, each (..., write_heads, m).
        """
        z = z if self.clip is None else ops.clip(z, -self.clip, self.clip)
        places = [sum(self._columns()[: i + 1]) for i in range(6)]
        k, beta, g, s, gamma, e, a = ops.split(z, places, axis=-1)
        heads, leading = self.read_heads + self.write_heads, z.shape[1:-1]

        def by_head(block, count):
            return ops.reshape(block, (-1, *leading, count, block.shape[-1] // count))

        return (
            by_head(self.key_activation(k), heads),
            by_head(ops.softplus(beta), heads),
            by_head(ops.sigmoid(g), heads),
            ops.softmax(by_head(s, heads), axis=-1),
            by_head(1 + ops.softplus(gamma), heads),
            by_head(ops.sigmoid(e), self.write_heads),
            by_head(self.add_activation(a), self.write_heads),
        )

    def get_initial_state(self, batch_size):
        """The first states: a list of tensors (batch_size, size), one per entry of `state_size`."""
        learns = self.learn_first_states or self.first_weighting == "learned" or self.first_memory != "constant"
        if learns and not self.built:
            raise ValueError(
                "Expected a cell that is built, since its first states are weights, received one that is not."
            )
        f, N, H, dtype = self.cell, self.memory_locations, self.read_heads + self.write_heads, self.compute_dtype

        def for_all(row):
            return ops.broadcast_to(ops.reshape(ops.cast(row, dtype), (1, -1)), (batch_size, math.prod(row.shape)))

        controller = f.get_initial_state(batch_size) if f else []
        reads = ops.zeros((batch_size, self.product_sizes[-1]), dtype)
        if self.learn_first_states:
            sizes, start = self._learned_sizes(), ops.convert_to_tensor(self.states_start)
            ends = list(itertools.accumulate(sizes))
            *own, reads = (for_all(start[end - size : end]) for size, end in zip(sizes, ends, strict=True))
            names = f.states if f else ()
            controller = [s if n in self.clocks else s + own.pop(0) for n, s in zip(names, controller, strict=True)]
        h = controller[0] if f else ops.zeros((batch_size, self.units), dtype)
        shown = [ops.concatenate([h, reads], axis=-1)] if self.output_reads else [h]
        if self.first_memory == "constant":
            memory = ops.full((batch_size, self.state_size[-2]), _BLANK, dtype)
        else:
            memory = for_all(self.memory_start)
        if self.first_weighting == "learned":
            weightings = for_all(ops.softmax(ops.convert_to_tensor(self.weighting_start), axis=-1))
        elif self.first_weighting == "one_hot":
            weightings = for_all(ops.one_hot(ops.zeros((H,), "int32"), N))
        else:
            weightings = ops.full((batch_size, H * N), 1 / N, dtype)
        return [*shown, *controller, *([] if self.output_reads else [reads]), memory, weightings]

    def observed(self, states):
        """Tells, for `archs.tracing`, what the heads did, from the list of states after each step, (batch, time, size).

        Returns:
            A dict of read_weightings (batch, time, heads, N) and write_weightings; of reads (batch, time, heads, m),
            adds and erases; and of the memory (batch, time, N, m).
        """
        output, *controller, memory, weightings = (widen(ops.convert_to_tensor(state)) for state in states)
        reads = output[..., self._size :] if self.output_reads else controller[-1]
        z = ops.matmul(output[..., : self._size], widen(self.heads_kernel))
        *_, erases, adds = self.parameters(z if self.heads_bias is None else z + widen(self.heads_bias))
        leading, N, m = output.shape[:2], self.memory_locations, self.memory_width
        weightings = ops.reshape(weightings, (*leading, -1, N))
        return {
            "read_weightings": weightings[:, :, : self.read_heads],
            "write_weightings": weightings[:, :, self.read_heads :],
            "reads": ops.reshape(reads, (*leading, -1, m)),
            "adds": adds,
            "erases": erases,
            "memory": ops.reshape(memory, (*leading, N, m)),
        }


# Shapes of what follows: memory (batch, N, m), keys (batch, heads, m), weightings (batch, heads, N); shifts
# (batch, heads, 2q + 1), from -q to q; and one number for each head (batch, heads, 1).


def address(memory, keys, strengths, gates, shifts, sharpenings, before):
    """The new weightings of heads."""
    weightings = interpolate(content(keys, strengths, memory), before, gates)
    return sharpen(shift(weightings, shifts), sharpenings)


def content(keys, strengths, memory):
    """The weightings by similarity to a key."""
    products = ops.matmul(keys, ops.transpose(memory, (0, 2, 1)))
    norms = _norm(keys)[..., None] * _norm(memory)[:, None]
    return ops.softmax(strengths * products / norms, axis=-1)


def _norm(vectors):
    return ops.sqrt(ops.sum(ops.square(vectors), axis=-1) + _EPSILON)


def interpolate(contents, before, gates):
    """The weightings between those by content and those before."""
    return before + gates * (contents - before)


def shift(weightings, shifts):
    """The weightings moved along the locations, which form a ring, by each shift as much as it says."""
    N, q = weightings.shape[-1], shifts.shape[-1] // 2
    ring = ops.concatenate([weightings[..., N - q :], weightings, weightings[..., :q]], axis=-1)
    moved = shifts[..., :1] * ring[..., 2 * q :]
    for j in range(1, 2 * q + 1):
        moved = moved + shifts[..., j : j + 1] * ring[..., 2 * q - j : 2 * q - j + N]
    return moved


def sharpen(weightings, sharpenings):
    """The weightings to a power, as distributions again."""
    return ops.softmax(sharpenings * ops.log(ops.maximum(weightings, _EPSILON)), axis=-1)


def write(memory, weightings, erases, adds):
    """The memory after all writing heads have erased and then added; erases and adds (batch, heads, m)."""
    for head in range(erases.shape[1]):
        memory = memory * (1 - weightings[:, head, :, None] * erases[:, head, None])
    return memory + ops.matmul(ops.transpose(weightings, (0, 2, 1)), adds)


def _is_constant(initializer):
    kinds = keras.initializers.Constant, keras.initializers.Zeros, keras.initializers.Ones
    return isinstance(initializer, kinds)
