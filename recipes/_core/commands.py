"""What the commands do once TensorFlow is there: `train`, `evaluate`, `export`, `predict`."""

import dataclasses
import os
import pathlib
import re
import shutil
import zipfile

import keras
import tensorflow as tf

from recipes._core import config, export as exporter, files, session as sessions, signatures
from recipes._core.errors import RecipeError, is_of_machine, other_version, reason, told


def train(recipe, arguments):
    """Trains a recipe, or goes on with its newest unfinished run; prints what came out."""
    cfg, precision = config.parse(recipe, arguments.settings), arguments.precision or "float32"
    exporter.check(arguments.saved_models / arguments.name)
    if arguments.resume:
        folder = sessions.find_folder(arguments.runs, arguments.name, finished=False)
        cfg, precision = _as_started(recipe, folder, arguments)
    device = sessions.use_device(arguments.device, precision)
    try:
        _check(recipe, cfg)
    except RecipeError as error:
        raise other_version(folder, error) if arguments.resume else error from error
    if not arguments.resume:
        files.check_writable(arguments.runs / arguments.name)
        folder = sessions.new_folder(arguments.runs, arguments.name, cfg, precision)
    session = sessions.Session(
        recipe=arguments.name,
        folder=folder,
        saved_models=arguments.saved_models,
        data_dir=arguments.data_dir,
        precision=precision,
        checkpoint_minutes=arguments.checkpoint_minutes,
        device=device,
    )
    with sessions.locked(folder):
        print(f"Run:        {folder}\nDevice:     {device}", flush=True)
        try:
            path, card = recipe.run(cfg, session)
            files.write_json(folder / "card.json", card | {"saved_model": str(path)})
        except BaseException as error:
            if is_of_machine(error) and not folder.is_dir():
                raise RecipeError(f"{folder} was removed while the training wrote to it ({reason(error)}).") from error
            can_go_on = sessions.newest_checkpoint(folder)[0]
            if not can_go_on and not arguments.resume:
                shutil.rmtree(folder, ignore_errors=True)
            if not can_go_on or not is_of_machine(error):
                raise
            how = "Mend that, and go on from its checkpoint with --resume."
            raise RecipeError(f"The training in {folder} stopped: {reason(error)}. {how}") from error
    print(f"\nTrained in {card['training']['seconds']:.0f} s; pictures, metrics and card are in {folder}")
    _print_metrics(card["metrics"])
    _print_export(recipe, path, card)


def evaluate(recipe, arguments):
    """Measures the model of a run, or the newest exported model, on the test split."""
    if arguments.saved_model and arguments.run:
        raise RecipeError("Expected --run or --saved-model, received both.")
    if arguments.saved_model:
        sessions.use_device()
        answer, path = exporter.load(arguments.saved_models / arguments.name, arguments.name)
        cfg = _config(recipe, path)
        splits = recipe.load(cfg, arguments.data_dir)
    else:
        path, cfg, model, splits = _trained(recipe, arguments)
        answer = exporter.as_arrays(recipe.serving(model, splits))
    print(f"Evaluating {path} on the test split of {cfg.dataset}")
    _print_metrics(recipe.evaluate(answer, splits))


def export(recipe, arguments):
    """Exports the model of a run once more, as a new version."""
    formats = [kind for kind in ("onnx", "litert") if getattr(arguments, kind)]
    exporter.check(arguments.saved_models / arguments.name, formats)
    folder, _, model, splits = _trained(recipe, arguments)
    facts, functions, sample = _card(folder), recipe.serving(model, splits), recipe.sample(model, splits)
    if missing := {"metrics", "precision", "dataset", "parameters", "training", "versions", "commit"} - facts.keys():
        raise other_version(folder, f"its card has no {', '.join(sorted(missing))}")
    if arguments.xla:
        functions["xla"] = recipe.serving(signatures.Compiled(model), splits)["serving_default"]
        sample["xla"] = sample["serving_default"]
    path, card = exporter.export(
        functions,
        sample=sample,
        card={name: fact for name, fact in facts.items() if name not in ("saved_model", "sample")}
        | {"labels": list(splits.labels)},
        folder=arguments.saved_models / arguments.name,
        formats=formats,
    )
    _print_export(recipe, path, card)


def predict(recipe, arguments):
    """Prints the exported model's answer to each input."""
    sessions.use_device()
    answer, path = exporter.load(arguments.saved_models / arguments.name, arguments.name, arguments.version)
    cfg = _config(recipe, path)
    try:
        requests = [recipe.read_input(_as_meant(text), cfg, arguments.data_dir) for text in arguments.inputs]
        for request in requests:
            print(f"{path}: {recipe.show(answer(request))}")
    except tf.errors.InvalidArgumentError as error:
        raise RecipeError(signatures.words(error)) from error


def _as_meant(text):
    """An input of `predict`: of a file, also below `~`, its path; of a text, its characters in whatever locale."""
    path = os.path.expanduser(text)
    if os.path.isfile(path):
        return path
    try:
        return os.fsencode(text).decode() if re.search("[\ud800-\udfff]", text) else text  # what was no character there
    except UnicodeDecodeError as error:
        raise RecipeError(f"Expected a text in UTF-8, received {text!r} ({reason(error)}).") from None


def _check(recipe, cfg):
    """Builds the model once, before anything is written, so that a wrong setting is told at once."""
    try:
        recipe.build_model(cfg, steps=1)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _as_started(recipe, folder, arguments):
    """The configuration and precision that a run was started with.

    Raises:
        RecipeError: the command line asks for others.
    """
    saved = files.read_json(folder / "config.json")
    asked = config.parse_values(recipe.Config, arguments.settings)
    if arguments.precision:
        asked["precision"] = arguments.precision
    try:
        cfg = recipe.Config(**saved["config"])
        started = dataclasses.asdict(cfg) | {"precision": saved["precision"]}
    except (TypeError, ValueError, LookupError) as error:
        raise other_version(folder, error) from error
    differing = [key for key, value in asked.items() if value != started[key]]
    if differing:
        expected = " ".join(f"--{key}={started[key]}" for key in differing)
        received = " ".join(f"--{key}={asked[key]}" for key in differing)
        raise RecipeError(f"Expected {expected}, with which {folder} was started, received {received}.")
    return cfg, saved["precision"]


def _trained(recipe, arguments):
    """Folder, configuration, model and data of a finished run."""
    folder = arguments.run or sessions.find_folder(arguments.runs, arguments.name, finished=True)
    for name in ("card.json", "model.keras"):
        if not (folder / name).exists():
            raise RecipeError(f"Expected the folder of a finished run, with its {name}, received {folder}.")
    sessions.use_device()
    cfg = _config(recipe, folder)
    unreadable = f"Expected the model of this version of the recipe, whole, in {folder / 'model.keras'}; train anew"
    with told(unreadable, OSError, ValueError, TypeError, LookupError, zipfile.BadZipFile):
        model = keras.saving.load_model(folder / "model.keras", compile=False)
    return folder, cfg, model, recipe.load(cfg, arguments.data_dir)


def _config(recipe, folder):
    """The configuration of a finished run, or of an export."""
    card, name = _card(folder), recipe.__name__.rpartition(".")[2]
    if card.get("recipe") not in (None, name):
        raise RecipeError(f"Expected what {name} trained, received {folder}, which is of {card['recipe']}.")
    try:
        return recipe.Config(**card["config"])
    except (TypeError, ValueError, LookupError) as error:
        raise other_version(folder, error) from None


def _card(folder):
    return files.read_json(pathlib.Path(folder) / "card.json")


def _print_metrics(metrics):
    for name, value in metrics.items():
        print(f"  {name.replace('_', ' '):<20} {value:.4f}")


def _print_export(recipe, path, card):
    answer = card["sample"]["serving_default"]["answer"]
    print(f"SavedModel: {path}\nPrediction: the first test example is {recipe.show(answer)}")
