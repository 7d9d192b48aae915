"""What questions that an algorithm answers cost."""

import numpy as np
import pytest

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
