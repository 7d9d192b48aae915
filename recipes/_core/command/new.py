"""`python -m recipes new`: a page to start from, which trains as it is."""

import functools
import json
import pathlib
import typing

from recipes._core import own, page, settings
from recipes._core.errors import RecipeError
from recipes._core.train import run as runner

# For each task: an architecture that suits it, and made-up rows, as source, in the columns that it looks for.
_EXAMPLES = {
    "text_classification": (
        "bidirectional_lstm",
        '{"text": ["a good film", "a bad film"] * 100, "label": ["for", "against"] * 100}',
    ),
    "sequence_classification": (
        "vanilla_lstm",
        '{"x": [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]] * 100, "label": ["rising", "falling"] * 100}',
    ),
    "tagging": ("bidirectional_lstm", '{"text": ["the cat sleeps"] * 100, "labels": ["DET NOUN VERB"] * 100}'),
    "forecasting": ("stacked_lstm", '{"value": [hour % 24 for hour in range(2000)]}'),
    "sequence_to_sequence": (
        "encoder_decoder_lstm",
        '{"source": ["a b", "b a"] * 100, "target": ["x y", "y x"] * 100}',
    ),
    "language_modelling": ("generative_lstm", '{"text": ["the cat sat on the mat. "] * 400}'),
}
_DEFAULTS = {"forecasting": {"target": "value"}}
_PAGE = '''\
"""{title}

    python -m recipes train {path}

Data: {data}
Result: not measured yet.
"""

import archs
from recipes._core.data import {imports}parts
from recipes._core.settings import {types}, settings
from recipes.tasks.{module} import {task}


@settings
class Config:
{fields}


def load(config, data_dir):
    """The data, in columns to train, to validate and to test."""
    # A dict of columns; or the path of a CSV or JSON-lines file, a pandas frame, a tf.data.Dataset, a TFDS builder.
    data = {source}
    return parts.splits(Task, config, data, validation="10%", test="10%")


def build_model(config, task):
    return archs.{architecture}(
        units={units},
        cell=config.cell,
        dropout=config.dropout,
        lengths=True,
        **task.model_arguments(),
    )


class Task({task}):
    """{doc}"""
'''


def new(name, task, *, architecture=None, data=None, dataset=None):
    """Writes the page of a new recipe, `<name>.py` in the folder one stands in; returns its path.

    Args:
        name: of the recipe.
        task: name of the task.
        architecture: name of the factory. Default: one that suits the task.
        data: path of a CSV or JSON-lines file.
        dataset: name of a TFDS dataset, in place of `data`. None of both: made-up rows.

    Raises:
        RecipeError: there is no such task or architecture, or the file is there already.
    """
    page.check_new_name(name)
    kind = own.task_of(task)
    suits, rows = _EXAMPLES.get(task, ("", ""))
    if not (architecture or suits):
        raise RecipeError(f"Expected --architecture for the task {task}.")
    architecture = own.checked_architecture(architecture or suits)
    if data and dataset:
        raise RecipeError("Expected --data or --dataset, received both.")
    if not (data or dataset or rows):
        raise RecipeError(f"Expected --data or --dataset for the task {task}, of which no rows can be made up.")
    recipe = own.of(name, {"task": task, "architecture": architecture, "dataset": name})
    runner.check(recipe, recipe.Config())
    path = pathlib.Path(f"{name}.py")
    if dataset:
        source, said = "datasets.prepare(config.dataset, data_dir=data_dir)", f"{dataset} of TFDS."
    elif data:
        source, said = _literal(str(data)), f"the file {data}."
    else:
        source, said = rows, "made-up rows, in the place of yours."
    fields = {"dataset": (str, dataset or name)} | kind.own | own.MODEL
    units = "[config.units] * config.layers"
    if architecture == "vanilla_lstm":  # which has one
        del fields["layers"]
        units = "config.units"
    elif architecture != "stacked_lstm":
        units = f"config.units if config.layers == 1 else {units}"
    fields |= {key: (fields[key][0], value) for key, value in _DEFAULTS.get(task, {}).items()}
    lines = [f"    {key}: {_source(type_)} = {_literal(default)}" for key, (type_, default) in fields.items()]
    used = {word for word in (*_NAMES.values(), "one_of") if any(f": {word}" in line for line in lines)}
    text = _PAGE.format(
        title=f"{task.replace('_', ' ').capitalize()} by {architecture}.",
        path=f"./{path}",
        data=said,
        imports="datasets, " if dataset else "",
        types=", ".join(sorted(used, key=lambda word: (word.islower(), word))),
        module=kind.__module__.rpartition(".")[2],
        task=kind.__name__,
        fields="\n".join(lines),
        source=source,
        architecture=architecture,
        units=units,
        doc="Task of these data: methods of its class that they ask to be otherwise go here.",
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise RecipeError(f"Expected the name of a page that is not there yet, received {path}.") from None
    return path


_NAMES = {settings.Count: "Count", settings.Positive: "Positive", settings.Rate: "Rate", settings.Seed: "Seed"}


def _literal(value):
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _source(kind):
    """The type of a setting as a page states it."""
    if kind in _NAMES:
        return _NAMES[kind]
    if typing.get_origin(kind) is typing.Annotated:
        (check,) = kind.__metadata__
        if isinstance(check, functools.partial) and "known" in check.keywords:
            return f"one_of({', '.join(map(_literal, check.keywords['known']))})"
    return kind.__name__
