"""Chrono initialisation: gate biases for memories that last as long as the dependencies in the data."""

import keras
from keras import ops

from archs._core import checks


@keras.saving.register_keras_serializable(package="archs")
class ChronoInitializer(keras.initializers.Initializer):
    r"""Starts the biases of gates so that units forget over times spread between 1 and `max_time` steps.

    C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, https://arxiv.org/abs/1804.11188,
    section 2: b_f = \log u with u uniform in [1, T - 1], and b_i = -b_f. Given as `bias_initializer` of a cell of the
    catalog it finds the cell's gates itself: one that keeps the memory gets \log u, one that writes to it -\log u with
    the same u, the others start at zero; `unit_forget_bias` then has no effect.

    Args:
        max_time: number > 2, T: the longest dependency to be learned, in time steps.
        signs: one of 1, 0, -1 for each gate block in the bias. Needed for layers that are not of the catalog, such as
            `keras.layers.LSTM(..., unit_forget_bias=False)`, where it is (-1, 1, 0, 0).
        seed: of the draw.

    Raises:
        ValueError: `max_time` is not above 2, `signs` has another value than those, or is missing where needed; the
            cell has no gate that keeps or writes a memory.

    Example:

    >>> import archs
    >>> cell = archs.LSTMCell(6, bias_initializer=archs.ChronoInitializer(max_time=784))
    >>> cell.build((None, 4))
    """

    def __init__(self, max_time, signs=None, seed=None):
        self.max_time = checks.positive("max_time", max_time)
        if max_time <= 2:
            raise ValueError(f"Expected `max_time` to be above 2, received {max_time!r}.")
        if signs is not None and (not isinstance(signs, (list, tuple)) or not {1, 0, -1}.issuperset(signs)):
            raise ValueError(f"Expected `signs` to be 1, 0 or -1 for each gate, received {signs!r}.")
        self.signs = signs if signs is None else tuple(signs)
        self.seed = seed

    def for_gates(self, signs):
        """This initializer with `signs`, unless it has its own, which have to be as many."""
        if self.signs is not None and len(self.signs) != len(signs):
            raise ValueError(f"Expected `signs` for {len(signs)} gates, received {self.signs}.")
        return self if self.signs else type(self)(self.max_time, signs, self.seed)

    def __call__(self, shape, dtype=None):
        """A tensor of `shape`: (n,) or (rows, n), n a multiple of the number of signs; rows after the first are 0."""
        if not self.signs or not any(self.signs) or shape[-1] % len(self.signs):
            raise ValueError(
                "Expected ChronoInitializer to be given to the bias of gates that keep or write a memory, or with "
                f"`signs` for each of its gate blocks; received the shape {tuple(shape)} with signs {self.signs}."
            )
        units = shape[-1] // len(self.signs)
        log_u = ops.log(keras.random.uniform((units,), 1.0, self.max_time - 1.0, dtype=dtype, seed=self.seed))
        bias = ops.concatenate([sign * log_u for sign in self.signs])
        rows = [bias if row == 0 else ops.zeros_like(bias) for row in range(shape[0] if len(shape) == 2 else 1)]
        return ops.reshape(ops.stack(rows), shape)

    def get_config(self):
        return {"max_time": self.max_time, "signs": self.signs, "seed": self.seed}


def without_chrono(initializer):
    """The initializer of a bias of no gates: zeros in place of a `ChronoInitializer`."""
    return keras.initializers.Zeros() if isinstance(initializer, ChronoInitializer) else initializer
