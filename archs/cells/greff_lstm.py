"""The vanilla LSTM of the search space odyssey, and its eight single changes."""

import keras
from keras import ops

from archs._core.cell import Cell, rows
from archs._core.registry import cell

# What each variant takes away; FGR adds.
_WITHOUT = {"NIG": "i", "NFG": "f", "NOG": "o", "CIFG": "f", "NIAF": "", "NOAF": "", "NP": "", "FGR": ""}


@cell(paper="Greff et al. 2015", url="https://arxiv.org/abs/1503.04069", year=2015)
class GreffLSTMCell(Cell):
    r"""Peephole LSTM with a switch for the eight variants that Greff et al. compared.

    K. Greff, R. K. Srivastava, J. Koutnik, B. R. Steunebrink, J. Schmidhuber, "LSTM: A Search Space Odyssey", 2015,
    sections 2 and 3. The paper's block input z is g here, its block output y is h.

    Equations:

    $$
    \begin{aligned}
    g_t &= \tanh(x_t W_g + h_{t-1} U_g + b_g) \\
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f) \\
    c_t &= g_t \odot i_t + c_{t-1} \odot f_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \\
    h_t &= \tanh(c_t) \odot o_t
    \end{aligned}
    $$

    and with `variant`: NIG, NFG, NOG: no input, forget or output gate, it is 1; NIAF, NOAF: no input or output
    activation, the identity takes the place of tanh; CIFG: f = 1 - i; NP: no peepholes; FGR: full gate recurrence, all
    gates of the step before enter all gates.

    Weights, for d features and n units, gate blocks in the order i, f, g, o, peepholes in the order i, f, o:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 4n) |
    | recurrent_kernel | U | (n, 4n) |
    | peephole_kernel | p | (3, n) |
    | bias | b | (4n,) |

    A gate that a variant lacks has no block and no peephole; NP has no peephole_kernel. FGR has a gate_recurrent_kernel
    (3n, 3n), too, from i, f, o of the step before to i, f, o, and three more states, i, f and o.

    Departures from the paper: the forget gate's bias starts at one (Jozefowicz et al. 2015), with CIFG that of the
    input gate at -1; `unit_forget_bias=False` starts them like the others. With FGR the output gate sees the new cell
    state, as without, and as in a program of other readers; the text of the paper could not be had to settle it: the
    equations are from memory and agree with readers' notes on it.

    Args:
        units: positive integer, n.
        variant: None or one of the eight names above.
        recurrent_activation: of the gates. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gate starts at one.
        peephole_initializer: default `"glorot_uniform"`.
        gate_recurrent_initializer: default `"orthogonal"`.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h and c, and with FGR of i, f and o, each (batch, units).
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new states.

    Raises:
        ValueError: there is no such variant; and see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.GreffLSTMCell(6, variant="NP"))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")
    keeping = ("f",)
    writing = ("i",)

    def __init__(
        self,
        units,
        *,
        variant=None,
        recurrent_activation="sigmoid",
        unit_forget_bias=True,
        peephole_initializer="glorot_uniform",
        gate_recurrent_initializer="orthogonal",
        **kwargs,
    ):
        if variant not in (None, *_WITHOUT):
            raise ValueError(f"Expected `variant` to be None or one of {', '.join(_WITHOUT)}, received {variant!r}.")
        super().__init__(units, **kwargs)
        self.variant = variant
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.peephole_initializer = keras.initializers.get(peephole_initializer)
        self.gate_recurrent_initializer = keras.initializers.get(gate_recurrent_initializer)
        self.gates = tuple(gate for gate in type(self).gates if gate != _WITHOUT.get(variant))
        self.states = ("h", "c", "i", "f", "o") if variant == "FGR" else ("h", "c")
        self.state_size = [self.units] * len(self.states)

    def build(self, input_shape):
        super().build(input_shape)
        d, n, blocks = input_shape[-1], self.units, len(self.gates)
        self.kernel = self.weight("kernel", (d, blocks * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, blocks * n))
        if self.variant == "FGR":
            self.gate_recurrent_kernel = self.weight("gate_recurrent_kernel", (3 * n, 3 * n))
        if self.variant != "NP":
            self.peephole_kernel = self.weight("peephole_kernel", (blocks - 1, n))
        keeping = {"i": -1} if self.variant == "CIFG" else {"f": 1}
        self.bias = self.gate_bias(keeping if self.unit_forget_bias else {})

    def recur(self, x, states, step):
        h, c = states[:2]
        packed = x + step.recurrent_product(h, self.recurrent_kernel)
        z = dict(zip(self.gates, ops.split(packed, len(self.gates), axis=-1), strict=True))
        peepholes = dict.fromkeys("ifo")
        if self.variant != "NP":
            seeing = [gate for gate in self.gates if gate != "g"]
            peepholes |= zip(seeing, rows(self.peephole_kernel), strict=True)
        if self.variant == "FGR":
            kernels = ops.split(self.gate_recurrent_kernel, 3, axis=0)
            before = sum(step.recurrent_product(*pair) for pair in zip(states[2:], kernels, strict=True))
            z |= {gate: z[gate] + u for gate, u in zip("ifo", ops.split(before, 3, axis=-1), strict=True)}

        def see(name, state):
            return step.peep(z[name], state, peepholes[name])

        one = ops.ones_like(c)
        first = [gate for gate in "ifg" if gate in z and (gate, self.variant) != ("g", "NIAF")]
        blocks = [z["g"] if gate == "g" else see(gate, c) for gate in first]
        active = dict(zip(first, step.activate(blocks, first), strict=True))
        i = active.get("i", one)
        f = 1 - i if self.variant == "CIFG" else active.get("f", one)
        g = active["g"] if "g" in active else step.drop_candidate(z["g"])
        c = g * i + c * f
        (o,) = step.activate([see("o", c)], ("o",)) if "o" in z else (one,)
        h = (c if self.variant == "NOAF" else self.activation(c)) * o
        return (h, c, i, f, o) if self.variant == "FGR" else (h, c)
