"""The recurrent highway network: several gated layers within one time step."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Zilly et al. 2017", url="https://arxiv.org/abs/1607.03474", year=2017)
class RecurrentHighwayCell(Cell):
    r"""Recurrent highway network: in each time step the state climbs several highway layers; the first sees the input.

    J. G. Zilly, R. K. Srivastava, J. Koutnik, J. Schmidhuber, "Recurrent Highway Networks", ICML 2017, equations (6)
    to (9).

    Equations:

    For layer l of L, with s_0 the state of the step before and s_L the new one; x W enters layer 1 only.

    $$
    \begin{aligned}
    h_l &= \tanh(x_t W_h [l = 1] + s_{l-1} R^l_h + b^l_h) \\
    t_l &= \sigma(x_t W_t [l = 1] + s_{l-1} R^l_t + b^l_t) \\
    c_l &= 1 - t_l \quad \text{or, uncoupled, } \sigma(x_t W_c [l = 1] + s_{l-1} R^l_c + b^l_c) \\
    s_l &= h_l \odot t_l + s_{l-1} \odot c_l
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order h, t and, uncoupled, c; further layers as layer 2:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 2n) |
    | recurrent_kernel_1 | R^1 | (n, 2n) |
    | bias_1 | b^1 | (2n,) |
    | recurrent_kernel_2 | R^2 | (n, 2n) |
    | bias_2 | b^2 | (2n,) |

    Departures from the paper: none in the coupled form that it trains. Its text could not be had: the equations are
    from its authors' code and from a library's documentation, which also gives the uncoupled form. `transform_bias` is
    theirs for words (-2; -4 for characters), where their models have ten layers.

    Args:
        units: positive integer, n.
        depth: positive integer, L. Default 2.
        coupled: whether the carry gate is 1 - t. Default True. Otherwise all weights have a third block for it.
        recurrent_activation: of the gates. Default `"sigmoid"`.
        transform_bias: what the bias of t starts at; below zero the state is kept at first. Default -2.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of s, (batch, units).
        training: whether dropout is active.

    Returns:
        s, (batch, units), and the list of the new s.

    Raises:
        ValueError: `depth` is not a positive integer; else see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.RecurrentHighwayCell(6, depth=3))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("s",)
    gates = ("h", "t")
    candidate = "h"
    keeping = ("c",)
    writing = ("t",)

    def __init__(self, units, *, depth=2, coupled=True, recurrent_activation="sigmoid", transform_bias=-2.0, **kwargs):
        super().__init__(units, **kwargs)
        self.depth = checks.positive_integer("depth", depth)
        self.coupled = coupled
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.transform_bias = checks.number("transform_bias", transform_bias)
        if not coupled:
            self.gates = ("h", "t", "c")

    def build(self, input_shape):
        super().build(input_shape)
        d, n, blocks = input_shape[-1], self.units, len(self.gates)
        self.kernel = self.weight("kernel", (d, blocks * n))
        self.layers = []
        for layer in range(1, self.depth + 1):
            kernel = self.weight(f"recurrent_kernel_{layer}", (n, blocks * n), role="recurrent")
            bias = self.gate_bias({"t": self.transform_bias}, name=f"bias_{layer}")
            self.layers.append((kernel, bias))

    def project(self, inputs):
        return ops.matmul(inputs, self.kernel)

    def recur(self, x, states, step):
        (s,) = states
        for layer, (kernel, bias) in enumerate(self.layers):
            z = step.recurrent_product(s, kernel)
            z = z if bias is None else step.shift(z, bias)
            h, t, *c = step.activate(z if layer else x + z)
            c = 1 - t if self.coupled else c[0]
            s = h * t + s * c
        return (s,)
