"""Test of symbol_sequences."""

import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from recipes.datasets.symbol_sequences import symbol_sequences_dataset_builder as symbol_sequences


class SymbolSequencesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = symbol_sequences.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["addition_2"]
    EXAMPLE_DIR = pathlib.Path(__file__).parent  # nothing is downloaded, so there is no dummy data
    SPLITS = {"train": 8125, "validation": 625, "test": 1250}


def test_answers_by_hand():
    bits, odd = symbol_sequences.parity(np.array([0b0000, 0b0100, 0b1011, 0b1111]), 4)
    assert bits.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1]]
    assert odd.tolist() == [[0], [1], [1], [0]]
    both, total = symbol_sequences.addition(np.array([123456, 999001, 5]), 3)
    assert both.tolist() == [[1, 2, 3, 10, 4, 5, 6], [9, 9, 9, 10, 0, 0, 1], [0, 0, 0, 10, 0, 0, 5]]
    assert total.tolist() == [[0, 5, 7, 9], [1, 0, 0, 0], [0, 0, 0, 5]]
    symbols, same = symbol_sequences.memorization(np.array([[3, 63, 0]]), 3)
    assert symbols.tolist() == same.tolist() == [[3, 63, 0]]


def test_sums_of_long_numbers_are_right():
    numbers = symbol_sequences.drawn(10, 30)["test"][:100]
    both, total = symbol_sequences.addition(numbers, 15)
    for row, digits in zip(both, total, strict=True):
        first, second = (int("".join(map(str, part))) for part in (row[:15], row[16:]))
        assert int("".join(map(str, digits))) == first + second


@pytest.mark.parametrize(("base", "size", "counts"), [(2, 12, (3328, 256, 512)), (2, 16, (59536, 1000, 5000))])
def test_of_few_sequences_no_two_splits_have_one_in_common(base, size, counts):
    splits = symbol_sequences.drawn(base, size)
    assert tuple(map(len, splits.values())) == counts
    assert list(splits) == ["train", "validation", "test"]
    assert len(set(np.concatenate(list(splits.values())))) == sum(counts) == base**size


@pytest.mark.parametrize(("base", "size"), [(10, 6), (2, 24), (64, 20)])
def test_of_many_sequences_there_are_as_many_as_a_training_needs(base, size):
    splits = symbol_sequences.drawn(base, size)
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 200_000,
        "validation": 1_000,
        "test": 5_000,
    }
    symbols = np.concatenate([symbol_sequences.digits(rows, base, size) for rows in splits.values()])
    assert symbols.shape == (206_000, size)
    assert set(np.unique(symbols)) == set(range(base))
    rows = {row.tobytes() for row in symbols}
    assert len(rows) > 0.98 * len(symbols)
    assert base != 10 or len(rows) == len(symbols)


if __name__ == "__main__":
    tfds.testing.test_main()
