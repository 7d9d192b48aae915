"""Test of cmudict."""

import collections
import pathlib
from unittest import mock

import tensorflow_datasets as tfds

from recipes.datasets.cmudict import cmudict_dataset_builder

_LINES = cmudict_dataset_builder.Builder._read()[::100]  # all of them take half a minute


class CmudictTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = cmudict_dataset_builder.Builder
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = collections.Counter(map(cmudict_dataset_builder.split_of, cmudict_dataset_builder.pronunciations(_LINES)))

    def setUp(self):
        super().setUp()
        patch = mock.patch.object(self.DATASET_CLASS, "_read", return_value=_LINES)
        patch.start()
        self.addCleanup(patch.stop)


if __name__ == "__main__":
    tfds.testing.test_main()
