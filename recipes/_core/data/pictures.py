"""Pictures from a person, as the datasets have them."""

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from recipes._core.errors import RecipeError


def index(text, size):
    """The N of `test:N`, checked against the number of examples."""
    number = text.removeprefix("test:")
    if not number.isdecimal() or int(number) >= size:
        raise RecipeError(f"Expected test:N with N from 0 to {size - 1}, received {text!r}.")
    return int(number)


def read_digit(path):
    """A picture of one digit as MNIST has it: white on black, uint8 (28, 28).

    A grey picture of 28 x 28 is taken as it is. In any other, ink is what differs from the border, or, where all has
    one colour, what is not transparent; it is cut out, scaled to 20 x 20 and centred by mass in 28 x 28, as the digits
    of MNIST were.

    Raises:
        RecipeError: there is no such file, it is no picture, or nothing is drawn in it.
    """
    try:
        with Image.open(path) as file:
            if file.mode == "L" and file.size == (28, 28):
                return np.asarray(file)
            picture = ImageOps.exif_transpose(file).convert("RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise RecipeError(
            f"Expected the path of a picture of one digit or test:N, received {path!r} ({error})."
        ) from None
    ink = _ink_of(picture)
    box = None if ink is None else ink.point(lambda value: 255 * (value > 80)).getbbox()
    if box is None:
        raise RecipeError(f"Expected a picture of one digit, but {path!r} is blank.")
    ink = ink.crop(box)
    scale = 20 / max(ink.size)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.BOX if scale < 1 else None)
    values = np.asarray(ink, np.float32) + 1e-6
    centres = (np.average(np.arange(side), weights=values.sum(axis)) for axis, side in enumerate(ink.size))
    corner = [round(min(max(13.5 - c, 0), 28 - side)) for c, side in zip(centres, ink.size, strict=True)]
    digit = Image.new("L", (28, 28))
    digit.paste(ink, tuple(corner))
    return np.asarray(digit)


def read_drawing(path, side):
    """A drawing as digits on a canvas are: white on black, uint8 (side, side).

    A grey picture of this size is taken as it is. In any other, ink is what differs from the border, as in
    `read_digit`; the whole of it is scaled, and what is missing to a square is black.

    Raises:
        RecipeError: there is no such file, it is no picture, or nothing is drawn in it.
    """
    picture = _opened(path)
    if picture.mode == "L" and picture.size == (side, side):
        return np.asarray(picture)
    ink = _ink_of(picture.convert("RGBA"))
    if ink is None:
        raise RecipeError(f"Expected a drawing, but {path!r} is blank.")
    return np.asarray(ImageOps.pad(ink, (side, side), Image.Resampling.BOX))


def read_photograph(path, side):
    """The middle of a picture in colours: uint8 (side, side, 3).

    Raises:
        RecipeError: there is no such file, or it is no picture.
    """
    return middle(_opened(path).convert("RGB"), side)


def middle(picture, side):
    """The middle of a picture, the largest square of it, scaled: uint8 (side, side, 3), or (side, side) of a grey one.

    Args:
        picture: of Pillow, or a uint8 array (height, width, 3) or (height, width, 1).
        side: in pixels.
    """
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BOX))


def _opened(path):
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file)
    except (OSError, UnidentifiedImageError) as error:
        raise RecipeError(f"Expected the path of a picture or test:N, received {path!r} ({error}).") from None


def read_clip(path, side):
    """The frames of an animated picture, such as a GIF, in grey: uint8 (frames, side, side).

    Raises:
        RecipeError: there is no such file, or it is no picture.
    """
    try:
        with Image.open(path) as file:
            frames = [frame.convert("L").resize((side, side)) for frame in ImageSequence.Iterator(file)]
    except (OSError, UnidentifiedImageError) as error:
        raise RecipeError(f"Expected the path of an animated picture or test:N, received {path!r} ({error}).") from None
    return np.stack([np.asarray(frame) for frame in frames])


def _ink_of(picture):
    """The ink of an RGBA picture: on white paper, or, where that has one colour, what is not transparent; or None."""
    paper = Image.new("RGBA", picture.size, "white")
    ink = _ink(np.asarray(Image.alpha_composite(paper, picture).convert("L"), np.float32))
    return _ink(np.asarray(picture.getchannel("A"), np.float32)) if ink is None else ink


def _ink(grey):
    """Distance of each pixel from the border's usual value, the farthest at 255; None where all are alike."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    distance = np.abs(grey - np.median(border))
    return Image.fromarray((distance * (255 / distance.max())).astype(np.uint8)) if distance.max() > 10 else None
