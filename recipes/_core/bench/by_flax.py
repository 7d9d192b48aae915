"""Subjects of Flax."""

import os

from recipes._core.bench import loads, peers


class Flax:
    """Cells of Flax NNX, compiled."""

    def __init__(self, threads, device):
        if device == "cpu":
            os.environ["JAX_PLATFORMS"] = "cpu"
        import flax
        import jax

        self.jax, self.flax = jax, flax

    def facts(self):
        return {"jax": self.jax.__version__, "flax": self.flax.__version__, "jax device": str(self.jax.devices()[0])}

    def open(self, implementation, cell, size, phase, dtype, mode):
        from flax import nnx

        jax = self.jax
        batch, time_steps, features, units = size
        made = getattr(nnx, peers.FLAX[cell])(features, units, rngs=nnx.Rngs(0), dtype=dtype)
        layer = nnx.RNN(made)
        shape = (batch, features) if phase == "step" else (batch, time_steps, features)
        x = jax.random.normal(jax.random.key(0), shape).astype(dtype)
        if phase == "step":
            return self._streaming(nnx, made, x)

        def loss(layer, x):
            return (layer(x).astype("float32") ** 2).mean()

        step = nnx.jit(nnx.grad(loss)) if phase == "train" else nnx.jit(lambda layer, x: layer(x))
        return lambda: jax.block_until_ready(jax.tree.leaves(step(layer, x)))

    def _streaming(self, nnx, made, x):
        step = nnx.jit(lambda cell, state, x: cell(state, x)[0])
        first = made.initialize_carry(x.shape, nnx.Rngs(0))

        def run():
            state = first
            for _ in range(loads.STEPS):
                state = step(made, state, x)
            self.jax.block_until_ready(state)

        return run
