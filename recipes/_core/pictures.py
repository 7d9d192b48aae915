"""Pictures from a person, as the datasets have them."""

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from recipes._core.errors import RecipeError


def index(text, size):
    """The N of `test:N`, checked against the number of examples."""
    number = text.removeprefix("test:")
    if not number.isdecimal() or int(number) >= size:
        raise RecipeError(f"Expected test:N with N from 0 to {size - 1}, received {text!r}.")
    return int(number)


def read_digit(path):
    """A picture of one digit as MNIST has it: white on black, uint8 (28, 28).

    A grey picture of 28 x 28 is taken as it is. Any other is turned to white on black if its border is light, cut to
    its ink, scaled to 20 x 20 and centred by mass in 28 x 28, as the digits of MNIST were.

    Raises:
        RecipeError: there is no such file, it is no picture, or nothing is drawn in it.
    """
    try:
        with Image.open(path) as file:
            picture = Image.new("RGB", file.size, "white")
            picture.paste(file, mask=file.convert("RGBA").getchannel("A"))
            as_it_is = file.mode == "L" and file.size == (28, 28)
    except (OSError, UnidentifiedImageError) as error:
        raise RecipeError(
            f"Expected the path of a picture of one digit or test:N, received {path!r} ({error})."
        ) from None
    grey = picture.convert("L")
    if as_it_is:
        return np.asarray(grey)
    pixels = np.asarray(grey, np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.median(border) > 127:
        grey = ImageChops.invert(grey)
    box = grey.point(lambda value: 255 * (value > 50)).getbbox()
    if box is None:
        raise RecipeError(f"Expected a picture of one digit, but {path!r} is blank.")
    ink = grey.crop(box)
    ink.thumbnail((20, 20))
    if max(ink.size) < 20:
        ink = ink.resize([max(1, round(side * 20 / max(ink.size))) for side in ink.size])
    values = np.asarray(ink, np.float32)
    columns, rows = (np.average(np.arange(side), weights=values.sum(axis)) for axis, side in enumerate(ink.size))
    corner = [
        round(min(max(13.5 - centre, 0), 28 - side)) for centre, side in zip((columns, rows), ink.size, strict=True)
    ]
    digit = Image.new("L", (28, 28))
    digit.paste(ink, tuple(corner))
    return np.asarray(digit)
