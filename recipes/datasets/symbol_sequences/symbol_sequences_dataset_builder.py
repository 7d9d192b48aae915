"""symbol_sequences: random symbols, and their parity, the sum of two numbers, or themselves."""

import numpy as np
import tensorflow_datasets as tfds

TRAIN, VALIDATION, TEST = 200_000, 1_000, 5_000  # examples of a split, at most
PLUS = 10  # the symbol between two numbers
FEW = 2**20  # so many examples are few enough to be put in an order, and no two splits have one in common


def parity(numbers, size):
    """Strings of `size` bits, the lowest of each number first, and whether the number of ones is odd."""
    bits = digits(numbers, 2, size)
    return bits, bits.sum(axis=1, keepdims=True) % 2


def addition(numbers, size):
    """The digits of two numbers, `size` each, the highest first, with 10 between them; and those of their sum."""
    both = digits(numbers, 10, 2 * size)
    carry, total = 0, []
    for first, second in zip(both[:, size - 1 :: -1].T, both[:, : size - 1 : -1].T, strict=True):
        total.append((first + second + carry) % 10)
        carry = (first + second + carry) // 10
    return np.insert(both, size, PLUS, axis=1), np.stack([*total, carry], axis=1)[:, ::-1]


def memorization(numbers, size):
    """Sequences of `size` symbols of 64, and the same once more."""
    symbols = digits(numbers, 64, size)
    return symbols, symbols


def digits(numbers, base, size):
    """The `size` digits of each of the numbers, the highest first, int (numbers, size); of rows of digits, these."""
    if numbers.ndim == 2:
        return numbers
    return numbers[:, None] // base ** np.arange(size - 1, -1, -1) % base


# Name of a configuration -> its function, the base and the number of its symbols, and the size that it is given.
CONFIGS = {
    **{f"parity_{size}": (parity, 2, size, size) for size in (8, 12, 16, 20, 24, 32, 64, 128, 250)},
    **{f"addition_{size}": (addition, 10, 2 * size, size) for size in (2, 3, 5, 10, 15)},
    "memorization_20": (memorization, 64, 20, 20),
}


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of symbol_sequences."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in CONFIGS]

    def _info(self):
        function, _, size, given = CONFIGS[self.builder_config.name]
        asked, answered = {parity: (size, 1), addition: (size + 1, given + 1), memorization: (size, size)}[function]
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "symbols": tfds.features.Tensor(shape=(asked,), dtype=np.uint8),
                    "length": np.int32,
                    "answer": tfds.features.Tensor(shape=(answered,), dtype=np.uint8),
                }
            ),
            homepage="https://arxiv.org/abs/1507.01526",
            license="none: random numbers",
            disable_shuffling=True,  # they are drawn at random
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing is downloaded.
        _, base, size, _ = CONFIGS[self.builder_config.name]
        return {split: self._generate_examples(numbers) for split, numbers in drawn(base, size).items()}

    def _generate_examples(self, numbers):
        function, _, _, size = CONFIGS[self.builder_config.name]
        symbols, answers = (values.astype(np.uint8) for values in function(numbers, size))
        for number, (asked, answer) in enumerate(zip(symbols, answers, strict=True)):
            yield number, {"symbols": asked, "length": len(asked), "answer": answer}


def drawn(base, size):
    """Name of each split -> its sequences of `size` symbols below `base`: numbers, or where they are many, symbols."""
    if base**size > FEW:
        counts = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
        return {
            split: np.random.default_rng([base, size, seed]).integers(0, base, (count, size))
            for seed, (split, count) in enumerate(counts.items())
        }
    numbers = np.random.default_rng([base, size]).permutation(base**size)
    tested, validated = min(TEST, len(numbers) // 8), min(VALIDATION, len(numbers) // 16)
    test, validation, train = np.split(numbers, [tested, tested + validated])
    return {"train": train[:TRAIN], "validation": validation, "test": test}
