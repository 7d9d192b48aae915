"""DRAW: a recurrent autoencoder that looks at an image, writes to a canvas, and looks at what is missing."""

import keras
from keras import ops

from archs._core import checks, gaussians, inner
from archs._core.cell import Cell, widen
from archs._core.dense import dense, weights
from archs._core.filter_bank import PARAMETERS, Window, at_first
from archs._core.policy import InPolicyOf
from archs._core.registry import cell
from archs._core.step import Step


@cell(paper="Gregor et al. 2015", url="https://arxiv.org/abs/1502.04623", year=2015)
class DRAWCell(Cell):
    r"""Deep recurrent attentive writer: it reads an image, draws a code, and adds to a canvas, step by step.

    K. Gregor, I. Danihelka, A. Graves, D. J. Rezende, D. Wierstra, "DRAW: A Recurrent Neural Network For Image
    Generation", ICML 2015, sections 2 and 3, equations (3) to (8), (10), (11) and (17) to (29).

    Equations:

    The image x is the external memory, the noise $\epsilon_t$ of a standard normal distribution the input. e and f are
    the encoder and the decoder, with the outputs $h^e$ and $h^f$.

    $$
    \begin{aligned}
    \hat x &= x - \sigma(c_{t-1}) \\
    r_t &= [x; \hat x] \\
    h^e_t &= e([r_t; h^f_{t-1}], h^e_{t-1}) \\
    \mu, s &= h^e_t W_z + b_z \\
    z_t &= \mu + \exp(s) \odot \epsilon_t \\
    h^f_t &= f(z_t, h^f_{t-1}) \\
    c_t &= c_{t-1} + h^f_t W_w + b_w \\
    L_t &= L_{t-1} + \frac{1}{2} \sum (\mu^2 + \exp(2 s) - 2 s - 1)
    \end{aligned}
    $$

    The output is the canvas c. L is the divergence of all codes from their prior, the standard normal distribution. A
    row of the batch without an image, all of which the mask of the memory leaves out, is a sample of the model: there
    $z_t = \epsilon_t$, and L stays as it is.

    With `read_size=N` a grid of N times N Gaussian filters reads: with rows and columns that count from 1, as i and j
    of the grid do, for A columns and B rows,

    $$
    \begin{aligned}
    \tilde x, \tilde y, \log \sigma^2, \log \tilde \delta, \log \gamma &= h^f_{t-1} W_r + b_r \\
    g_x, g_y &= \frac{A + 1}{2} (\tilde x + 1), \frac{B + 1}{2} (\tilde y + 1) \\
    \delta &= \frac{\max(A, B) - 1}{N - 1} \tilde \delta \\
    F_x(i, a) &\propto \exp(-(a - g_x - (i - N / 2 - 1 / 2) \delta)^2 / 2 \sigma^2) \\
    F_y(j, b) &\propto \exp(-(b - g_y - (j - N / 2 - 1 / 2) \delta)^2 / 2 \sigma^2) \\
    r_t &= \gamma [F_y x F_x^\top; F_y \hat x F_x^\top]
    \end{aligned}
    $$

    where the sum of each filter is 1. With `write_size=N` a grid of its own, by $h^f_t W_v + b_v$, writes:
    $c_t = c_{t-1} + F_y^\top w_t F_x / \gamma$, where $w_t = h^f_t W_w + b_w$ are N times N numbers. Images and grids
    are vectors row by row.

    Weights, for d latents, which are as many as the input features, n units, `read_size=2` and `write_size=3`, with the
    inner cell `lstm`:

    | name | symbol | shape |
    |---|---|---|
    | latent_kernel | W_z | (n, 2d) |
    | latent_bias | b_z | (2d,) |
    | read_kernel | W_r | (n, 5) |
    | read_bias | b_r | (5,) |
    | write_kernel | W_w | (n, 9) |
    | write_bias | b_w | (9,) |
    | write_window_kernel | W_v | (n, 5) |
    | write_window_bias | b_v | (5,) |
    | decoder_kernel | of f | (d, 4n) |
    | decoder_recurrent_kernel | of f | (n, 4n) |
    | decoder_bias | of f | (4n,) |
    | encoder_kernel | of e | (8 + n, 4n) |
    | encoder_recurrent_kernel | of e | (n, 4n) |
    | encoder_bias | of e | (4n,) |

    With `read_size=N` encoder_kernel has $2 N^2 + n$ rows, and with `write_size=N` write_kernel has $N^2$ columns. With
    None, for images of p pixels, they have 2p + n rows and p columns, and there are no weights of the window. What is
    learned of the first states is first_states: of the canvas, then of the decoder and of the encoder.

    Departures from the paper: the first states are zeros, in the paper learned (`learn_first_states=True`). A filter is
    divided by 1e-8 at least, so that one whose next pixel is more than six of its deviations away, far outside of the
    image or very narrow between two pixels, has not the sum 1 but less, down to 0. A single filter, N = 1, has no
    stride. The paper does not say how the biases start; those of $\log \sigma^2$ start so that the deviation of the
    filters is half their stride.

    Args:
        units: positive integer, n, of the encoder and of the decoder.
        rows, columns: positive integers, of the images.
        read_size: None, or N, a positive integer.
        write_size: None, or N, a positive integer.
        cell: the decoder, and another one like it, the encoder: a catalog name, a cell class, a function
            `units -> cell`, or a cell. What it has of dropout and zoneout acts as if it had been given here.
        learn_first_states: whether the first canvas and the first states of encoder and decoder, but for clocks, are
            learned.
        **kwargs: of `archs.Cell`. Those of activations, biases, kernels and dtype are the inner cells', too. `dropout`
            is of the noise. A rate of `zoneout` is better given as a list, one for each of `states`, with 0 for the
            canvas and the divergence.

    Call arguments:
        inputs: float tensor (batch, latents), the noise.
        states: list of the canvas, (batch, rows * columns); the divergence, (batch, 1), in nats; the states of the
            decoder; those of the encoder.
        training: whether dropout is active.

    The images, (batch, rows, columns), are given before: `cell.memorize(images)`, or in the call of
    `archs.Recurrent` as `memory=...`. What a mask leaves out of an image is black.

    Returns:
        The canvas, (batch, rows * columns), and the list of the new states. Windows and divergence are computed in
        single precision at least.

    Raises:
        ValueError: see `archs.Cell`; and on a call, there are no images, or they have another size.

    Example:

    >>> import keras, archs
    >>> layer = archs.Recurrent(archs.DRAWCell(6, rows=8, columns=8, read_size=2, write_size=3))
    >>> layer(keras.random.normal((2, 5, 4)), memory=keras.ops.ones((2, 8, 8))).shape
    TensorShape([2, 64])
    """

    states = ("canvas", "divergence", "h", "c", "encoder_h", "encoder_c")
    own_starts = ("canvas", "divergence")
    reads_memory = reads_noise = True

    def __init__(
        self,
        units,
        *,
        rows=28,
        columns=28,
        read_size=None,
        write_size=None,
        cell="lstm",
        learn_first_states=False,
        **kwargs,
    ):
        cell = inner.make_inner(cell, units, kwargs)
        rates = inner.zoneout_of(cell, before=0, after=0)
        kwargs.setdefault("zoneout", [0.0, 0.0, *rates, *rates] if rates else 0.0)
        names = (*cell.one_memory, *(f"encoder_{name}" for name in cell.one_memory))
        self.candidate, self.one_memory = cell.candidate, names  # the checks of Cell read them
        super().__init__(units, **kwargs)
        cell.weight_prefix = "decoder_"
        self.cell, self.encoder = cell, inner.twin(cell, "encoder_")
        self.rows = self.memory_entries = checks.positive_integer("rows", rows)
        self.columns = self.memory_size = checks.positive_integer("columns", columns)
        self.read_size = None if read_size is None else checks.positive_integer("read_size", read_size)
        self.write_size = None if write_size is None else checks.positive_integer("write_size", write_size)
        self.learn_first_states = checks.flag("learn_first_states", learn_first_states)
        self.states = ("canvas", "divergence", *cell.states, *(f"encoder_{name}" for name in cell.states))
        self.clocks = (*cell.clocks, *(f"encoder_{name}" for name in cell.clocks))
        self.state_size = [rows * columns, 1, *cell.state_size, *cell.state_size]
        self.output_size = rows * columns
        # Noise is drawn for the step as a whole, by this cell's rates and seed: first for the decoder.
        self.product_sizes, self.inner_sizes = cell.product_sizes * 2, cell.inner_sizes * 2

    def get_config(self):
        return super().get_config() | {"cell": inner.serialized(self.cell)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(inner.deserialized(config))

    def build(self, input_shape):
        super().build(input_shape)
        d, size, pixels = input_shape[-1], self.cell.state_size[0], self.output_size
        read, written = (side**2 if side else pixels for side in (self.read_size, self.write_size))
        self.cell.build((None, d))
        self.encoder._drawn = [*self.cell._drawn]
        self.encoder.build((None, 2 * read + size))
        self._drawn = [*self._drawn, *self.encoder._drawn]
        self.latent_kernel, self.latent_bias = weights(self, "latent", size, 2 * d)
        if self.read_size:
            self.read_kernel, self.read_bias = weights(
                self, "read", size, PARAMETERS, at_first(self.rows, self.columns, self.read_size)
            )
        self.write_kernel, self.write_bias = weights(self, "write", size, written)
        if self.write_size:
            self.write_window_kernel, self.write_window_bias = weights(
                self, "write_window", size, PARAMETERS, at_first(self.rows, self.columns, self.write_size)
            )
        if self.learn_first_states:
            size = sum(size for name, size in zip(self.states, self.state_size, strict=True) if self._is_learned(name))
            self.states_start = self.add_weight((size,), "zeros", name="first_states", autocast=False)

    def _is_learned(self, name):
        """Tells if the first value of a state is learned."""
        return name != "divergence" and name not in self.clocks

    def prepare(self, memory, mask):
        seen = ops.max(mask, axis=-1, keepdims=True)
        if self.read_size:
            return [memory, seen]
        image = ops.reshape(memory, (-1, self.output_size))
        if not inner.splits_inputs(self.encoder):
            return [image, seen]
        # x W is known before the loop: [x; x - s] W = x (W_1 + W_2) - s W_2.
        once, again = (self.encoder.kernel[start : start + image.shape[-1]] for start in (0, image.shape[-1]))
        return [self.encoder.add_bias(ops.matmul(image, once + again)), seen]

    def project(self, inputs):
        return inputs

    def recur(self, x, states, step):
        canvas, divergence, *of_cells = states
        decoded, encoded = of_cells[: len(of_cells) // 2], of_cells[len(of_cells) // 2 :]
        encoded = self._encoded(canvas, decoded[0], encoded, step)
        noise, seen, posterior = widen(x), ops.cast(step.memory[1], "bool"), self._posterior(encoded[0], step)
        code = ops.where(seen, gaussians.drawn(posterior, noise), noise)
        decoded = inner.run(self.cell, None, ops.cast(code, x.dtype), tuple(decoded), step, step.product)
        canvas = canvas + ops.cast(self._written(decoded[0], step), canvas.dtype)
        spent = gaussians.divergence(posterior, gaussians.standard(posterior))[:, None]
        divergence = divergence + ops.cast(ops.where(seen, spent, 0), divergence.dtype)
        return canvas, divergence, *decoded, *encoded

    def _encoded(self, canvas, h, states, step):
        """The new states of the encoder, which reads the images, and what the canvas lacks of them, and h."""
        shown, images, x = ops.sigmoid(canvas), step.memory[0], None
        if self.read_size:
            missing = images - ops.reshape(shown, (-1, self.rows, self.columns))
            fed = self._window("read", h, step).read(images, missing)
        elif inner.splits_inputs(self.encoder):
            x, fed = images, [-shown]  # see `prepare`
        else:
            x = ops.broadcast_to(images, ops.shape(canvas))
            fed = [x - shown]
        fed = ops.concatenate([*(ops.cast(a, h.dtype) for a in fed), h], axis=-1)
        of_encoder = step.of(self.encoder, len(self.cell.product_sizes), len(self.cell.inner_sizes))
        return inner.run(self.encoder, x, fed, tuple(states), of_encoder, step.product)

    def _posterior(self, h, step):
        """The distribution of the code, means and deviations (..., d), by the output (..., size) of the encoder."""
        means, logs = ops.split(widen(dense(step, [h], self.latent_kernel, self.latent_bias)), 2, axis=-1)
        return means, ops.exp(logs)

    def _written(self, h, step):
        """Computes what the canvas gets, (batch, rows * columns), from the output (batch, size) of the decoder."""
        written = dense(step, [h], self.write_kernel, self.write_bias)
        return self._window("write", h, step).write(written) if self.write_size else written

    def _window(self, way, h, step):
        """The `Window` that reads or writes, by the output (..., size) of the decoder."""
        reads = way == "read"
        kernel, bias = ("read_kernel", "read_bias") if reads else ("write_window_kernel", "write_window_bias")
        numbers = dense(step, [h], getattr(self, kernel), getattr(self, bias))
        return Window(numbers, self.rows, self.columns, self.read_size if reads else self.write_size)

    def get_initial_state(self, batch_size):
        """The first states: a list of tensors (batch_size, size), one per entry of `state_size`."""
        shown = [ops.zeros((batch_size, size), self.compute_dtype) for size in self.state_size[:2]]
        starts = [*shown, *self.cell.get_initial_state(batch_size), *self.encoder.get_initial_state(batch_size)]
        if not self.learn_first_states:
            return starts
        if not self.built:
            raise ValueError(
                "Expected a cell that is built, since its first states are weights, received one that is not."
            )
        learned, states, end = ops.cast(self.states_start, self.compute_dtype), [], 0
        for name, start in zip(self.states, starts, strict=True):
            if self._is_learned(name):
                end += start.shape[-1]
                start = start + learned[end - start.shape[-1] : end]
            states.append(start)
        return states

    def observed(self, states):
        """Tells, for `archs.tracing`, what was drawn, from the list of states after each step, (batch, time, size).

        Returns:
            A dict of canvas (batch, time, rows, columns), as the output has it; divergence (batch, time), the sum until
            then; means and deviations of the codes, (batch, time, latents); and, where there are windows, read_x,
            read_y, read_side, read_deviation and read_intensity, write_x and so on, each (batch, time), see
            `Window.seen`.
        """

        def function(*states):
            step, (canvas, divergence, h, *_) = Step.of_call(self, False), map(widen, states)
            means, deviations = self._posterior(widen(states[2 + len(self.cell.states)]), step)
            found = {
                "canvas": ops.reshape(canvas, (*ops.shape(canvas)[:2], self.rows, self.columns)),
                "divergence": divergence[..., 0],
                "means": means,
                "deviations": deviations,
            }
            first = widen(self.get_initial_state(ops.shape(h)[0])[2])[:, None]
            for way, seen_by in {"read": ops.concatenate([first, h[:, :-1]], axis=1), "write": h}.items():
                if self.read_size if way == "read" else self.write_size:
                    seen = self._window(way, seen_by, step).seen()
                    found |= {f"{way}_{name}": value for name, value in seen.items()}
            return found

        wide = keras.backend.result_type(self.compute_dtype, "float32")
        return InPolicyOf(self, wide)([ops.convert_to_tensor(state) for state in states], function=function)
