"""The depth-gated LSTM: a stack whose layers pass their memory upward."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell, add, rows
from archs._core.registry import cell


@cell(paper="Yao et al. 2015", url="https://arxiv.org/abs/1508.03790", year=2015)
class DepthGatedLSTMCell(Cell):
    r"""Stack of peephole LSTMs in one cell: a depth gate lets the memory of the layer below into that of a layer.

    K. Yao, T. Cohn, K. Vylomova, K. Duh, C. Dyer, "Depth-Gated LSTM", 2015.

    Equations:

    For layer l of L, with x^1 the input and x^l the h of the layer below; layer 1 has no d.

    $$
    \begin{aligned}
    i^l_t &= \sigma(x^l_t W^l_i + h^l_{t-1} U^l_i + p^l_i \odot c^l_{t-1} + b^l_i) \\
    f^l_t &= \sigma(x^l_t W^l_f + h^l_{t-1} U^l_f + p^l_f \odot c^l_{t-1} + b^l_f) \\
    g^l_t &= \tanh(x^l_t W^l_g + h^l_{t-1} U^l_g + b^l_g) \\
    d^l_t &= \sigma(x^l_t W^l_d + p^l_d \odot c^l_{t-1} + q^l_d \odot c^{l-1}_t + b^l_d) \\
    c^l_t &= d^l_t \odot c^{l-1}_t + f^l_t \odot c^l_{t-1} + i^l_t \odot g^l_t \\
    o^l_t &= \sigma(x^l_t W^l_o + h^l_{t-1} U^l_o + p^l_o \odot c^l_t + b^l_o) \\
    h^l_t &= o^l_t \odot \tanh(c^l_t)
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order i, f, g, o, d, peepholes in the order p_i, p_f, p_o,
    p_d, q_d; further layers have those of layer 2:

    | name | symbol | shape |
    |---|---|---|
    | kernel_1 | W^1 | (d, 4n) |
    | recurrent_kernel_1 | U^1 | (n, 4n) |
    | peephole_kernel_1 | p^1 | (3, n) |
    | bias_1 | b^1 | (4n,) |
    | kernel_2 | W^2 | (n, 5n) |
    | recurrent_kernel_2 | U^2 | (n, 4n) |
    | peephole_kernel_2 | p^2, q^2 | (5, n) |
    | bias_2 | b^2 | (5n,) |

    Departures from the paper: none is known, but its text could not be had: the equations are from its abstract and
    from a builder that its authors' workshop published, which has full matrices where the peepholes here are diagonal,
    and a gate from the input to the memory of layer 1, too, for which no argument exists. The forget gate's bias starts
    at one (Jozefowicz et al. 2015); `unit_forget_bias=False` starts it like the others.

    Args:
        units: positive integer, n, of each layer.
        depth: positive integer, L. Default 2. With 1 the cell is `peephole_lstm`.
        recurrent_activation: of the gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gates starts at one.
        peephole_initializer: default `"glorot_uniform"`.
        **kwargs: of `archs.Cell`. `dropout` acts on the input of each layer.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h and c of the top layer, then of the layer below, and so on, each (batch, units).
        training: whether dropout is active.

    Returns:
        h of the top layer, (batch, units), and the list of the new states.

    Raises:
        ValueError: `depth` is not a positive integer; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.DepthGatedLSTMCell(6, depth=3))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("i", "f", "g", "o", "d")
    keeping = ("f",)
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        depth=2,
        recurrent_activation="sigmoid",
        unit_forget_bias=True,
        peephole_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        self.depth = checks.positive_integer("depth", depth)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.peephole_initializer = keras.initializers.get(peephole_initializer)
        self.states = tuple(f"{state}_{layer}" for layer in range(depth, 0, -1) for state in "hc")
        self.state_size = [self.units] * len(self.states)
        self.product_sizes = [self.units] * depth
        self.inner_sizes = [self.units] * (depth - 1)

    def build(self, input_shape):
        super().build(input_shape)
        n, start = self.units, {"f": 1} if self.unit_forget_bias else {}
        self.stack = []
        for layer in range(1, self.depth + 1):
            d, blocks = (input_shape[-1], 4) if layer == 1 else (n, 5)
            kernel = self.weight(f"kernel_{layer}", (d, blocks * n), role="kernel")
            recurrent_kernel = self.weight(f"recurrent_kernel_{layer}", (n, 4 * n), role="recurrent")
            peephole_kernel = self.weight(f"peephole_kernel_{layer}", (2 * blocks - 5, n), role="peephole")
            bias = self.gate_bias(start, name=f"bias_{layer}", gates=self.gates[:blocks])
            self.stack.append((kernel, recurrent_kernel, peephole_kernel, bias))

    def project(self, inputs):
        kernel, _, _, bias = self.stack[0]
        x = ops.matmul(inputs, kernel)
        return x if bias is None else add(x, bias)

    def recur(self, x, states, step):
        n, new = self.units, ()
        for layer, (kernel, recurrent_kernel, peephole_kernel, bias) in enumerate(self.stack):
            h, c = states[-2 * layer - 2 :][:2]
            if layer:
                x = step.product(step.drop_input(new[0], layer), kernel)
                x = x if bias is None else step.shift(x, bias)
            z = x[:, : 4 * n] + step.recurrent_product(h, recurrent_kernel, layer)
            z_i, z_f, z_g, z_o = ops.split(z, 4, axis=-1)
            p_i, p_f, p_o, *p = rows(peephole_kernel)
            gates, blocks = ["i", "f", "g"], [step.peep(z_i, c, p_i), step.peep(z_f, c, p_f), z_g]
            if layer:
                p_d, q_d = p
                below = new[1]
                gates.append("d")
                blocks.append(step.peep(step.peep(x[:, 4 * n :], c, p_d), below, q_d))
            i, f, g, *d = step.activate(blocks, gates)
            c = f * c + i * g + (d[0] * below if layer else 0)
            (o,) = step.activate([step.peep(z_o, c, p_o)], ("o",))
            new = (o * self.activation(c), c, *new)
        return new
