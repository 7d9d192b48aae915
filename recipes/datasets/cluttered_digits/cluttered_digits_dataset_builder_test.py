"""Test of cluttered_digits."""

import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from recipes.datasets.cluttered_digits import cluttered_digits_dataset_builder as cluttered_digits


@pytest.mark.slow
class ClutteredDigitsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = cluttered_digits.Builder
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {"train": 20000, "validation": 1000, "test": 2000}


def test_a_picture_shows_the_digit_whole_and_a_piece_of_each_other():
    digit, others = np.full((28, 28), 250, np.uint8), np.zeros((4, 28, 28), np.uint8)
    others[:, 5:20, 5:20] = 10 + np.arange(4)[:, None, None]
    draw = np.random.default_rng(0)
    corners = set()
    for _ in range(40):
        canvas = cluttered_digits.cluttered(digit, others, draw)
        rows, columns = np.nonzero(canvas == 250)
        assert len(rows) == 28 * 28
        assert rows.max() - rows.min() == columns.max() - columns.min() == 27
        assert set(np.unique(canvas)) <= {0, 10, 11, 12, 13, 250}
        assert all(np.sum(canvas == 10 + number) <= 64 for number in range(4))
        corners.add((rows.min(), columns.min()))
    assert len(corners) > 20


def test_a_piece_has_ink_in_it():
    digit = np.zeros((28, 28), np.uint8)
    digit[27, 27] = 255
    assert cluttered_digits.piece(digit, np.random.default_rng(0)).any()


if __name__ == "__main__":
    tfds.testing.test_main()
