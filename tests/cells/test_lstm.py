"""The bias of `lstm`."""

import keras
import numpy as np

import archs


def test_forget_bias():
    cell = archs.LSTMCell(2, bias_initializer=keras.initializers.Constant(0.5))
    cell.build((None, 4))
    np.testing.assert_array_equal(cell.bias, [0.5, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5])
    cell = archs.LSTMCell(2, unit_forget_bias=False)
    cell.build((None, 4))
    np.testing.assert_array_equal(cell.bias, np.zeros(8))
