"""Test of bit_sequences."""

import pathlib
import unittest.mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from recipes.datasets.bit_sequences import bit_sequences_dataset_builder as bit_sequences


class BitSequencesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = bit_sequences.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["associative_recall"]
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {"train": 100, "validation": 20} | {f"test_{n}": 5 for n in (6, 8, 10, 12, 15, 20)}

    def setUp(self):
        super().setUp()
        fewer = unittest.mock.patch.multiple(bit_sequences, TRAIN=100, VALIDATION=20, TEST=5)
        self.enter_context(fewer)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("copy", 1, 20), ("repeat_copy", 1, 10), ("associative_recall", 2, 6)]
)
def test_sizes_are_those_of_the_paper(name, low, high):
    draw = np.random.default_rng(0)
    function, shapes, tests = bit_sequences.CONFIGS[name]
    examples = [function(draw) for _ in range(500)]
    assert {example["length"] for example in examples} == set(range(low, high + 1))
    assert {example.get("repeats") for example in examples} <= {None, *range(1, 11)}
    bits = next(iter(shapes))
    for example in examples:
        assert example.keys() == shapes.keys()
        assert example[bits].shape == (example["length"], *shapes[bits][1:])
    every = np.concatenate([example[bits].ravel() for example in examples])
    assert set(every) == {0, 1}
    assert abs(every.mean() - 0.5) < 0.02
    for split, arguments in tests.items():
        example = function(draw, *arguments)
        said = "x".join(str(example[number]) for number in ("length", "repeats") if number in example)
        assert split == f"test_{said}"


@pytest.mark.parametrize("length", [2, 6, 20])
def test_the_item_that_is_asked_for_is_the_only_one(length):
    draw = np.random.default_rng(0)
    examples = [bit_sequences.associative_recall(draw, length) for _ in range(100)]
    assert {example["query"] for example in examples} == set(range(length - 1))
    for example in examples:
        assert len({item.tobytes() for item in example["items"]}) == length


if __name__ == "__main__":
    tfds.testing.test_main()
