"""Test of listops."""

import pathlib

import pytest
import tensorflow_datasets as tfds

from recipes.datasets.listops import listops_dataset_builder as listops


@pytest.mark.slow
class ListopsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = listops.Builder
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {"train": 20_000, "validation": 1_000, **{f"test_{depth}": 500 for depth in listops.DEPTHS}}


@pytest.mark.parametrize(
    ("expression", "text", "value", "depth", "size"),
    [
        (7, "(7)", 7, 0, 1),
        (("MAX", [2, 9, ("MIN", [4, 7]), 0]), "(MAX 2 9 (MIN 4 7) 0)", 9, 2, 7),
        (("SM", [9, 8, ("MED", [1, 4])]), "(SM 9 8 (MED 1 4))", 9, 2, 6),
        (("MED", [9, 1, ("SM", [5, ("MIN", [3, 6])])]), "(MED 9 1 (SM 5 (MIN 3 6)))", 8, 3, 8),
    ],
)
def test_expressions_by_hand(expression, text, value, depth, size):
    assert listops.written(expression) == text
    assert (listops.value(expression), listops.depth(expression), listops.size(expression)) == (value, depth, size)


def test_no_two_splits_have_an_expression_in_common():
    splits = listops.drawn(train=300, validation=50, test=20)
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 300, "validation": 50, **{f"test_{depth}": 20 for depth in range(1, 11)}
    }  # fmt: skip
    assert len(set().union(*splits.values())) == sum(map(len, splits.values()))
    assert {depth for _, depth in splits["train"].values()} == set(range(1, 7))
    for deep in listops.DEPTHS:
        assert {depth for _, depth in splits[f"test_{deep}"].values()} == {deep}
    assert listops.drawn(train=300, validation=50, test=20) == splits


if __name__ == "__main__":
    tfds.testing.test_main()
