"""Commands that need TensorFlow: `train`, `evaluate`, `export`, `promote`, `predict`."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import sys

import keras
import tensorflow as tf

from recipes._core import files, settings
from recipes._core.data.batching import described
from recipes._core.data.pictures import index
from recipes._core.data.tables import decoded
from recipes._core.errors import RecipeError, other_version, reason, told
from recipes._core.export import export as exporter, signatures
from recipes._core.task import count
from recipes._core.train import run as runner, session as sessions


def train(recipe, arguments):
    """Trains a recipe, with one seed or several, or goes on with an unfinished run; prints what came out."""
    if arguments.export:
        exporter.check(arguments.saved_models / recipe.name)
    if arguments.seeds is None:
        _train(recipe, arguments, _prepared(recipe, arguments))
        return
    if arguments.export:
        raise RecipeError("Expected --export or --seeds, received both: of several runs, `promote` the one to serve.")
    if "seed" in settings.parse_values(recipe.Config, arguments.settings):
        raise RecipeError("Expected --seed or --seeds, received both.")
    results = []
    for seed, (cfg, precision) in [(seed, _asked(recipe, arguments, seed=seed)) for seed in arguments.seeds]:
        folder = sessions.find_same(arguments.runs, recipe.name, cfg, precision) if arguments.resume else None
        if folder and (folder / "card.json").exists():
            print(f"\nSeed {seed}:     {folder} is finished")
            results.append(runner.Run(recipe, folder).metrics)
            continue
        print(f"\nSeed {seed}")
        keras.backend.clear_session()
        results.append(_train(recipe, arguments, (cfg, precision, folder)).metrics)
    print(f"\n{len(results)} seeds: mean (lowest to highest)")
    for name in results[0]:
        values = [metrics[name] for metrics in results]
        print(
            f"  {name.replace('_', ' '):<20} {sum(values) / len(values):.4f} ({min(values):.4f} to {max(values):.4f})"
        )


def _asked(recipe, arguments, **others):
    """Settings and precision that the command line asks for."""
    cfg, precision = settings.parse(recipe.Config, arguments.settings), arguments.precision or "float32"
    with told("Expected other settings", ValueError):
        return dataclasses.replace(cfg, **others), precision


def _prepared(recipe, arguments):
    """Settings, precision and folder of the run that goes on; without `--resume`, None for the folder."""
    cfg, precision = _asked(recipe, arguments)
    if not arguments.resume:
        return cfg, precision, None
    folder = sessions.find_folder(arguments.runs, recipe.name, finished=False)
    return *_as_started(recipe, folder, arguments), folder


def _train(recipe, arguments, prepared):
    """Trains a recipe once, prints what came out and returns the `Run`."""
    cfg, precision, folder = prepared
    device = sessions.use_device(arguments.device, precision)
    try:
        runner.check(recipe, cfg, resumed=bool(folder))
    except RecipeError as error:
        raise other_version(folder, error) if folder else error from error
    resumed = bool(folder)
    if not resumed:
        files.check_writable(arguments.runs / recipe.name)
        folder = sessions.new_folder(arguments.runs, recipe.name, cfg, precision)
    print(f"Run:        {folder}\nDevice:     {device}", flush=True)
    session = sessions.Session(
        recipe=recipe.name,
        folder=folder,
        data_dir=arguments.data_dir,
        precision=precision,
        checkpoint_minutes=arguments.checkpoint_minutes,
        device=device,
    )
    run = runner.train(recipe, cfg, session, resumed=resumed)
    print(f"\nTrained in {run.card['training']['seconds']:.0f} s; pictures, metrics and card are in {folder}")
    _print_metrics(run.metrics)
    if arguments.export:
        _export(run, arguments.saved_models)
        return run
    answer = run.card["sample"]["serving_default"]["answer"]
    print(f"Prediction: the first test example is {run.task.show(answer)}")
    if arguments.seeds is None:
        print(f"Not served yet. To serve it: python -m recipes promote {folder}")
    return run


def evaluate(recipe, arguments):
    """Measures the model of a run, or the newest exported model, on the test split."""
    if arguments.saved_model and arguments.run:
        raise RecipeError("Expected --run or --saved-model, received both.")
    sessions.use_device()
    if arguments.saved_model:
        answer, path = exporter.load(arguments.saved_models / recipe.name, recipe.name)
        cfg, task = runner.as_trained(recipe, path)
    else:
        run = runner.Run(recipe, arguments.run or _newest(recipe, arguments.runs))
        answer, path, cfg, task = run.answer, run.folder, run.config, run.task
    splits = recipe.load(cfg, arguments.data_dir)
    print(f"Evaluating {path} on the test split of {cfg.dataset}")
    trained_on = files.read_json(path / "card.json")["dataset"]
    if trained_on.get("sha256") != splits.facts["sha256"]:
        print(f"These are other data than it was trained on, {described(trained_on)}.")
    _print_metrics(task.evaluate(answer, splits))


def export(recipe, arguments):
    """Exports the model of a run as a new version, which a server takes from then on."""
    formats = [kind for kind in ("onnx", "litert") if getattr(arguments, kind)]
    exporter.check(arguments.saved_models / recipe.name, formats)
    sessions.use_device()
    run = runner.Run(recipe, arguments.run or _newest(recipe, arguments.runs))
    _export(run, arguments.saved_models, formats, arguments.xla)


def promote(recipe, arguments):
    """Lets servers answer with the model of a run, which becomes the newest version, whatever there was before."""
    exporter.check(arguments.saved_models / recipe.name)
    sessions.use_device()
    _export(runner.Run(recipe, arguments.run), arguments.saved_models)


def predict(recipe, arguments):
    """Prints the exported model's answer to each input."""
    sessions.use_device()
    answer, path = exporter.load(arguments.saved_models / recipe.name, recipe.name, arguments.version)
    (cfg, task), test = runner.as_trained(recipe, path), None
    requests = []
    for text, place in _inputs(arguments.inputs):
        with _told_where(place):
            if text.startswith("test:"):
                test = test or recipe.load(cfg, arguments.data_dir).test
                number = index(text, count(test))
                requests.append((text, place, task.test_request(test, number), task.truth(test, number)))
            else:
                requests.append((text, place, task.read(_as_meant(text)), None))
    print(f"Asking {path}", file=sys.stderr if arguments.json else sys.stdout, flush=True)
    for text, place, request, truth in requests:
        with _told_where(place):
            try:
                answered = answer(request)
            except tf.errors.InvalidArgumentError as error:
                raise RecipeError(signatures.words(error)) from error
        if arguments.json:
            facts = {"input": text, "answer": exporter.as_lists({name: rows[0] for name, rows in answered.items()})}
            print(json.dumps(facts if truth is None else facts | {"truth": truth}))
        else:
            print(f"{text}: {task.show(answered)}{'' if truth is None else f', in truth {truth}'}")


def _inputs(given):
    """Yields each input of `predict`, and its file and line where it stands in a file or comes from stdin, else None.

    Raises:
        RecipeError: there is no such file, or it is not in UTF-8 or empty.
    """
    for text in given:
        if text != "-" and not text.startswith("@"):
            yield text, None
            continue
        name = "stdin" if text == "-" else os.path.expanduser(text[1:])
        try:
            content = sys.stdin.buffer.read() if text == "-" else pathlib.Path(name).read_bytes()
        except OSError as error:
            what = f"{text!r} ({error.strerror}). A text that begins with @ is asked in a file or by stdin"
            raise RecipeError(f"Expected a file of inputs after @, received {what}.") from None
        found = 0
        for number, line in enumerate(decoded(content, name).split("\n"), 1):
            if line.strip():
                found += 1
                yield line.removesuffix("\r"), f"{name}, line {number}"
        if not found:
            raise RecipeError(f"Expected an input on each line of {name}, received none.")


@contextlib.contextmanager
def _told_where(place):
    """Puts the place of an input before a RecipeError about it; None: it stands on the command line."""
    try:
        yield
    except RecipeError as error:
        raise error if place is None else RecipeError(f"{place}: {error}") from error


def _as_meant(text):
    """An input of `predict`: of a file, also below `~`, its path; of a text, its characters in whatever locale."""
    path = os.path.expanduser(text)
    if os.path.isfile(path):
        return path
    try:
        return os.fsencode(text).decode() if re.search("[\ud800-\udfff]", text) else text  # what was no character there
    except UnicodeDecodeError as error:
        raise RecipeError(f"Expected a text in UTF-8, received {text!r} ({reason(error)}).") from None


def _as_started(recipe, folder, arguments):
    """The configuration and precision that a run was started with.

    Raises:
        RecipeError: the command line asks for others.
    """
    saved = files.read_json(folder / "config.json")
    asked = settings.parse_values(recipe.Config, arguments.settings)
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


def _newest(recipe, runs):
    return sessions.find_folder(runs, recipe.name, finished=True)


def _export(run, saved_models, formats=(), xla=False):
    """Exports a run; prints where it is, and what it answers."""
    path, card = run.export(saved_models, formats, xla)
    answer = card["sample"]["serving_default"]["answer"]
    print(f"SavedModel: {path}, of {run.folder}\nPrediction: the first test example is {run.task.show(answer)}")


def _print_metrics(metrics):
    for name, value in metrics.items():
        print(f"  {name.replace('_', ' '):<20} {value:.4f}")
