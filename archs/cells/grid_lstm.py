"""The grid LSTM: memory along depth as well as along time."""

import math

import keras
import numpy as np
from keras import ops

from archs._core import checks
from archs._core.cell import Cell, add
from archs._core.names import nearest
from archs._core.registry import cell

_LSTM = "lstm"


@cell(paper="Kalchbrenner et al. 2015", url="https://arxiv.org/abs/1507.01526", year=2015)
class GridLSTMCell(Cell):
    r"""Grid LSTM: blocks with an LSTM for each of their dimensions, which are depth, time and any further ones.

    N. Kalchbrenner, I. Danihelka, A. Graves, "Grid Long Short-Term Memory", ICLR 2016, section 3.

    Equations:

    From each side, for depth, time and any further dimension, an h and an m enter a block. On the side of depth those
    of the lowest layer are projections of the input; a layer takes them from the one below. On the side of time they
    are the states that the step before left in the same layer. The h of the sides are joined to H. The dimension with
    priority, depth, comes last and reads the new h of the others, joined to H'.

    $$
    \begin{aligned}
    h^0, m^0 &= x_t W \\
    H &= [h^{l-1}, h^l_{t-1}] \\
    i, f, g, o &= \sigma(H V_i + a_i), \sigma(H V_f + a_f), \tanh(H V_g + a_g), \sigma(H V_o + a_o) \\
    m^l_t &= f \odot m^l_{t-1} + i \odot g \\
    h^l_t &= \tanh(o \odot m^l_t) \\
    H' &= [h^{l-1}, h^l_t] \\
    i, f, g, o &= \sigma(H' U_i + b_i), \sigma(H' U_f + b_f), \tanh(H' U_g + b_g), \sigma(H' U_o + b_o) \\
    m^l &= f \odot m^{l-1} + i \odot g \\
    h^l &= \tanh(o \odot m^l)
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, f, g, o, for depth and time; with `tied=False`
    those of layer l end in `_l`:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 2n) |
    | depth_kernel | U | (2n, 4n) |
    | depth_bias | b | (4n,) |
    | time_kernel | V | (2n, 4n) |
    | time_bias | a | (4n,) |

    Of N dimensions the kernels of blocks are (N n, 4n), and n is in the place of 4n where a dimension is no LSTM. Those
    of the further dimensions are `axis_1_kernel`, `axis_1_bias` and so on.

    Departures from the paper: biases, which its equations have not; `use_bias=False` undoes it. Its text could not be
    had whole: the equations are from what readers show of its formulas. Some of their code has h = o * tanh(m), which
    `gate_first=False` gives. The output is h, where a figure of the paper seems to hand on m of the top as well. The
    further dimensions are run in one direction.

    Args:
        units: positive integer, n.
        depth: positive integer, number of blocks along depth. Default 2.
        tied: whether the blocks along depth share their weights. Along time and the further dimensions they always do.
        time: whether time is a dimension. Without it a step takes nothing from the one before; with one step, and no
            `extents`, the cell is the paper's 1-D Grid LSTM.
        extents: tuple of positive integers, the lengths of further dimensions within a time step. The features are
            then those of P = prod(extents) places, in the order of a flattened array (*extents, d / P), and the output
            and the states are of size P n, likewise. Blocks are computed one by one: a graph has depth * P of them, and
            the first call takes as much longer.
        transforms: `"lstm"`, or the name of an activation of Keras for a dimension without memory, h = f(H V + a); or a
            dict from `"depth"`, `"time"`, `"axis_1"` and so on to one of these, the others being `"lstm"`.
        priority: the dimension that is computed last. Default `"depth"`. None: all read H.
        gate_first: whether h is tanh(o * m), as in the paper, or o * tanh(m), as in `lstm`.
        recurrent_activation: of the gates. Default `"sigmoid"`.
        forget_bias: what the biases of the forget gates start at, but for depth. Default 1.
        depth_forget_bias: the same, for depth. Default 0.
        kernel_initializer, recurrent_initializer: default normal with a standard deviation of 2 / sqrt(rows), with
            which deep 1-D grids learn parity. The second is for the kernels of the blocks.
        **kwargs: of `archs.Cell`. `dropout` acts on what each layer takes from below, `recurrent_dropout` on the h of
            the other sides.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of the output before, which is not read, then of h and m of the side of time for each layer, lowest
            first, each (batch, units).
        training: whether dropout is active.

    Returns:
        h of the side of depth above the top layer, (batch, units), and the list of the new states.

    Raises:
        ValueError: an argument is out of its range, a dimension is none of the grid, or, when it is built, the features
            are not of so many places; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.GridLSTMCell(6, depth=3))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        depth=2,
        tied=True,
        time=True,
        extents=(),
        transforms="lstm",
        priority="depth",
        gate_first=True,
        recurrent_activation="sigmoid",
        forget_bias=1.0,
        depth_forget_bias=0.0,
        kernel_initializer=None,
        recurrent_initializer=None,
        **kwargs,
    ):
        super().__init__(
            units,
            kernel_initializer=kernel_initializer or _wide_normal(),
            recurrent_initializer=recurrent_initializer or _wide_normal(),
            **kwargs,
        )
        self.depth = checks.positive_integer("depth", depth)
        self.tied = checks.flag("tied", tied)
        self.time = checks.flag("time", time)
        if not isinstance(extents, (list, tuple)):
            raise ValueError(f"Expected `extents` to be a tuple of positive integers, received {extents!r}.")
        self.extents = tuple(checks.positive_integer("extents", extent) for extent in extents)
        axes = [f"axis_{number}" for number in range(1, len(self.extents) + 1)]
        self.dimensions = ("depth", *["time"] * self.time, *axes)
        self.transforms = transforms
        self._activations = self._checked_transforms(transforms)
        self.priority = checks.one_of("priority", priority, (None, *self.dimensions))
        self.gate_first = checks.flag("gate_first", gate_first)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.forget_bias = checks.number("forget_bias", forget_bias)
        self.depth_forget_bias = checks.number("depth_forget_bias", depth_forget_bias)
        sides = [] if not self.time else ["h"] if self._activations["time"] else ["h", "m"]
        self.states = ("h", *(f"{side}_{layer}" for layer in range(1, depth + 1) for side in sides))
        self.state_size = [units * math.prod(self.extents)] * len(self.states)
        self.output_size = self.state_size[0]
        self.product_sizes = [units] * depth * (len(self.dimensions) - 1)
        self.inner_sizes = [units] * (depth - 1)

    def _checked_transforms(self, transforms):
        """The activation of each dimension, None for an LSTM."""
        if isinstance(transforms, dict):
            for name in transforms.keys() - set(self.dimensions):
                hint = nearest(name, self.dimensions)
                raise ValueError(f"Expected `transforms` for dimensions of the grid, received {name!r}. {hint}")
        given = transforms if isinstance(transforms, dict) else dict.fromkeys(self.dimensions, transforms)
        found = dict.fromkeys(self.dimensions)
        for name, transform in given.items():
            try:
                found[name] = None if transform == _LSTM else keras.activations.get(str(transform))
            except ValueError as error:
                raise ValueError(
                    f"Expected `transforms` to be {_LSTM!r} or activations of Keras, received {transform!r}."
                ) from error
        return found

    def build(self, input_shape):
        super().build(input_shape)
        d, n, places = input_shape[-1], self.units, math.prod(self.extents)
        if d % places:
            raise ValueError(
                f"Expected a number of features that the {places} places of {self.extents} divide, received {d}."
            )
        self.kernel = self.weight("kernel", (d // places, n if self._activations["depth"] else 2 * n))
        self.blocks = []
        for layer in range(1, 2 if self.tied else self.depth + 1):
            block = {}
            for name in self.dimensions:
                end = "" if self.tied else f"_{layer}"
                gates = ("h",) if self._activations[name] else self.gates
                size = (len(self.dimensions) * n, len(gates) * n)
                start = {"f": self.depth_forget_bias if name == "depth" else self.forget_bias}
                kernel = self.weight(f"{name}_kernel{end}", size, role="recurrent")
                block[name] = (kernel, self.gate_bias(start, name=f"{name}_bias{end}", gates=gates))
            self.blocks.append(block)

    @property
    def _widths(self):
        """The sizes of what `project` returns for a place, by name: m, and products of h with block kernels."""
        n, widths = self.units, {} if self._activations["depth"] else {"m": self.units}
        for name in self.dimensions:
            if name == "depth" or name != self.priority:  # else it reads the new h
                widths[name] = n if self._activations[name] else 4 * n
        return widths

    def project(self, inputs):
        n, places, lead = self.units, math.prod(self.extents), ops.shape(inputs)[:-1]
        sides = ops.matmul(ops.reshape(inputs, (*lead, places, inputs.shape[-1] // places)), self.kernel)
        h, parts = sides[..., :n], []
        for name in self._widths:
            kernel, bias = self.blocks[0].get(name, (None, None))
            x = sides[..., n:] if kernel is None else ops.matmul(h, kernel[:n])
            parts.append(x if bias is None else add(x, bias))
        return ops.reshape(ops.concatenate(parts, axis=-1), (*lead, places * sum(self._widths.values())))

    def recur(self, x, states, step):
        places, axes = list(np.ndindex(*self.extents)), self.dimensions[1 + self.time :]
        x, *states = [_pieces(a, [a.shape[-1] // len(places)] * len(places)) for a in (x, *states[1:])]
        of_a_layer = len(states) // self.depth
        top, new, behind = [], [[] for _ in states], {}
        for number, place in enumerate(places):
            known = dict(zip(self._widths, _pieces(x[number], self._widths.values()), strict=True))
            side = [None, known.pop("m", None)]  # what goes up; what is multiplied with the lowest h is in x
            for layer in range(self.depth):
                first = layer * of_a_layer
                sides = {"depth": side}
                if self.time:
                    sides["time"] = [state[number] for state in states[first : first + of_a_layer]]
                for axis in axes:
                    sides[axis] = behind.get((axis, layer, place)) or [ops.zeros_like(x[0][:, : self.units])] * 2
                left = self._block(layer, sides, {} if layer else known, step)
                side = left["depth"]
                for state, value in zip(new[first:], left.get("time", []), strict=False):
                    state.append(value)
                for number_of_axis, axis in enumerate(axes):
                    after = list(place)
                    after[number_of_axis] += 1
                    behind[axis, layer, tuple(after)] = left[axis]
            top.append(side[0])
        return tuple(_joined(pieces) for pieces in (top, *new))

    def _block(self, layer, sides, known, step):
        """Computes what leaves a block along each dimension, h and for an LSTM m, from what enters it.

        Args:
            layer: its number along depth, from 0.
            sides: dict from each dimension to the list of h and m.
            known: dict from dimensions to what the h of depth adds to their pre-activations, biases included, in the
                lowest layer; in others empty.
            step: `Step`.
        """
        others, left = len(self.dimensions) - 1, {}
        seen = {
            name: step.drop_recurrent(sides[name][0], layer * others + i) for i, name in enumerate(self.dimensions[1:])
        }
        seen["depth"] = step.drop_input(sides["depth"][0], layer) if layer else None
        for name in sorted(self.dimensions, key=lambda name: name == self.priority):
            kernel, bias = self.blocks[0 if self.tied else layer][name]
            h = [left[a][0] if name == self.priority != a else seen[a] for a in self.dimensions]
            z = known.get(name)
            if z is not None:
                h, kernel, bias = h[1:], kernel[self.units :], None
            if h:
                product = step.product(_joined(h), kernel)
                z = product if z is None else z + product
            z = z if bias is None else step.shift(z, bias)
            if self._activations[name]:
                left[name] = [self._activations[name](z)]
            else:
                gates = dict(zip(self.gates, step.activate(z), strict=True))
                m = gates["f"] * sides[name][1] + gates["i"] * gates["g"]
                h = self.activation(gates["o"] * m) if self.gate_first else gates["o"] * self.activation(m)
                left[name] = [h, m]
        return left


def _wide_normal():
    return keras.initializers.VarianceScaling(4.0, "fan_in", "untruncated_normal")


def _pieces(a, sizes):
    """`a` (batch, sum of the sizes) in pieces of these sizes."""
    ends = np.cumsum(list(sizes)).tolist()
    return [a] if len(ends) == 1 else ops.split(a, ends[:-1], axis=-1)


def _joined(pieces):
    return pieces[0] if len(pieces) == 1 else ops.concatenate(pieces, axis=-1)
