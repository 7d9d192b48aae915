"""The update-gate recurrent network."""

import keras

from archs._core.cell import Cell
from archs._core.registry import cell


@cell(paper="Collins et al. 2017", url="https://arxiv.org/abs/1611.09913", year=2017)
class UGRNNCell(Cell):
    r"""Update-gate recurrent network: a simple recurrent network behind one gate that keeps the old output.

    J. Collins, J. Sohl-Dickstein, D. Sussillo, "Capacity and Trainability in Recurrent Neural Networks", ICLR 2017.

    Equations:

    $$
    \begin{aligned}
    g_t &= \sigma(x_t W_g + h_{t-1} U_g + b_g) \\
    c_t &= \tanh(x_t W_c + h_{t-1} U_c + b_c) \\
    h_t &= g_t \odot h_{t-1} + (1 - g_t) \odot c_t
    \end{aligned}
    $$

    Weights, for d features and n units, gate blocks in the order g, c:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 2n) |
    | recurrent_kernel | U | (n, 2n) |
    | bias | b | (2n,) |

    Departures from the paper: the gate keeps, so its bias starts at one, as that of a forget gate does (Jozefowicz et
    al. 2015); `unit_forget_bias=False` starts it like the other. The paper leaves the candidate's nonlinearity open:
    tanh here, `activation` sets another. Its text could not be had: the equations are from accounts of it.

    Args:
        units: positive integer, n.
        recurrent_activation: of the gate. Default `"sigmoid"`.
        unit_forget_bias: whether the bias of the gate starts at one.
        **kwargs: of `archs.Cell`.

    Call arguments:
        inputs: float tensor (batch, features).
        states: list of h, (batch, units).
        training: whether dropout is active.

    Returns:
        h, (batch, units), and the list of the new h.

    Raises:
        ValueError: see `archs.Cell`.

    Example:

    >>> import keras, archs
    >>> layer = keras.layers.RNN(archs.UGRNNCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("g", "c")
    candidate = "c"
    keeping = ("g",)

    def __init__(self, units, *, recurrent_activation="sigmoid", unit_forget_bias=True, **kwargs):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 2 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 2 * n))
        self.bias = self.gate_bias({"g": 1} if self.unit_forget_bias else {})

    def recur(self, x, states, step):
        (h,) = states
        g, c = step.activate(x + step.recurrent_product(h, self.recurrent_kernel))
        h = g * h + (1 - g) * c
        return (h,)
