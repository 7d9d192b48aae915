"""One training: its folder, its options, and the device it runs on."""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import time

import keras
import tensorflow as tf

from recipes._core.bench import cores
from recipes._core.errors import RecipeError, install


@dataclasses.dataclass(frozen=True)
class Session:
    """Where a training writes and under which options it runs.

    Attributes:
        recipe: name of the recipe.
        folder: of this run; holds its configuration, metrics, checkpoint, pictures, model and card.
        saved_models: folder of the exports, with a folder per recipe.
        data_dir: where TFDS keeps its data. None: TFDS' own place.
        precision: Keras dtype policy.
        checkpoint_minutes: a checkpoint is written at the end of each epoch and whenever so many minutes are over.
        device: what the run computes on, in words.
    """

    recipe: str
    folder: pathlib.Path
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    data_dir: str | None = None
    precision: str = "float32"
    checkpoint_minutes: float = 5.0
    device: str = "CPU"

    @property
    def exports(self):
        return self.saved_models / self.recipe

    def announce(self, model, splits):
        """Prints what is about to be trained on what."""
        facts = splits.facts
        print(
            f"Dataset:    {facts['name']} {facts['version']}, {splits.train.examples:,} to train, "
            f"{splits.validation.examples:,} to validate, {len(splits.test[next(iter(splits.test))]):,} to test"
        )
        print(f"Model:      {model.name}, {model.count_params():,} parameters, {self.precision}", flush=True)


def use_device(device="auto", precision="float32"):
    """Makes TensorFlow compute on `device` ("auto", "cpu", "gpu") and Keras in `precision`; returns its name.

    Raises:
        RecipeError: a GPU is asked for and TensorFlow sees none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise RecipeError(
            "--device=gpu expects a GPU, but TensorFlow sees none. On Linux with an NVIDIA driver, "
            f"{install('gpu')}. To run on the CPU: --device=cpu"
        )
    if device == "cpu" and gpus:
        tf.config.set_visible_devices([], "GPU")
    elif gpus:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    keras.config.set_dtype_policy(precision)
    if device == "cpu" or not gpus:
        return f"CPU, {cores()} core{'s' * (cores() > 1)}"
    return f"GPU, {tf.config.experimental.get_device_details(gpus[0]).get('device_name', 'unknown')}"


def new_folder(runs, recipe, config, precision):
    """Creates the folder of a new run, with its configuration in it; returns the path."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ["", *(f"-{n}" for n in range(2, 1000))]:
        folder = pathlib.Path(runs) / recipe / (stamp + suffix)
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise RecipeError(f"Expected a folder that can be written to, received --runs={runs} ({error}).") from error
    write_json(folder / "config.json", {"config": dataclasses.asdict(config), "precision": precision})
    return folder


@contextlib.contextmanager
def locked(folder):
    """Holds a run's folder for this process, until it ends in whatever way.

    Raises:
        RecipeError: another process holds it.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(f"Expected {folder} to be free, but another process is training in it.") from None
        yield


def find_folder(runs, recipe, *, finished):
    """The newest run of a recipe that is finished, or that is not.

    Raises:
        RecipeError: there is none.
    """
    folders = [path.parent for path in sorted((pathlib.Path(runs) / recipe).glob("*/config.json"))]
    fitting = [folder for folder in folders if (folder / "card.json").exists() == finished]
    if not fitting:
        kind = "a finished run" if finished else "an unfinished run"
        how = f"To get one: python -m recipes train {recipe}"
        raise RecipeError(f"Expected {kind} of {recipe} in {pathlib.Path(runs) / recipe}, found none. {how}")
    return fitting[-1]


def write_json(path, value):
    """Writes a dict as a JSON file, a line per key; a reader finds the old file or the whole new one."""
    path = pathlib.Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    lines = (f"  {json.dumps(key)}: {json.dumps(part, ensure_ascii=False)}" for key, part in value.items())
    new.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    os.replace(new, path)
