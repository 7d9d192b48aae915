"""The reader of DRAW: a recurrent cell that looks at an image through a window that it moves."""

from keras import ops

from archs._core import checks, inner
from archs._core.cell import Cell, widen
from archs._core.dense import dense, weights
from archs._core.filter_bank import PARAMETERS, Window, at_first
from archs._core.registry import cell
from archs._core.step import Step


@cell(paper="Gregor et al. 2015", url="https://arxiv.org/abs/1502.04623", year=2015)
class DRAWReaderCell(Cell):
    r"""Reader of DRAW: a cell that sees of an image, in each step, what Gaussian filters show where it looks.

    K. Gregor, I. Danihelka, A. Graves, D. J. Rezende, D. Wierstra, "DRAW: A Recurrent Neural Network For Image
    Generation", ICML 2015, section 4.1, and equations (19) to (27).

    Equations:

    The image x is the external memory, $v_t$ the input, and f an inner cell with the output h. A grid of N times N
    filters reads. Rows and columns count from 1, as i and j of the grid do; for A columns and B rows,

    $$
    \begin{aligned}
    \tilde x, \tilde y, \log \sigma^2, \log \tilde \delta, \log \gamma &= h_{t-1} W_r + b_r \\
    g_x, g_y &= \frac{A + 1}{2} (\tilde x + 1), \frac{B + 1}{2} (\tilde y + 1) \\
    \delta &= \frac{\max(A, B) - 1}{N - 1} \tilde \delta \\
    F_x(i, a) &\propto \exp(-(a - g_x - (i - N / 2 - 1 / 2) \delta)^2 / 2 \sigma^2) \\
    F_y(j, b) &\propto \exp(-(b - g_y - (j - N / 2 - 1 / 2) \delta)^2 / 2 \sigma^2) \\
    r_t &= \gamma F_y x F_x^\top \\
    h_t &= f([r_t; v_t], h_{t-1})
    \end{aligned}
    $$

    where the sum of each filter is 1, and r is a vector row by row.

    Weights, for d features, n units and N = 2, with the inner cell `lstm`:

    | name | symbol | shape |
    |---|---|---|
    | read_kernel | W_r | (n, 5) |
    | read_bias | b_r | (5,) |
    | kernel | of f | (4 + d, 4n) |
    | recurrent_kernel | of f | (n, 4n) |
    | bias | of f | (4n,) |

    Departures from the paper, whose classifier reads the image alone: further inputs, which may be zeros. A filter is
    divided by 1e-8 at least, so that one whose next pixel is more than six of its deviations away, far outside of the
    image or very narrow between two pixels, has not the sum 1 but less, down to 0. A single filter, N = 1, has no
    stride. The first states are zeros. The paper does not say how the biases start; that of
    $\log \sigma^2$ starts so that the deviation of the filters is half their stride.

    Args:
        units: positive integer, n.
        rows, columns: positive integers, of the images.
        read_size: N, a positive integer.
        cell: the inner cell f: a catalog name, a cell class, a function `units -> cell`, or a cell. What it has of
            dropout and zoneout acts as if it had been given here; dropout on the further inputs alone.
        **kwargs: of `archs.Cell`. Those of activations, biases, kernels and dtype are the inner cell's, too.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of the states of the inner cell.
        training: whether dropout is active.

    The images, (batch, rows, columns), are given before: `cell.memorize(images)`, or in the call of
    `archs.Recurrent` as `memory=...`. What a mask leaves out of an image is black.

    Returns:
        h, (batch, size), and the list of the new states. Windows are computed in single precision at least.

    Raises:
        ValueError: see `archs.Cell`; and on a call, there are no images, or they have another size.

    Example:

    >>> import keras, archs
    >>> layer = archs.Recurrent(archs.DRAWReaderCell(6, rows=8, columns=8, read_size=3))
    >>> layer(keras.ops.zeros((2, 5, 1)), memory=keras.ops.ones((2, 8, 8))).shape
    TensorShape([2, 6])
    """

    states = ("h", "c")
    reads_memory = True

    def __init__(self, units, *, rows=28, columns=28, read_size=12, cell="lstm", **kwargs):
        cell = inner.make_inner(cell, units, kwargs)
        kwargs.setdefault("zoneout", cell.zoneout)
        self.candidate, self.one_memory = cell.candidate, cell.one_memory  # the checks of Cell read them
        super().__init__(units, **kwargs)
        self.cell = cell
        self.rows = self.memory_entries = checks.positive_integer("rows", rows)
        self.columns = self.memory_size = checks.positive_integer("columns", columns)
        self.read_size = checks.positive_integer("read_size", read_size)
        self.states, self.clocks = cell.states, cell.clocks
        self.state_size, self.output_size = list(cell.state_size), cell.state_size[0]
        # Noise is drawn for the step as a whole, by this cell's rates and seed.
        self.product_sizes, self.inner_sizes = cell.product_sizes, cell.inner_sizes

    def get_config(self):
        return super().get_config() | {"cell": inner.serialized(self.cell)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(inner.deserialized(config))

    def build(self, input_shape):
        super().build(input_shape)
        self.cell.build((None, self.read_size**2 + input_shape[-1]))
        self._drawn.extend(self.cell._drawn)
        self.read_kernel, self.read_bias = weights(
            self, "read", self.output_size, PARAMETERS, at_first(self.rows, self.columns, self.read_size)
        )

    def prepare(self, memory, mask):
        return [memory]

    def project(self, inputs):
        return inner.project(self.cell, inputs, first=self.read_size**2)

    def recur(self, x, states, step):
        h, *_ = states
        window = dense(step, [h], self.read_kernel, self.read_bias)
        (read,) = Window(window, self.rows, self.columns, self.read_size).read(step.memory[0])
        return inner.run(self.cell, x, ops.cast(read, h.dtype), states, step, step.product, is_first=True)

    def get_initial_state(self, batch_size):
        """The initial states of the inner cell."""
        return self.cell.get_initial_state(batch_size)

    def observed(self, states):
        """Tells, for `archs.tracing`, where the cell looked, from the list of states after each step.

        Returns:
            A dict of read_x, read_y, read_side, read_deviation and read_intensity, each (batch, time), see
            `Window.seen`.
        """
        h = widen(ops.convert_to_tensor(states[0]))
        first = widen(self.get_initial_state(ops.shape(h)[0])[0])
        h = ops.concatenate([first[:, None], h[:, :-1]], axis=1)
        window = dense(Step(self), [h], *(None if w is None else widen(w) for w in (self.read_kernel, self.read_bias)))
        seen = Window(window, self.rows, self.columns, self.read_size).seen()
        return {f"read_{name}": value for name, value in seen.items()}
