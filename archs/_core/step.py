"""Hooks of one step of a cell: products with weights, activations, dropout masks, a memory."""

import copy

import keras
import numpy as np
from keras import ops

from archs._core import calls, external_memory, noise


def multiply(a, kernel):
    """`a` (batch, n) times a kernel of any of the shapes that `Step.recurrent_product` takes."""
    if len(kernel.shape) == 1:
        return a * kernel
    if len(kernel.shape) == 2:
        return ops.matmul(a, kernel)
    return ops.einsum("bkn,knm->bkm", ops.reshape(a, (-1, *kernel.shape[:2])), kernel)


def scaled_tanh(z, scale, offset):
    """tanh, or with a scale and an offset of 1/2 the logistic sigmoid."""
    return ops.tanh(z * scale) * scale + offset


class Step:
    """One step of a cell, handed to its `recur`. It belongs to one call: a cell keeps nothing of it.

    Args:
        cell: whose step it is.
        training: whether dropout is active.
        masks: dict of masks that hold for all steps of the sequence, as `calls.Call` has it. Others are drawn.
        memory: what the cell prepared of its external memory. Default: what it was given by `memorize`.
        product: function of `a` and a kernel, see `product`; a time loop has its own.
        squash: function of a packed block of gates, a scale and an offset, see `scaled_tanh`; likewise.

    Attributes:
        training: as given.
        product: `product(a, kernel)` is the product of `recurrent_product` without dropout, for what is no recurrent
            connection, such as a peephole or a projection.
    """

    def __init__(self, cell, training=False, *, masks=None, memory=None, product=multiply, squash=scaled_tanh):
        self.cell, self.training = cell, training
        self.product, self._squash = product, squash
        self._noisy, self._masks, self._memory = cell, dict(masks or {}), memory
        self._first = {"input": 0, "recurrent": 0}

    @classmethod
    def of_call(cls, cell, training):
        """A step of the call that goes on in this context, or of none."""
        call = calls.get(cell) or calls.Call()
        return cls(cell, training, masks=call.masks, memory=call.memory)

    def of(self, inner, site=0, input_site=0):
        """The same step for a cell within the cell: its own gates and activations, the outer one's noise and memory.

        Args:
            inner: the cell.
            site: of the outer cell's `product_sizes`, where those of this one begin.
            input_site: likewise of `inner_sizes`.
        """
        step = copy.copy(self)
        step.cell = inner
        step._first = {"input": self._first["input"] + input_site, "recurrent": self._first["recurrent"] + site}
        return step

    @property
    def memory(self):
        """The arrays that the cell's `prepare` returned."""
        if self._memory is None:
            self._memory = external_memory.prepared(self._noisy)
        return self._memory

    def recurrent_product(self, a, kernel, site=0):
        """`a` (batch, n), under recurrent dropout, times `kernel`. Every recurrent product of a cell goes through here.

        Args:
            a: float tensor (batch, n).
            kernel: made of weights alone, the same in each step: (n, m); (n,) where no unit sees another;
                (heads, n // heads, m) where no head sees another, for a product of shape (batch, heads, m).
            site: which of `product_sizes` `a` has: each has its own mask. What recurs of one state is of one site.
        """
        return self.product(self.drop_recurrent(a, site), kernel)

    def peep(self, z, c, weight):
        """`z` (batch, n) plus a peephole's view of `c` (batch, n) by `weight` (n,), or `z` where that is None."""
        return z if weight is None else z + self.product(c, weight)

    def shift(self, a, weight):
        """`a` (batch, n) plus `weight` (n,); a time loop has its gradient without a sum in each step."""
        return a + self.product(ops.ones_like(a), weight)

    def activate(self, z, gates=None):
        """The gates, activated, from their packed pre-activations.

        Args:
            z: float tensor (batch, len(gates) * units), or a list of its blocks. Gates that are wanted together are
                best computed together: XLA on a CPU is ten times slower where it has one function inside another.
            gates: names of the blocks. Default: all of the cell's.
        """
        cell = self.cell
        z = ops.concatenate(z, axis=-1) if isinstance(z, list) else z
        gates = gates or cell.gates
        if cell.recurrent_activation is keras.activations.sigmoid and cell.activation is keras.activations.tanh:
            # One pass over the packed block, since sigmoid(v) = tanh(v / 2) / 2 + 1 / 2. Sliced first, each gate would
            # be computed again in each place that reads it.
            scale = np.repeat([1.0 if gate == cell.candidate else 0.5 for gate in gates], cell.units)
            scale, offset = (ops.convert_to_tensor(a, dtype=z.dtype) for a in (scale, 1 - scale))
            active = ops.split(self._squash(z, scale, offset), len(gates), axis=-1)
        else:
            active = [
                (cell.activation if gate == cell.candidate else cell.recurrent_activation)(block)
                for gate, block in zip(gates, ops.split(z, len(gates), axis=-1), strict=True)
            ]
        return tuple(
            self.drop_candidate(block) if gate == cell.candidate else block
            for gate, block in zip(gates, active, strict=True)
        )

    def propose(self, z, activation=None):
        """A candidate that is no gate block, from its pre-activation. Default: the cell's `activation`."""
        return self.drop_candidate((activation or self.cell.activation)(z))

    def drop_input(self, a, site=0):
        """`a` (batch, n) or (batch, time, n) under input dropout.

        Args:
            a: the inputs (site 0), or what an inner layer of the cell takes from the one below.
            site: 1 and on for inner layers, each with its own mask; `inner_sizes` holds their sizes.
        """
        cell = self._noisy
        if not (self.training and cell.dropout):
            return a
        if cell.dropout_method != "gal":
            dropped = noise.drop_afresh(cell, a, cell.dropout)
        else:
            dropped = self._masked("input", a, site)
        kept = 0 if site else cell.undropped
        return ops.concatenate([dropped[..., :-kept], a[..., -kept:]], axis=-1) if kept else dropped

    def drop_recurrent(self, a, site=0):
        """`a` (batch, n) or (batch, time, n), on its way into the recurrence, under Gal's recurrent dropout."""
        cell = self._noisy
        drops = self.training and cell.recurrent_dropout and cell.dropout_method == "gal"
        return self._masked("recurrent", a, site) if drops else a

    def drop_candidate(self, g):
        """The candidate under Semeniuta's recurrent dropout."""
        cell = self._noisy
        drops = self.training and cell.recurrent_dropout and cell.dropout_method == "semeniuta"
        return noise.drop_afresh(cell, g, cell.recurrent_dropout) if drops else g

    def _masked(self, place, a, site):
        if place not in self._masks:  # called outside of a sequence layer
            self._masks[place] = noise.draw_mask(self._noisy, place, ops.shape(a)[0])
        return noise.masked(self._noisy, place, a, self._masks[place], self._first[place] + site)
