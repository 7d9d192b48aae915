"""`python -m tests.core.backend_parity FILE`: what every cell computes on Keras' backend of this process, as a .npz."""

import importlib
import sys

import keras
import numpy as np

import archs

MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]], bool)


def gradient(loss, x):
    """The gradient of `loss`, a function of a tensor, at the array `x`."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.grad(loss)(x)
    if backend == "torch":
        import torch

        tensor = torch.tensor(x, requires_grad=True)
        loss(tensor).backward()
        return tensor.grad
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tensor = tf.constant(x)
        tape.watch(tensor)
        value = loss(tensor)
    return tape.gradient(value, tensor)


def computed():
    """For each cell: outputs under a mask, final states and the gradient by the inputs; float32."""
    results, draw = {}, np.random.default_rng(0)
    x = draw.normal(size=(3, 5, 4)).astype("float32")
    for name in archs.list_cells():
        case = getattr(importlib.import_module(f"tests.reference.{name}"), "CASES", [{}])[0]
        layer = archs.Recurrent(archs.create(name, 6, kind="cell", **case), return_sequences=True, return_state=True)
        layer.build(x.shape)
        layer.set_weights([0.5 * draw.normal(size=w.shape) for w in layer.weights])
        mask = keras.ops.convert_to_tensor(MASK)
        if layer.cell.reads_memory:
            memory = draw.normal(size=(3, layer.cell.memory_entries or 4, layer.cell.memory_size)).astype("float32")
            layer.cell.memorize(keras.ops.convert_to_tensor(memory), mask[:, : memory.shape[1]])
        for i, tensor in enumerate(layer(keras.ops.convert_to_tensor(x), mask=mask)):
            results[f"{name}.{i}"] = keras.ops.convert_to_numpy(tensor)
        weight = keras.ops.convert_to_tensor(draw.normal(size=results[f"{name}.0"].shape).astype("float32"))
        slope = gradient(lambda a, layer=layer, w=weight: keras.ops.sum(layer(a)[0] * w), x)
        results[f"{name}.gradient"] = keras.ops.convert_to_numpy(slope)
    return results


if __name__ == "__main__":
    np.savez(sys.argv[1], **computed())
