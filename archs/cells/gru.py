"""The gated recurrent unit."""

import keras
from keras import ops

from archs._core.cell import Cell, add
from archs._core.registry import cell


@cell(paper="Cho et al. 2014", url="https://arxiv.org/abs/1406.1078", year=2014)
class GRUCell(Cell):
    r"""Gated recurrent unit: an update gate that keeps the old output and a reset gate before the candidate.

    K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
    EMNLP 2014, section 2.3, equations (5) to (8).

    Equations:

    $$
    \begin{aligned}
    z_t &= \sigma(x_t W_z + h_{t-1} U_z + b_z) \\
    r_t &= \sigma(x_t W_r + h_{t-1} U_r + b_r) \\
    \tilde h_t &= \tanh(x_t W_h + (r_t \odot h_{t-1}) U_h + b_h) \\
    h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot \tilde h_t
    \end{aligned}
    $$

    z keeps the old output, as in the paper and in Keras. Much teaching material has 1 - z and z the other way round.

    Weights, for d features and n units, gate blocks in the order z, r, h:

    | name | symbol | shape |
    |---|---|---|
    | kernel | W | (d, 3n) |
    | recurrent_kernel | U | (n, 3n) |
    | bias | b | (3n,) |

    With `reset_after=True` the candidate is tanh(x_t W_h + b_h + r_t * (h[t-1] U_h + b'_h)), which cuDNN computes, the
    bias has the shape (2, 3n), and the weights interchange with those of `keras.layers.GRU`; without it, with those of
    `keras.layers.GRU(reset_after=False)`.

    Departures from the paper: biases, which its equations leave out; `use_bias=False` undoes it. The update gate's bias
    starts at zero, as in Keras.

    Args:
        units: positive integer, n.
        recurrent_activation: of the two gates. Default `"sigmoid"`.
        reset_after: whether the reset gate comes after the recurrent product.
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
    >>> layer = keras.layers.RNN(archs.GRUCell(6))
    >>> layer(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 6])
    """

    gates = ("z", "r", "h")
    candidate = "h"
    keeping = ("z",)

    def __init__(self, units, *, recurrent_activation="sigmoid", reset_after=False, **kwargs):
        super().__init__(units, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.reset_after = reset_after

    def build(self, input_shape):
        super().build(input_shape)
        d, n = input_shape[-1], self.units
        self.kernel = self.weight("kernel", (d, 3 * n))
        self.recurrent_kernel = self.weight("recurrent_kernel", (n, 3 * n))
        self.bias = self.gate_bias(rows=(2,) if self.reset_after else ())

    def add_bias(self, x):
        return add(x, self.bias[0]) if self.reset_after and self.bias is not None else super().add_bias(x)

    def recur(self, x, states, step):
        (h,) = states
        n = self.units
        x_z, x_r, x_h = ops.split(x, 3, axis=-1)
        if self.reset_after:
            u = step.recurrent_product(h, self.recurrent_kernel)
            u_z, u_r, u_h = ops.split(u if self.bias is None else step.shift(u, self.bias[1]), 3, axis=-1)
            (r,) = step.activate(x_r + u_r, ("r",))
            u_h = r * u_h
        else:
            u_z, u_r = ops.split(step.recurrent_product(h, self.recurrent_kernel[:, : 2 * n]), 2, axis=-1)
            (r,) = step.activate(x_r + u_r, ("r",))
            u_h = step.recurrent_product(r * h, self.recurrent_kernel[:, 2 * n :])
        z, candidate = step.activate([x_z + u_z, x_h + u_h], ("z", "h"))
        h = z * h + (1 - z) * candidate
        return (h,)
