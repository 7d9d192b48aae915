"""Test of piano_rolls."""

import tensorflow_datasets as tfds

from recipes.datasets.piano_rolls import piano_rolls_dataset_builder


class PianoRollsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = piano_rolls_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["jsb_chorales"]
    DL_DOWNLOAD_RESULT = "rolls.mat"
    SPLITS = {"train": 3, "validation": 2, "test": 1}


if __name__ == "__main__":
    tfds.testing.test_main()
