"""Test of moving_digits."""

import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from recipes.datasets.moving_digits import moving_digits_dataset_builder as moving_digits


@pytest.mark.slow
class MovingDigitsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = moving_digits.Builder
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {"train": 8000, "validation": 500, "test": 1000}


def test_digits_bounce_at_the_walls():
    np.testing.assert_allclose(
        moving_digits.bounced(np.array([-3.0, 0, 5, 20, 23, 40, 43]), 20), [3, 0, 5, 20, 17, 0, 3]
    )


def test_a_clip_shows_its_digits_whole_in_each_frame_and_moves_them():
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 0, 0] = images[0, -1, -1] = 200  # the corners: nothing is cut off
    frames = moving_digits.clip(images, np.random.default_rng(0))
    assert ((frames == 200).sum(axis=(1, 2)) == 2).all()
    tops = np.array([np.argwhere(frame)[0] for frame in frames])
    assert 0 <= tops.min() <= tops.max() <= 20
    assert 1 <= np.abs(np.diff(tops, axis=0)).max() <= 3
    again = moving_digits.clip(images, np.random.default_rng(0))
    np.testing.assert_array_equal(frames, again)


def test_where_digits_overlap_the_brighter_pixel_is_seen():
    images = np.stack([np.full((40, 40), value, np.uint8) for value in (9, 7)])
    frames = moving_digits.clip(images, np.random.default_rng(0))
    assert (frames[:, 24, 24] == 9).all()
    assert (frames == 7).any()


if __name__ == "__main__":
    tfds.testing.test_main()
