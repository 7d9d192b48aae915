"""Test of mnist_5k."""

import pathlib

import tensorflow_datasets as tfds

from recipes.datasets.mnist_5k import mnist_5k_dataset_builder


class Mnist5kTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = mnist_5k_dataset_builder.Builder
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {"train": 4000, "test": 1000}


if __name__ == "__main__":
    tfds.testing.test_main()
