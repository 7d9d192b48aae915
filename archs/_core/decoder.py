"""The decoder of a model that writes a sequence: what the factories with an encoder have in common."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell
from archs._core.recurrent import Recurrent
from archs._core.registry import entry, output_size


def attentive(cells, units=None, **arguments):
    """The cells with attention around the highest.

    Args:
        cells: from `make_cells`.
        units: size of what the attentive one says. Default: of the cell's output.
        **arguments: of `AttentionDecoderCell`.

    Raises:
        ValueError: the highest is not of the catalog; and see `AttentionDecoderCell`.
    """
    *lower, inner = cells
    if not isinstance(inner, Cell):
        raise ValueError(
            f"Expected a cell of the catalog for the layer that attends, received {inner!r}. Give this layer another "
            "`cell`, or `attention=None`, where the model has this argument."
        )
    make = entry("attention_decoder", "cell").target
    return [*lower, make(units or output_size(inner), cell=inner, dtype=inner.dtype_policy.name, **arguments)]


def attentive_start(cell, states, memory):
    """The initial states of an attentive cell, in a functional model, from those of its inner cell."""
    zero = ops.zeros_like(memory[:, :, 0])
    sizes = [cell.state_size[0], *cell.state_size[1 + len(states) :]]
    a, *kept = [zero if size is None else ops.repeat(ops.zeros_like(memory[:, 0, :1]), size, axis=1) for size in sizes]
    return [a, *states, *kept]


def run_decoder(cells, sequences, encoded, *, mask, dropout, draws=None):
    """Puts the layers of a decoder on top of each other in a functional model, dropout before each and after the last.

    Args:
        cells: lowest first.
        sequences: tensor (batch, steps, features).
        encoded: dict of the initial `states`, a list for each cell, and, if one attends, `memory` and perhaps `mask`.
        mask: bool tensor (batch, steps), or None.
        dropout: rate.
        draws: None, or a layer on what the last cell reads.

    Returns:
        What the last layer says, (batch, steps, size), and the list of its final states.
    """
    policy = cells[0].dtype_policy.name

    def dropped(tensor, name):
        return keras.layers.Dropout(dropout, dtype=policy, name=name)(tensor) if dropout else tensor

    for number, (cell, states) in enumerate(zip(cells, encoded["states"], strict=True), 1):
        layer = Recurrent(cell, return_sequences=True, return_state=True, name=f"decoder_{number}")
        reads = getattr(cell, "reads_memory", False)
        read = {"memory": encoded["memory"], "memory_mask": encoded.get("mask")} if reads else {}
        sequences = dropped(sequences, f"decoder_dropout_{number}")
        sequences = draws(sequences) if draws and cell is cells[-1] else sequences
        sequences, *finals = layer(sequences, initial_state=states, mask=mask, **read)
    return dropped(sequences, "dropout_out"), finals


@keras.saving.register_keras_serializable(package="archs")
class AttentionDraws(keras.layers.Layer):
    """Appends the numbers by which hard attention draws: in training from [0, 1), else -1, and nothing is drawn.

    Args:
        expectation: share of the rows for which nothing is drawn in training either.
        seed: of the numbers.

    Call arguments:
        sequences: float tensor (batch, features) or (batch, steps, features).
        training: whether to draw.

    Returns:
        A tensor with one feature more.
    """

    def __init__(self, expectation, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.expectation, self.seed = checks.between("expectation", expectation, 0, 1), seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, sequences, training=False):
        shape = (*ops.shape(sequences)[:-1], 1)
        draws = ops.full(shape, -1, dtype=sequences.dtype)
        if training:
            rows = keras.random.uniform((shape[0], *[1] * (len(shape) - 1)), seed=self.seed_generator)
            drawn = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
            draws = ops.where(rows < self.expectation, draws, ops.cast(drawn, sequences.dtype))
        return ops.concatenate([sequences, draws], axis=-1)

    def compute_output_shape(self, shape):
        return (*shape[:-1], shape[-1] + 1)

    def get_config(self):
        return super().get_config() | {"expectation": self.expectation, "seed": self.seed}
