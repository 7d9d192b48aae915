"""bit_sequences: random bits that are to be copied once, copied several times, or recalled."""

import numpy as np
import tensorflow_datasets as tfds

TRAIN, VALIDATION, TEST = 100_000, 1_000, 200  # examples of a split; of tests, of each of them


def copy(draw, length=None):
    """Vectors of 8 bits, 1 to 20 of them unless `length` says how many."""
    length = length or int(draw.integers(1, 21))
    return {"vectors": draw.integers(0, 2, (length, 8), np.uint8), "length": length}


def repeat_copy(draw, length=None, repeats=None):
    """Vectors of 8 bits and how often they are to be copied, 1 to 10 each unless the arguments say how many."""
    length, repeats = length or int(draw.integers(1, 11)), repeats or int(draw.integers(1, 11))
    return {"vectors": draw.integers(0, 2, (length, 8), np.uint8), "length": length, "repeats": repeats}


def associative_recall(draw, length=None):
    """Items of 3 vectors of 6 bits, 2 to 6 of them unless `length` says how many, and the number of one but the last.

    No two items of a list are alike, so that the one behind that of the number is the only answer.
    """
    length = length or int(draw.integers(2, 7))
    numbers = draw.choice(2**18, length, replace=False)
    items = (numbers[:, None] >> np.arange(18)) & 1
    query = int(draw.integers(length - 1))
    return {"items": items.reshape(length, 3, 6).astype(np.uint8), "length": length, "query": query}


# Name of a configuration -> its function, the shapes of its features, and the arguments of each test split.
CONFIGS = {
    "copy": (
        copy,
        {"vectors": (None, 8), "length": ()},
        {f"test_{length}": (length,) for length in range(20, 121, 20)},
    ),
    "repeat_copy": (
        repeat_copy,
        {"vectors": (None, 8), "length": (), "repeats": ()},
        {f"test_{length}x{repeats}": (length, repeats) for length, repeats in ((10, 10), (20, 10), (10, 20))},
    ),
    "associative_recall": (
        associative_recall,
        {"items": (None, 3, 6), "length": (), "query": ()},
        {f"test_{length}": (length,) for length in (6, 8, 10, 12, 15, 20)},
    ),
}


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of bit_sequences."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in CONFIGS]

    def _info(self):
        _, shapes, _ = CONFIGS[self.builder_config.name]
        features = {
            name: tfds.features.Tensor(shape=shape, dtype=np.uint8 if shape else np.int32)
            for name, shape in shapes.items()
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            homepage="https://arxiv.org/abs/1410.5401",
            license="none: random numbers",
            disable_shuffling=True,  # they are drawn at random
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing is downloaded.
        *_, tests = CONFIGS[self.builder_config.name]
        splits = {"train": (TRAIN, ()), "validation": (VALIDATION, ())}
        splits |= {split: (TEST, arguments) for split, arguments in tests.items()}
        return {split: self._generate_examples(number, *facts) for number, (split, facts) in enumerate(splits.items())}

    def _generate_examples(self, seed, count, arguments):
        example, *_ = CONFIGS[self.builder_config.name]
        draw = np.random.default_rng(seed)
        for number in range(count):
            yield number, example(draw, *arguments)
