"""Data of one's own, in whatever form, as the splits of a task."""

import pathlib

import numpy as np
import tensorflow_datasets as tfds

from recipes._core.data import batching, datasets, tables
from recipes._core.errors import RecipeError

PARTS = ("train", "validation", "test")
GIVEN = "given in Python"  # in place of the version of a dataset
_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "dev": "validation", "test": "test"}


def splits(task, config, data, *, validation="10%", test="10%"):
    """The `Splits` of a task, from data in one of many forms.

    Args:
        task: class of the task, whose `columns_of` says which columns it needs.
        config: settings of the recipe, with those of the task.
        data: in a form that `tables.of` takes, such as the path of a CSV file; or a builder of TFDS, whose splits of
            these names are taken.
        validation, test: a share of the rows, such as `"10%"` or 0.1, where a builder has no such split; or, without a
            builder, data in a form that `tables.of` takes.

    Raises:
        RecipeError: the data are not what the task needs; the message says where.
    """
    if isinstance(data, tfds.core.DatasetBuilder):
        data.download_and_prepare()
        found, facts = _of_tfds(task, config, data, {"validation": validation, "test": test}), datasets.describe(data)
    else:
        is_file = isinstance(data, str | pathlib.Path)
        facts = {"name": pathlib.Path(data).name if is_file else config.dataset, "version": None if is_file else GIVEN}
        found, shares = {}, {}
        table = tables.of(data)
        for part, value in (("validation", validation), ("test", test)):
            size = share(value)
            if size is None:
                found[part] = tables.of(value)
            elif not 0 < size < 1:
                expected = f"Expected {part} to be a share above 0 and below 100 %, or data"
                raise RecipeError(f"{expected}, received {value!r}.")
            else:
                shares[part] = size
        found |= _divided(task, config, table, shares)
    columns, labels = task.columns_of(config, {part: found[part] for part in PARTS})
    facts |= {"sha256": datasets.sha256(*(columns[part] for part in PARTS))}
    return batching.Splits(*(columns[part] for part in PARTS), facts=facts, labels=labels)


def _of_tfds(task, config, builder, sizes):
    """The tables to train, to validate and to test: the splits of these names, where the dataset has them."""
    split_of = {name: _table(builder, name) for name in builder.info.splits if name in _NAMES}
    if "train" not in split_of:
        raise RecipeError(f"Expected a split `train` of {builder.name}, received {', '.join(builder.info.splits)}.")
    found = {_NAMES[name]: table for name, table in split_of.items()}
    shares = {part: share(size) for part, size in sizes.items()}
    if None in shares.values():
        raise RecipeError("Expected validation and test to be shares such as 10% with a dataset of TFDS.")
    shares = {part: size for part, size in shares.items() if part not in found}
    return _divided(task, config, found.pop("train"), shares) | found


def _divided(task, config, table, shares):
    seed = None if task.in_order else config.seed
    return tables.divided(table, shares, seed, getattr(config, task.key, None) or None if task.key else None)


def share(value):
    """The share that a text says, such as `10%` or `0.1`, or a number is; None of all else."""
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except (ValueError, AttributeError):
        return None


def _table(builder, split):
    """A split of a TFDS dataset as a `Table`: labels by their names, sequences of words and labels between spaces."""
    features = _flat(builder.info.features)
    rows = []
    for example in datasets.examples(builder, split):
        values = _flat(example)
        rows.append([_plain(features[name], values[name]) for name in features])
    return tables.Table(
        f"{builder.name}, split {split}", features, rows, kinds={n: _kind(f) for n, f in features.items()}
    )


def _flat(tree, prefix=""):
    """A dict of dicts as one dict, with names joined by `/`."""
    result = {}
    for name, value in tree.items():
        inner = _flat(value, f"{prefix}{name}/") if isinstance(value, dict | tfds.features.FeaturesDict) else None
        result |= {f"{prefix}{name}": value} if inner is None else inner
    return result


def _kind(feature):
    """Use that a feature can be of: as "text", "label", "labels", "sequence" or "number"; None otherwise."""
    if isinstance(feature, tfds.features.ClassLabel):
        return "label"
    inner = feature.feature if isinstance(feature, tfds.features.Sequence) else None
    if isinstance(inner, tfds.features.ClassLabel):
        return "labels"
    if (feature.shape == () or (inner is not None and inner.shape == ())) and np.dtype(feature.np_dtype).kind == "O":
        return "text"
    if np.dtype(feature.np_dtype).kind not in "iuf":
        return None
    return "number" if feature.shape == () else "sequence"


def _plain(feature, value):
    kind = _kind(feature)
    if kind == "label":
        return feature.int2str(int(value))
    if kind == "labels":
        return " ".join(feature.feature.int2str(int(one)) for one in value)
    if kind == "text":
        return value.decode() if isinstance(value, bytes) else " ".join(word.decode() for word in value)
    return value
