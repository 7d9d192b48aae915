"""moving_digits: clips of two handwritten digits that move, drawn from mnist_5k."""

import numpy as np
import tensorflow_datasets as tfds

from recipes.datasets.mnist_5k import mnist_5k_dataset_builder

FRAMES, SIDE = 20, 48


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of moving_digits."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "clip": tfds.features.Tensor(shape=(FRAMES, SIDE, SIDE), dtype=np.uint8, encoding="zlib"),
                    "digits": tfds.features.Sequence(tfds.features.ClassLabel(num_classes=10), length=2),
                }
            ),
            supervised_keys=("clip", "digits"),
            homepage="https://www.cs.toronto.edu/~nitish/unsupervised_video/",
            license="CC BY-SA 3.0, as MNIST",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # The digits are on this machine.
        rows = mnist_5k_dataset_builder.Builder._read()
        is_test = np.arange(len(rows)) % 5 == 4  # as in mnist_5k
        test, others = rows[is_test], rows[~is_test]
        is_validation = np.arange(len(others)) % 8 == 7
        return {
            "train": self._generate_examples(others[~is_validation], 8000, seed=0),
            "validation": self._generate_examples(others[is_validation], 500, seed=1),
            "test": self._generate_examples(test, 1000, seed=2),
        }

    def _generate_examples(self, rows, clips, seed):
        draw = np.random.default_rng(seed)
        for number in range(clips):
            pair = sorted(draw.choice(len(rows), 2, replace=False), key=lambda index: rows[index, -1])
            images = rows[pair, :-1].reshape(2, 28, 28)
            yield number, {"clip": clip(images, draw), "digits": [int(rows[index, -1]) for index in pair]}


def clip(images, draw):
    """Frames of uint8 in which `images`, (digits, height, width), fly and bounce, as `draw` decides."""
    frames = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    for image in images:
        height, width = image.shape
        angle, speed = draw.uniform(0, 2 * np.pi), draw.uniform(1.5, 3)
        step = speed * np.array([np.sin(angle), np.cos(angle)])
        room = np.array([SIDE - height, SIDE - width])
        corners = bounced(draw.uniform(0, room) + step * np.arange(FRAMES)[:, None], room)
        for frame, (top, left) in zip(frames, np.rint(corners).astype(int), strict=True):
            window = frame[top : top + height, left : left + width]
            np.maximum(window, image, out=window)
    return frames


def bounced(places, room):
    """Places on a straight way, thrown back at 0 and `room`."""
    return room - np.abs(places % (2 * room) - room)
