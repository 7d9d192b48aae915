"""Terms that attention adds to the loss of a training. Outside training they add nothing.

Keras' losses are means over the tokens that no mask leaves out. So the terms, sums over the steps of each row, are
added up over the rows and divided by the number of these tokens.
"""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import widen


class _Term(keras.layers.Layer):
    """A layer that hands its first input on, and adds a term to the loss."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True

    def add_term(self, rows, sequences, mask):
        """Adds a term from its values for each row, (batch,), for sequences (batch, steps, size) and their mask."""
        steps = ops.ones(ops.shape(sequences)[:2]) if mask is None else ops.cast(mask, "float32")
        steps = ops.sum(ops.broadcast_to(steps, ops.shape(sequences)[:2]))
        self.add_loss(ops.sum(widen(rows)) / ops.cast(ops.maximum(steps, 1), widen(rows).dtype))

    def compute_output_spec(self, sequences, *_, **__):
        return keras.KerasTensor(sequences.shape, sequences.dtype)


@keras.saving.register_keras_serializable(package="archs")
class CoverageLoss(_Term):
    """Adds what coverage is to prevent.

    With `kind="all"`, sum_j (1 - sum_t alpha_tj)^2, so that each entry of the memory is looked at once in all (Xu et
    al. 2015, equation (14)); with `"twice"`, sum_t sum_j min(alpha_tj, u_{t-1,j}), so that none is looked at again (See
    et al. 2017, equation (12)).

    Args:
        kind: `"all"` or `"twice"`.
        weight: factor, not negative.

    Call arguments:
        sequences: tensor (batch, steps, size), which is returned.
        sums: what the decoder's cell has summed up: `"all"`: its coverage (batch, memory time); `"twice"`: (batch, 1).
        mask: bool tensor (batch, steps), or None.
        sums_mask: bool tensor (batch, memory time), or None.
    """

    def __init__(self, kind, weight=1.0, **kwargs):
        super().__init__(**kwargs)
        self.kind = checks.one_of("kind", kind, ("all", "twice"))
        self.weight = weight

    def call(self, sequences, sums, mask=None, sums_mask=None, training=False):
        if training:
            sums = widen(sums)
            rows = ops.square(1 - sums) if self.kind == "all" else sums
            rows = rows if sums_mask is None else ops.where(sums_mask, rows, 0)
            self.add_term(self.weight * ops.sum(rows, axis=-1), sequences, mask)
        return sequences

    def get_config(self):
        return super().get_config() | {"kind": self.kind, "weight": self.weight}


@keras.saving.register_keras_serializable(package="archs")
class HardAttentionLoss(_Term):
    r"""Adds what trains attention that draws: REINFORCE with a moving baseline, and the entropy of the draws.

    K. Xu et al., "Show, Attend and Tell", ICML 2015, section 4.1: the gradient of
    $-\lambda_r (\log p(y) - b) \log p(z) - \lambda_e H$, in which the reward $\log p(y) - b$ is a number;
    $b \leftarrow 0.9 b + 0.1 \log p(y)$, the mean over a batch, after each one. b is a weight that is not trained.

    The reward is of the tokens that the decoder is fed, from the second on: those it should have written but the last.

    Args:
        reward: lambda_r.
        entropy: lambda_e.

    Call arguments:
        logits: tensor (batch, steps, outputs), which is returned.
        tokens: int tensor (batch, steps), what the decoder is fed.
        log_probability, entropies: what the decoder's cell has summed up, (batch, 1).
        mask: bool tensor (batch, steps), or None.
    """

    def __init__(self, reward, entropy, **kwargs):
        super().__init__(**kwargs)
        self.reward, self.entropy = reward, entropy
        self.baseline = self.add_weight(shape=(), initializer="zeros", trainable=False, name="baseline")

    def call(self, logits, tokens, log_probability, entropies, mask=None, training=False):
        if training:
            gains = ops.log_softmax(widen(logits[:, :-1]), axis=-1)
            gains = ops.take_along_axis(gains, ops.cast(tokens, "int32")[:, 1:, None], axis=-1)[..., 0]
            gains = gains if mask is None else ops.where(mask[:, 1:], gains, 0)
            rewards = ops.stop_gradient(ops.sum(gains, axis=-1))
            baseline = ops.cast(self.baseline.value, rewards.dtype)
            rows = self.reward * (rewards - baseline) * ops.cast(log_probability[:, 0], rewards.dtype)
            rows = rows + self.entropy * ops.cast(entropies[:, 0], rewards.dtype)
            self.add_term(-rows, logits, mask)
            self.baseline.assign(ops.cast(0.9 * baseline + 0.1 * ops.mean(rewards), self.baseline.dtype))
        return logits

    def get_config(self):
        return super().get_config() | {"reward": self.reward, "entropy": self.entropy}
