"""Every cell learns to remember."""

import keras
import numpy as np
import pytest

import archs
from tests.conformance.catalog import each_cell, make


@pytest.mark.slow
@each_cell
def test_learns_to_remember(name):
    """The class is the sign of the first of ten inputs; nine of weak noise follow."""
    keras.utils.set_random_seed(0)
    cell = make(name, 16)
    noise = 2 * hasattr(cell, "features")  # beside the features, for the latent variables of cells that have such
    x = np.random.default_rng(0).normal(size=(256, 10, 2 + noise)).astype("float32")
    x[:, 1:] *= 0.1
    y = (x[:, 0, 0] > 0).astype("float32")
    model = keras.Sequential([archs.Recurrent(cell), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.03, clipnorm=1.0), keras.losses.BinaryCrossentropy(from_logits=True))
    for _ in range(12):  # how many epochs it takes differs between processors
        model.fit(x, y, epochs=10, batch_size=64, verbose=0)
        accuracy = np.mean((np.asarray(model(x))[:, 0] > 0) == y)
        if accuracy > 0.95:
            break
    assert accuracy > 0.95
