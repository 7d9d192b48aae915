"""A person's picture of a digit becomes one like MNIST's."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recipes._core.data import pictures


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
        drawn((255, 255, 255, 255), (255, 255, 255, 0), mode="RGBA"),  # white ink on a transparent ground
        drawn("navy", "lightyellow", size=(900, 700), at=(500, 400)),
        drawn(0, 200, mode="L"),
        drawn(225, 255, mode="L"),
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


def test_far_dots_are_no_crash(tmp_path):
    picture = Image.new("L", (4000, 4000), 255)
    for at in ((10, 10), (3900, 3900)):
        picture.putpixel(at, 0)
    picture.save(tmp_path / "digit.png")
    assert pictures.read_digit(tmp_path / "digit.png").shape == (28, 28)


def test_the_orientation_of_a_photograph_counts(tmp_path):
    upright = drawn("black", "white")
    upright.save(tmp_path / "upright.png")
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "photo.png", exif=exif)
    read = [pictures.read_digit(tmp_path / name).astype(int) for name in ("upright.png", "photo.png")]
    assert np.abs(read[0] - read[1]).max() < 40
