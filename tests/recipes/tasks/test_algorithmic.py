"""Costs of questions that an algorithm answers."""

import types

import numpy as np
import pytest
import tensorflow as tf

from recipes.tasks import algorithmic, bit_sequences


def test_a_row_that_asks_for_nothing_costs_nothing():
    task = bit_sequences.Copy(None)
    loss = algorithmic.Cost(task.costs)
    targets = np.full((2, 3, 1), -1)
    targets[0, 1] = 1
    assert float(loss(targets, np.zeros((2, 3, 1), np.float32))) == pytest.approx(0.5)
    wrong = algorithmic.Wrong(task.decided)
    wrong.update_state(targets, np.zeros((2, 3, 1), np.float32))
    assert float(wrong.result()) == 0.5


def test_gradients_are_clipped_together():
    settings = types.SimpleNamespace(learning_rate=1.0, clipnorm=1.0, schedule="constant")
    optimizer = bit_sequences.Copy(settings).optimizer(10)
    weights = [tf.Variable([0.0]), tf.Variable([0.0])]
    optimizer.apply([tf.constant([3.0]), tf.constant([4.0])], weights)
    momenta = [float(value[0]) for value in optimizer.variables if "momentum" in value.path]
    assert momenta == pytest.approx([0.1 * 0.6, 0.1 * 0.8])  # clipped one by one, both would be 0.1
