"""Test of python_source."""

import pathlib
import sys
import sysconfig

import tensorflow_datasets as tfds

from recipes.datasets.python_source import python_source_dataset_builder

_NAMES = {path.stem for path in pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py")} & sys.stdlib_module_names


class PythonSourceTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = python_source_dataset_builder.Builder
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {
        split: sum(python_source_dataset_builder.split_of(name) == split for name in _NAMES)
        for split in ("train", "validation", "test")
    }


if __name__ == "__main__":
    tfds.testing.test_main()
