"""Test of sunspots."""

import pathlib

import tensorflow_datasets as tfds

from recipes.datasets.sunspots import sunspots_dataset_builder


class SunspotsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = sunspots_dataset_builder.Builder
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {"train": 3126}


if __name__ == "__main__":
    tfds.testing.test_main()
