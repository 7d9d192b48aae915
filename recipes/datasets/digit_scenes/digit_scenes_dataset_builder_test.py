"""Test of digit_scenes."""

import itertools
import pathlib
import unittest.mock

import numpy as np
import tensorflow_datasets as tfds

from recipes.datasets.digit_scenes import digit_scenes_dataset_builder as digit_scenes


class DigitScenesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = digit_scenes.Builder
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {"train": 32, "validation": 5, "test": 10}

    def setUp(self):
        super().setUp()
        self.enter_context(unittest.mock.patch.dict(digit_scenes.SCENES, self.SPLITS))


def box(top, left, side=10):
    return np.array([top, left, top + side, left + side])


def test_how_one_lies_to_another():
    assert digit_scenes.relation(box(0, 20), box(30, 25)) == "above"
    assert digit_scenes.relation(box(20, 0), box(25, 30)) == "left of"
    assert digit_scenes.relation(box(20, 30), box(25, 0)) == "right of"
    assert digit_scenes.relation(box(30, 25), box(0, 20)) is None  # it is not from the top down
    assert digit_scenes.relation(box(20, 0), box(23, 30)) is None  # it is hardly lower
    assert digit_scenes.relation(box(0, 0), box(30, 23)) is None  # it is as much to the left
    assert digit_scenes.relation(box(0, 0), box(9, 0)) is None  # it is not above as a whole
    assert digit_scenes.relation(box(0, 0, side=30), box(32, 15, side=6)) == "above"


def test_a_caption_names_each_with_its_size_and_how_it_lies_to_the_next():
    boxes = [box(0, 20), box(30, 25), box(38, 0)]
    words = digit_scenes.caption(["one", "four", "nine"], ["large", "small", "small"], boxes)
    assert words == "a large one above a small four right of a small nine"
    assert digit_scenes.caption(["one"], ["large"], boxes[:1]) == "a large one"


def test_the_ink_is_scaled_whole():
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 10:14] = 200
    for side in (12, 26):
        ink = digit_scenes.scaled(image, side)
        assert ink.shape == (side, round(side / 5))
        assert (ink == 200).all()


def test_a_bent_digit_is_the_digit_in_another_hand(monkeypatch):
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 10:14] = 200  # a one
    draw = np.random.default_rng(0)
    inks, slopes = [], []
    for _ in range(100):
        bent = digit_scenes.bent(image, draw)
        assert bent.shape == (40, 40)
        assert not bent[[0, -1]].any()
        assert not bent[:, [0, -1]].any()
        rows, columns = np.nonzero(bent > 100)
        inks.append(len(rows) / np.count_nonzero(image))
        slopes.append(np.polyfit(rows, columns, 1)[0])
    assert 0.5 < min(inks) < 0.8 < 1.2 < max(inks) < 2
    assert -0.5 < min(slopes) < -0.1 < 0.1 < max(slopes) < 0.5
    for name in ("SLANT", "BEND"):
        monkeypatch.setattr(digit_scenes, name, 0)
    np.testing.assert_array_equal(digit_scenes.bent(image, draw)[6:-6, 6:-6], image)


def test_a_scene_shows_each_digit_whole_in_its_box_and_far_enough_from_others():
    draw = np.random.default_rng(0)
    images = np.full((3, 28, 28), 100, np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None]
    seen = set()
    for _ in range(40):
        canvas, boxes, sizes = digit_scenes.scene(list(images), draw)
        for number, ((top, left, bottom, right), size) in enumerate(zip(boxes, sizes, strict=True)):
            assert (canvas[top:bottom, left:right] == 100 + number).all()
            low, high = digit_scenes.SIZES[size]
            assert low <= bottom - top <= high
            canvas[top:bottom, left:right] = 0
            around = canvas[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2]
            assert not around.any()
        assert not canvas.any()
        seen |= {digit_scenes.relation(*pair) for pair in itertools.pairwise(boxes)}
    assert seen == {"above", "left of", "right of"}
    again = digit_scenes.scene(list(images), np.random.default_rng(0))[0]
    np.testing.assert_array_equal(digit_scenes.scene(list(images), np.random.default_rng(0))[0], again)


if __name__ == "__main__":
    tfds.testing.test_main()
