"""Test of penn_treebank."""

import tensorflow_datasets as tfds

from recipes.datasets.penn_treebank import penn_treebank_dataset_builder


class PennTreebankTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = penn_treebank_dataset_builder.Builder
    DL_DOWNLOAD_RESULT = {"train": "ptb.train.txt", "validation": "ptb.valid.txt", "test": "ptb.test.txt"}
    SPLITS = {"train": 1, "validation": 1, "test": 1}


if __name__ == "__main__":
    tfds.testing.test_main()
