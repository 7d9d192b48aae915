"""Test of multi30k."""

import tensorflow_datasets as tfds

from recipes.datasets.multi30k import multi30k_dataset_builder


class Multi30kTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = multi30k_dataset_builder.Builder
    DL_DOWNLOAD_RESULT = {
        split: {language: f"{split}.{language}.gz" for language in ("de", "en", "fr")}
        for split in ("train", "validation", "test", "test_2017")
    }
    SPLITS = {"train": 2, "validation": 1, "test": 1, "test_2017": 1}


if __name__ == "__main__":
    tfds.testing.test_main()
