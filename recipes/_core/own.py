"""Recipes without a page: an architecture, a task, and a file or a TFDS dataset of one's own."""

import functools
import importlib
import inspect
import pathlib
import pkgutil

import archs
from archs._core.names import nearest
from recipes._core import files
from recipes._core.data import datasets, parts
from recipes._core.errors import RecipeError
from recipes._core.page import Recipe
from recipes._core.settings import Count, Positive, Rate, Seed, one_of, parse_values, settings
from recipes._core.task import Task

_COMMON = {
    "architecture": (str, ""),
    "task": (str, ""),
    "dataset": (str, ""),  # of TFDS, or of the file
    "data": (str, ""),  # path of a CSV or JSON-lines file
    "validation": (str, "10%"),  # a share of the rows, or the path of a file
    "test": (str, "10%"),
}
MODEL = {
    "cell": (str, "lstm"),
    "units": (Count, 64),
    "layers": (Count, 1),
    "dropout": (Rate, 0.2),
    "epochs": (Count, 10),
    "batch_size": (Count, 32),
    "learning_rate": (Positive, 2e-3),
    "schedule": (one_of("cosine", "constant"), "cosine"),  # of the learning rate
    "clipnorm": (Positive, 1.0),
    "seed": (Seed, 0),
}


def tasks():
    """Name of each task that takes data of one's own -> its class.

    Raises:
        ValueError: two classes have one name, or one lacks a method.
    """
    package = importlib.import_module("recipes.tasks")
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        for value in vars(importlib.import_module(f"recipes.tasks.{module.name}")).values():
            if not (isinstance(value, type) and issubclass(value, Task) and value.own is not None):
                continue
            if found.setdefault(value.name, value) is not value:
                classes = f"{found[value.name].__qualname__} and {value.__qualname__}"
                raise ValueError(f"Expected a `name` of its own for each task, received {value.name!r} of {classes}.")
            for method in ("columns_of", "model_arguments", *Task.methods):
                if getattr(value, method) is getattr(Task, method):
                    raise ValueError(f"Expected the task {value.__qualname__} to define {method}.")
    return found


def task_of(name):
    """The class of a task that takes data of one's own.

    Raises:
        RecipeError: there is none of this name.
    """
    known = tasks()
    if name not in known:
        raise RecipeError(f"Expected the name of a task, received {name!r}. {nearest(str(name), known)}")
    return known[name]


def checked_architecture(name):
    """The name of an architecture.

    Raises:
        RecipeError: there is none of this name.
    """
    if name not in archs.list_archs():
        hint = nearest(name, archs.list_archs())
        raise RecipeError(f"Expected the name of an architecture, received {name!r}. {hint}")
    return name


def recipe(architecture, arguments):
    """The `Recipe` of an architecture for data of one's own, and its settings, from options `--key=value`.

    Raises:
        RecipeError: an option is missing, unknown or out of range.
    """
    place = next(place for place, argument in enumerate(arguments) if argument.partition("=")[0] == "--task")
    task = parse_values(_config_of({"task": (str, "")}), arguments[place : place + 1 + ("=" not in arguments[place])])
    task = task["task"]
    values = parse_values(_config_of(_COMMON | task_of(task).own | MODEL), arguments)
    architecture = checked_architecture(architecture)
    data, dataset = values.get("data", ""), values.get("dataset", "")
    if bool(data) == bool(dataset):
        raise RecipeError("Expected --data=FILE or --dataset=NAME of TFDS, received both or none.")
    stem = pathlib.Path(data).stem if data else dataset.replace("/", "_")
    name = f"{architecture}_{''.join(c if c.isascii() and c.isalnum() else '_' for c in stem)}"
    return of(name, {"architecture": architecture, "task": task, "dataset": dataset or stem})


def saved(name, *folders):
    """The `Recipe` that the newest run or export of this name was made by; None where there is none.

    Args:
        name: of the recipe.
        *folders: of all runs, and of all exports.
    """
    for folder in folders:
        for path in sorted(pathlib.Path(folder).glob(f"{name}/*/c*.json"), reverse=True):
            if found := _of_settings(name, files.read_json(path).get("config", {})):
                return found
    return None


def of_run(folder):
    """The `Recipe` of data of one's own that a finished run was made by; None where it is of a page."""
    card = files.read_json(pathlib.Path(folder) / "card.json")
    return _of_settings(card.get("recipe"), card.get("config", {}))


def _of_settings(name, config):
    if config.get("task") not in tasks() or not config.get("architecture"):
        return None
    return of(name, {key: config[key] for key in ("architecture", "task", "dataset")})


def of(name, fixed, *, build_model=None, given=None):
    """The `Recipe` of a task whose settings have the defaults `fixed`.

    Args:
        name: of the recipe.
        fixed: dict of setting to default: `task`, `architecture` and `dataset`, the name of the data.
        build_model: function (config, task) -> model. None: the factory of the setting `architecture` builds it.
        given: dict of arguments of `parts.splits`, `data`, `validation` and `test`. None: as the settings say.
    """
    task = task_of(fixed["task"])
    fields = _COMMON | task.own | MODEL
    fields |= {key: (fields[key][0], value) for key, value in fixed.items()}
    config = _config_of(fields)
    load = functools.partial(_load, task, given=given)
    return Recipe(name, config, task, load, build_model or _build_model)


def settings_of(task):
    """The settings of a task that takes data of one's own, and of its training, for a page's `Config` to build on."""
    return _config_of({"dataset": (str, "")} | task.own | MODEL)


def _config_of(fields):
    members = {"__annotations__": {name: kind for name, (kind, _) in fields.items()}}
    return settings(type("Config", (), members | {name: default for name, (_, default) in fields.items()}))


def _build_model(config, task):
    if config.architecture == parts.GIVEN:
        raise ValueError("Expected the model from Python, as it was given to `recipes.train`: go on there.")
    if config.architecture == "vanilla_lstm" and config.layers > 1:
        raise ValueError(f"Expected --layers=1 for vanilla_lstm, which has one, received {config.layers}.")
    factory = archs.get(config.architecture, "arch")
    takes = inspect.signature(factory).parameters
    wanted = task.model_arguments()
    wanted |= {"cell": config.cell, "dropout": config.dropout, "lengths": True}
    for name in wanted:
        if name not in takes:
            raise ValueError(
                f"Expected an architecture with the argument `{name}` for the task {config.task}, received "
                f"{config.architecture}, which has none."
            )
    is_one = config.layers == 1 and config.architecture != "stacked_lstm"
    return factory(units=config.units if is_one else [config.units] * config.layers, **wanted)


def _load(task, config, data_dir, given=None):
    """The splits of a file, of a TFDS dataset, or of what Python code gives: a dict of arguments of `parts.splits`."""
    if given is None and parts.GIVEN in (config.data, config.validation, config.test):
        raise RecipeError(f"Expected the data of {config.dataset} from Python, as they were given to `recipes.train`.")
    if given is None:
        data = config.data or datasets.prepare(config.dataset, data_dir=data_dir)
        given = {"data": data, "validation": config.validation, "test": config.test}
    return parts.splits(task, config, **given)
