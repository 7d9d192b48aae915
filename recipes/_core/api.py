"""Training from Python on one's own data: what `recipes` exports."""

import dataclasses
import pathlib
import re
import warnings

import keras
import numpy as np

from archs._core.lengths import CutToLengths
from archs._core.names import nearest
from recipes._core import files, own, page
from recipes._core.data import parts
from recipes._core.errors import RecipeError
from recipes._core.train import run as runner, session as sessions


def train(
    name,
    data,
    *,
    task,
    model,
    validation="10%",
    test="10%",
    callbacks=(),
    resume=False,
    runs="runs",
    checkpoint_minutes=5.0,
    **settings,
):
    """Trains a model on data of one's own, as `python -m recipes train` does; returns the finished `Run`.

    The run has metrics, checkpoints, pictures, figures beside baselines and a card; `Run.export` and
    `python -m recipes promote` publish it, `predict`, `report` and `serve` know it by its name.

    Args:
        name: of the recipe, for its runs and exports.
        data: what is trained on, with a column for each name that the task's settings say: the path of a CSV or
            JSON-lines file, a dict of name to array or list (rows, ...), a pandas frame, a `tf.data.Dataset` of dicts
            of one row each, or a builder of TFDS.
        task: `"text_classification"`, `"sequence_classification"`, `"tagging"`, `"forecasting"`,
            `"sequence_to_sequence"` or `"language_modelling"`.
        model: the name of an architecture, whose sizes are settings; a `keras.Model`; or a function (config, task) that
            returns one, where it depends on what is learned from the data, such as `len(task.words)`. Its inputs are a
            dict of `inputs`, padded sequences or tokens, and `lengths`, as in a factory's model with `lengths=True`. A
            model of one input takes the first alone: sequences come with a mask; of tokens, 0 is the padding as well
            as a word that is not known, and a model that shall tell them apart takes both inputs. A model given here,
            and not by a function, is trained from the weights that it has.
        validation, test: a share of the rows, such as `"10%"` or 0.1, or data in one of the forms of `data`.
        callbacks: of Keras, see `training.fit`.
        resume: whether to go on with the newest run of these settings that is not finished; if all are, to return the
            newest, where it was trained on the same data.
        runs: folder of all runs.
        checkpoint_minutes: a checkpoint is written at the end of each epoch, and whenever so many minutes are over.
        **settings: those of the task and of the training, as on the command line: `epochs`, `batch_size`,
            `learning_rate`, `monitor`, `patience`, `warm_start`, `seed`, ...

    Raises:
        RecipeError: an argument, or the data, are not what was expected; the message names the row and the column.
    """
    own.task_of(task)
    page.check_new_name(name)
    fixed = {"task": task, "dataset": name, "data": parts.GIVEN}
    if isinstance(model, str):
        build_model, fixed["architecture"] = None, own.checked_architecture(model)
    else:
        build_model, fixed["architecture"] = _builder(model), parts.GIVEN
    if isinstance(data, str | pathlib.Path):
        fixed["data"] = str(data)
    given = {"data": data, "validation": validation, "test": test}
    recipe = own.of(name, fixed, build_model=build_model, given=given)
    fields = {field.name for field in dataclasses.fields(recipe.Config)}
    for key in settings:
        if key not in fields - fixed.keys():
            raise RecipeError(f"Expected a setting of the task {task}, received {key!r}. {nearest(key, fields)}")
    told = {key: _in_words(value) for key, value in (("validation", validation), ("test", test))}
    settings = {key: value.item() if isinstance(value, np.generic) else value for key, value in settings.items()}
    try:
        config = recipe.Config(**settings | told)
    except ValueError as error:
        raise RecipeError(str(error)) from None
    precision, runs = keras.config.dtype_policy().name, files.folder(str(runs))
    folder = sessions.find_same(runs, name, config, precision) if resume else None
    if folder and (folder / "card.json").exists():
        found = runner.Run(recipe, folder)
        if found.card["dataset"] == recipe.load(config, None).facts:
            return found
        folder = None
    if not callable(model) or isinstance(model, keras.Model):  # a function may need what is learned from the data
        runner.check(recipe, config, resumed=bool(folder))
    resumed = bool(folder)
    if not resumed:
        files.check_writable(pathlib.Path(runs) / name)
        folder = sessions.new_folder(runs, name, config, precision)
    session = sessions.Session(
        recipe=name,
        folder=folder,
        precision=precision,
        checkpoint_minutes=checkpoint_minutes,
        device=sessions.device_name(),
    )
    return runner.train(recipe, config, session, callbacks, resumed)


def _in_words(data):
    """Data, or a share of them, as a setting tells them."""
    is_told = isinstance(data, str | pathlib.Path) or parts.share(data) is not None
    return str(data) if is_told else parts.GIVEN


def load_run(folder):
    """The finished `Run` in a folder, of a page or of `train`.

    Raises:
        RecipeError: it is not the folder of a finished run.
    """
    folder = pathlib.Path(folder).resolve()
    return runner.Run(own.of_run(folder) or page.recipe(page.page_of(folder)), folder)


def _builder(model):
    """A function (config, task) -> model."""
    if isinstance(model, keras.Model):
        return lambda config, task: adapted(model, task)
    if not callable(model):
        raise RecipeError(f"Expected `model` to be a name, a keras.Model or a function, received {model!r}.")
    return lambda config, task: adapted(model(config, task), task)


def adapted(model, task):
    """The model, with inputs by name as tasks give them.

    Raises:
        RecipeError: it is no functional or sequential model whose inputs are known, or the task asks for one of a
            factory.
    """
    takes = getattr(model, "inputs", None) if isinstance(model, keras.Model) else None
    if not takes:
        raise RecipeError(f"Expected a functional or sequential keras.Model that knows its inputs, received {model!r}.")
    if isinstance(getattr(model, "input", None), dict):
        return model
    if task.name in ("language_modelling", "sequence_to_sequence"):
        raise RecipeError(f"Expected a model of a factory of `archs` for {task.name}, received {model!r}.")
    if len(takes) > 1:
        raise RecipeError(f"Expected a model with inputs by name, or one input, received one with {len(takes)} inputs.")
    (takes,) = takes
    inputs = keras.Input(takes.shape[1:], name="inputs", dtype=takes.dtype)
    lengths = keras.Input((), name="lengths", dtype="int32")
    sequences, mask = inputs, None
    if keras.backend.is_float_dtype(takes.dtype):
        sequences, mask = CutToLengths(name="cut")(inputs, lengths)
    # A model in a model says this of a mask that does reach its layers, each time that it is traced.
    warnings.filterwarnings("ignore", f"Layer '{re.escape(model.name)}'.* was passed an input with a mask", UserWarning)
    return keras.Model({"inputs": inputs, "lengths": lengths}, model(sequences, mask=mask), name=model.name)
