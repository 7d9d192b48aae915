"""One training from the data to its card, and what a finished one can do."""

import functools
import pathlib
import shutil
import zipfile

import keras

from recipes._core import files
from recipes._core.data.batching import described
from recipes._core.errors import RecipeError, is_of_machine, other_version, reason, told
from recipes._core.evaluate import plots
from recipes._core.export import export as exporter, signatures
from recipes._core.train import session as sessions, training
from recipes._core.train.card import card

DATA = "data.json"  # of a run: which data it was trained on, and what its task keeps of them
MODEL = "model.keras"


def train(recipe, config, session, callbacks=(), resumed=False):
    """Trains a recipe in the folder of a session, which no other process may hold; returns the `Run`.

    A run that was not `resumed` and fails before its first checkpoint leaves no folder.

    Raises:
        RecipeError: the training stopped by something that the user can mend.
    """
    folder = session.folder
    with sessions.locked(folder):
        try:
            _run(recipe, config, session, callbacks)
        except BaseException as error:
            if is_of_machine(error) and not folder.is_dir():
                raise RecipeError(f"{folder} was removed while the training wrote to it ({reason(error)}).") from error
            can_go_on = sessions.newest_checkpoint(folder)[0]
            if not can_go_on and not resumed:
                shutil.rmtree(folder, ignore_errors=True)
            if not can_go_on or not is_of_machine(error):
                raise
            how = "Mend that, and go on from its checkpoint with --resume."
            raise RecipeError(f"The training in {folder} stopped: {reason(error)}. {how}") from error
    return Run(recipe, folder)


def _run(recipe, config, session, callbacks):
    """Trains a recipe, evaluates it and fills the session's folder."""
    splits = recipe.load(config, session.data_dir)
    task = recipe.Task(config)
    task.learn(splits)
    start, left_out = None, ()
    if config.warm_start and not sessions.newest_checkpoint(session.folder)[0]:
        start, state = source(config.warm_start)
        if state.keys() == task.state().keys():  # numbers must mean the words that they did
            own = {"labels": task.labels} if task.are_classes and "labels" in state else {}
            left_out = ("outputs",) if own and own["labels"] != state["labels"] else ()
            task.restore(state | own)
    keep_data(session.folder, splits.facts, task)
    keras.utils.set_random_seed(config.seed)  # here: preparing the data may draw random numbers
    model = recipe.build_model(config, task)
    train, validation = task.batches(splits.train, training=True), task.batches(splits.validation)
    task.compile(model, steps=task.epochs * len(train))
    session.announce(model, splits)
    if start:
        print(f"Starts from {config.warm_start}: {take_weights(model, start, left_out)}", flush=True)
    history = training.fit(
        model,
        train,
        validation=validation,
        epochs=task.epochs,
        session=session,
        monitor=config.monitor,
        patience=config.patience,
        callbacks=[*task.callbacks(), *callbacks],
    )
    plots.curves(task.curves(history), session.folder / "curves.png")
    functions = task.signatures(model)
    answer = exporter.as_arrays(functions)
    metrics = task.evaluate(answer, splits, session.folder)
    sample = {
        name: {"request": exporter.as_lists(request), "answer": exporter.as_lists(answer(request, name))}
        for name, request in task.sample(model, splits).items()
    }
    facts = card(session, recipe, config, model, splits, metrics, history) | {"labels": task.labels, "sample": sample}
    files.write_json(session.folder / "card.json", facts)


def check(recipe, config, resumed=False):
    """Tries, before anything is written, what a training will need.

    Raises:
        RecipeError: the model cannot be built with these settings, or there is nothing to start from.
    """
    try:
        model = recipe.build_model(config, recipe.Task(config))
    except ValueError as error:
        raise RecipeError(str(error)) from error
    with told("Expected a model that its own configuration makes again, for its file", Exception):
        training.uncompiled(model)
    if config.warm_start and not resumed:
        source(config.warm_start)


def keep_data(folder, facts, task):
    """Writes which data a run is trained on, and what its task keeps of them; a run that goes on must have the same."""
    file = folder / DATA
    if file.exists():
        kept = files.read_json(file)
        started = kept.get("dataset", {})
        if started != facts:
            raise RecipeError(
                f"Expected the data with which {folder} was started, {_words(started)}, received {_words(facts)}."
            )
        task.restore(kept["task"])
        return
    files.write_json(file, {"dataset": facts, "task": task.state()})


def _words(facts):
    return f"{described(facts)} with sha256 {str(facts.get('sha256'))[:12]}"


def source(path):
    """The model to start from, in a run's folder or a `.keras` file; and what the run's task kept, or an empty dict.

    Raises:
        RecipeError: there is no whole model.
    """
    folder, state = files.path(path), {}
    file = folder / MODEL if folder.is_dir() else folder
    if not file.is_file() or file.suffix != ".keras":
        raise RecipeError(
            f"Expected --warm_start to be the folder of a finished run or a .keras file, received {path}."
        )
    if (file.parent / DATA).is_file():
        state = files.read_json(file.parent / DATA).get("task", {})
    with _told_of(file):
        return keras.saving.load_model(file, compile=False), state


def take_weights(model, start, left_out=()):
    """Gives the layers of a model the weights of layers of the same name and shapes in another; says which, in words.

    Args:
        model: whose weights are set.
        start: the other model.
        left_out: names of layers that stay as they are.

    Raises:
        RecipeError: there are none.
    """
    theirs = {layer.name: layer for layer in start.layers}
    ours = [layer for layer in model.layers if layer.weights]

    def shapes(layer):
        return [weight.shape for weight in layer.weights]

    taken = []
    for layer in ours:
        other = theirs.get(layer.name)
        if other and layer.name not in left_out and shapes(other) == shapes(layer):
            layer.set_weights(other.get_weights())
            taken.append(layer.name)
    left = [layer.name for layer in ours if layer.name not in taken]
    if not taken:
        raise RecipeError(
            f"Expected layers with the names and shapes of this model's ({', '.join(left)}) in --warm_start, found "
            f"none; it has {', '.join(theirs)}."
        )
    return f"{len(taken)} of {len(ours)} layers with weights" + (f", not {', '.join(left)}" if left else "")


class Run:
    """A finished training, in its folder: what it was trained on, its figures, its model, and the model's answers.

    Attributes:
        recipe: `Recipe` that it was trained by.
        folder: of the run, a path.
        card: dict of all facts about the training, see `card.json`.
        metrics: figures of the test split, dict of name to float.
        config: the settings.
        task: the task, with what it kept of the data.

    Raises:
        RecipeError: the folder is not that of a finished run of this recipe, or of another version of it.
    """

    def __init__(self, recipe, folder):
        self.recipe, self.folder = recipe, pathlib.Path(folder)
        for name in ("card.json", MODEL):
            if not (self.folder / name).exists():
                raise RecipeError(f"Expected the folder of a finished run, with its {name}, received {folder}.")
        self.card = files.read_json(self.folder / "card.json")
        self.metrics = self.card["metrics"]
        self.config, self.task = as_trained(recipe, self.folder)

    @functools.cached_property
    def model(self):
        """The `keras.Model`, not compiled.

        Raises:
            RecipeError: its file is damaged, or not the one that the card describes.
        """
        file = self.folder / MODEL
        if files.sha256(file) != self.card.get("model_sha256"):
            changed = f"{MODEL} was changed after its training"
            raise RecipeError(f"Expected the model that {self.folder / 'card.json'} describes, but {changed}.")
        with _told_of(file):
            return keras.saving.load_model(file, compile=False)

    @functools.cached_property
    def answer(self):
        """Function (request, signature="serving_default") -> answer, of dicts of name to array, as a server's."""
        return exporter.as_arrays(self.task.signatures(self.model))

    def predict(self, *inputs):
        """Answers to inputs as a person gives them, texts or paths of files: a dict of name to array for each."""
        return [self.answer(self.task.read(text)) for text in inputs]

    def evaluate(self, data_dir=None):
        """Figures of the test split, measured anew: a dict of name to float.

        Args:
            data_dir: where TFDS keeps its data.

        Raises:
            RecipeError: the data are not there; those that were given in Python are gone with their process.
        """
        return self.task.evaluate(self.answer, self.recipe.load(self.config, data_dir))

    def export(self, saved_models="saved_models", formats=(), xla=False):
        """Exports the model as the next version in the folder of all exports, checked; no dataset is read.

        Args:
            saved_models: folder of all exports.
            formats: of "onnx" and "litert", what it is also written as.
            xla: whether there is a signature `xla`, too: `serving_default`, compiled.

        Returns:
            The path of the version, and its card, a dict.

        Raises:
            RecipeError: the export does not answer as the model does, or cannot be written.
        """
        functions = self.task.signatures(self.model)
        needed = {"metrics", "precision", "dataset", "parameters", "training", "versions", "commit", "sample"}
        if missing := needed - self.card.keys():
            raise other_version(self.folder, f"its card has no {', '.join(sorted(missing))}")
        requests = self.card["sample"]
        try:
            sample = {name: exporter.as_request(requests[name]["request"], functions[name]) for name in functions}
        except (LookupError, ValueError) as error:
            raise other_version(self.folder, error) from None
        if xla:
            functions["xla"] = self.task.signatures(signatures.Compiled(self.model))["serving_default"]
            sample["xla"] = sample["serving_default"]
        return exporter.export(
            functions,
            sample=sample,
            card=self.card | {"run": str(self.folder)},
            folder=pathlib.Path(saved_models) / self.recipe.name,
            formats=formats,
            data=files.read_json(self.folder / DATA),
        )


def as_trained(recipe, folder):
    """The settings, and the task with what it kept of the data, of a finished run or an export.

    Raises:
        RecipeError: it is of another recipe, or of another version of it.
    """
    folder = pathlib.Path(folder)
    facts = files.read_json(folder / "card.json")
    if facts.get("recipe") not in (None, recipe.name):
        raise RecipeError(f"Expected what {recipe.name} trained, received {folder}, which is of {facts['recipe']}.")
    try:
        config = recipe.Config(**facts["config"])
        task = recipe.Task(config)
        task.restore(files.read_json(folder / DATA)["task"])
    except (OSError, TypeError, ValueError, LookupError) as error:
        raise other_version(folder, error) from None
    return config, task


def _told_of(file):
    words = f"Expected a whole model in {file}, of layers that are known here, of this version of the recipe"
    return told(words, OSError, ValueError, TypeError, LookupError, zipfile.BadZipFile)
