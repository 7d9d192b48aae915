"""Every cell in half precision."""

import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance.catalog import UNITS, create, each_cell, inputs, recurrent


@each_cell
def test_dtype_follows_the_policy_of_the_cell(name):
    layer = archs.Recurrent(create(name, UNITS, dtype="mixed_bfloat16"))
    assert layer(inputs()).dtype == tf.bfloat16
    assert {w.dtype for w in layer.weights} == {"float32"}


@each_cell
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, dtype):
    exact, half = recurrent(name, dtype="float32"), recurrent(name, dtype=dtype)
    sequence = tf.constant(inputs(), tf.float32)
    np.testing.assert_allclose(tf.cast(half(sequence), tf.float32), exact(sequence), rtol=0.02, atol=0.05)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(half(sequence), tf.float32))
    weights = [w.value for w in half.trainable_weights]
    for gradient in tape.gradient(loss, weights):
        assert gradient.dtype == tf.float32
        assert np.all(np.isfinite(gradient))
        assert np.abs(gradient).max() > 0
