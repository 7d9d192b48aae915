"""listops: nested operations on lists of digits, and their values."""

import numpy as np
import tensorflow_datasets as tfds

OPERATORS = {
    "MIN": min,
    "MAX": max,
    "MED": lambda values: int(np.median(values)),
    "SM": lambda values: sum(values) % 10,
}
MOST = 5  # arguments of an operator
LONGEST = 200  # digits and operators of an expression
DEEPEST = 6  # operators within each other, of the expressions that are trained on
DEPTHS = range(1, 11)  # of the splits that test one depth each
TRAIN, VALIDATION, TEST = 20_000, 1_000, 500  # expressions; to test, of each depth


def draw(depth, random):
    """A random expression of at most `depth` operators within each other: a digit, or an operator and its arguments.

    An argument is a digit with probability 3/4.
    """
    if not depth or random.random() < 0.75:
        return int(random.integers(10))
    return operation(depth, random)


def operation(depth, random):
    """A random expression that is no digit alone."""
    name = list(OPERATORS)[random.integers(len(OPERATORS))]
    return name, [draw(depth - 1, random) for _ in range(random.integers(2, MOST + 1))]


def written(expression):
    """An expression in brackets, such as `(MAX 2 9 (MIN 4 7) 0)`; of one digit, `(7)`."""

    def inside(part):
        return str(part) if isinstance(part, int) else f"({part[0]} {' '.join(map(inside, part[1]))})"

    return f"({expression})" if isinstance(expression, int) else inside(expression)


def value(expression):
    """The digit that an expression is worth."""
    return expression if isinstance(expression, int) else OPERATORS[expression[0]](list(map(value, expression[1])))


def depth(expression):
    """How many operators are within each other, 0 of a digit."""
    return 0 if isinstance(expression, int) else 1 + max(map(depth, expression[1]))


def size(expression):
    """The number of digits and operators."""
    return 1 if isinstance(expression, int) else 1 + sum(map(size, expression[1]))


def expressions(counts, deepest, seed, known=()):
    """Different expressions, by depth as many as `counts` says, that are not among `known`; each its text and value.

    Args:
        counts: dict of depth, or None for any, to the number of expressions.
        deepest: operators within each other, at most.
        seed: of the draw.
        known: set of texts.
    """
    random, found, left = np.random.default_rng(seed), {}, dict(counts)
    while any(left.values()):
        one = operation(deepest, random)
        text, deep = written(one), depth(one) if None not in left else None
        if left.get(deep) and text not in found and text not in known and size(one) <= LONGEST:
            found[text] = value(one), depth(one)
            left[deep] -= 1
    return found


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of listops."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {"tree": tfds.features.Text(), "label": np.int32, "depth": np.int32},
            ),
            homepage="https://arxiv.org/abs/1804.06028",
            license="none: random expressions",
            disable_shuffling=True,  # they are drawn at random
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(found) for split, found in drawn().items()}

    def _generate_examples(self, found):
        for number, (text, (label, deep)) in enumerate(found.items()):
            yield number, {"tree": text, "label": label, "depth": deep}


def drawn(train=TRAIN, validation=VALIDATION, test=TEST):
    """Name of each split -> its expressions, text to value and depth; no two splits have one in common."""
    splits = {"train": expressions({None: train}, DEEPEST, 0)}
    splits["validation"] = expressions({None: validation}, DEEPEST, 1, splits["train"].keys())
    for deep in DEPTHS:
        known = set().union(*splits.values())
        splits[f"test_{deep}"] = expressions({deep: test}, deep, [2, deep], known)
    return splits
