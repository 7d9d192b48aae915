"""Test of sst_trees."""

import tensorflow_datasets as tfds

from recipes.datasets.sst_trees import sst_trees_dataset_builder as sst_trees


class SstTreesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = sst_trees.Builder
    SPLITS = {"train": 2, "validation": 1, "test": 1}


def test_a_word_keeps_its_non_breaking_space(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("(3 (2 8\u00a01\\/2) (4 good))\n\n(2 x) \n", encoding="utf-8")
    builder = sst_trees.Builder(data_dir=tmp_path)
    found = dict(builder._generate_examples(path))
    assert [example["tree"] for example in found.values()] == ["(3 (2 8\u00a01\\/2) (4 good))", "(2 x)"]


if __name__ == "__main__":
    tfds.testing.test_main()
