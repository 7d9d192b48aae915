"""A person's picture of a digit becomes one like MNIST's."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recipes._core import pictures


def drawn(ink, paper, mode="RGB", size=(200, 300), at=(20, 30)):
    picture = Image.new(mode, size, paper)
    ImageDraw.Draw(picture).rectangle([*at, at[0] + 40, at[1] + 100], fill=ink)
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        drawn("black", "white"),
        drawn("white", "black"),
        drawn(0, 255, mode="L"),
        drawn((0, 0, 0, 255), (0, 0, 0, 0), mode="RGBA"),  # ink on a transparent ground
        drawn("navy", "lightyellow", size=(900, 700), at=(500, 400)),
    ],
)
def test_ink_is_white_scaled_and_centred(picture, tmp_path):
    picture.save(tmp_path / "digit.png")
    digit = pictures.read_digit(tmp_path / "digit.png")
    assert digit.shape == (28, 28)
    assert digit.dtype == np.uint8
    rows, columns = np.nonzero(digit > 100)
    assert np.ptp(rows) + 1 == 20
    assert 7 <= np.ptp(columns) + 1 <= 9
    assert abs(rows.mean() - 13.5) <= 1
    assert abs(columns.mean() - 13.5) <= 1
    assert digit[0].max() == 0


def test_a_small_picture_is_scaled_up(tmp_path):
    drawn("black", "white", size=(12, 16), at=(4, 4)).crop((0, 0, 12, 16)).save(tmp_path / "digit.png")
    rows, _ = np.nonzero(pictures.read_digit(tmp_path / "digit.png") > 100)
    assert np.ptp(rows) + 1 >= 18


def test_a_picture_as_of_mnist_is_taken_as_it_is(tmp_path):
    image = np.random.default_rng(0).integers(256, size=(28, 28)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "digit.png")
    np.testing.assert_array_equal(pictures.read_digit(tmp_path / "digit.png"), image)
