"""One training: its folder, its options, and the device it runs on."""

import contextlib
import dataclasses
import pathlib
import time

import keras
import tensorflow as tf

from recipes._core import files
from recipes._core.data.batching import described
from recipes._core.errors import RecipeError, install
from recipes._core.machine import cores
from recipes._core.task import count


@dataclasses.dataclass(frozen=True)
class Session:
    """Options of a training, and the folder that it writes to.

    Attributes:
        recipe: name of the recipe.
        folder: of this run; holds its configuration, metrics, checkpoint, pictures, model and card.
        data_dir: where TFDS keeps its data. None: TFDS' own place.
        precision: Keras dtype policy.
        checkpoint_minutes: a checkpoint is written at the end of each epoch and whenever so many minutes are over.
        device: what the run computes on, in words.
    """

    recipe: str
    folder: pathlib.Path
    data_dir: str | None = None
    precision: str = "float32"
    checkpoint_minutes: float = 5.0
    device: str = "CPU"

    def announce(self, model, splits):
        """Prints what is about to be trained on what."""
        facts = splits.facts
        print(
            f"Dataset:    {described(facts)}, {count(splits.train):,} to train, "
            f"{count(splits.validation):,} to validate, {count(splits.test):,} to test"
        )
        print(f"Model:      {model.name}, {model.count_params():,} parameters, {self.precision}", flush=True)


def use_device(device="auto", precision="float32"):
    """Makes TensorFlow compute on `device` ("auto", "cpu", "gpu") and Keras in `precision`; returns its name.

    Raises:
        RecipeError: a GPU is asked for and TensorFlow sees none, or Keras runs on another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise RecipeError(f"Expected KERAS_BACKEND=tensorflow for recipes, received {keras.backend.backend()}.")
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
    return device_name()


def device_name():
    """Name of what TensorFlow computes on."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
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
    files.write_json(folder / "config.json", {"config": dataclasses.asdict(config), "precision": precision})
    return folder


@contextlib.contextmanager
def locked(folder):
    """Holds a run's folder for this process, until it ends in whatever way.

    Raises:
        RecipeError: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(folder / ".lock"))
        except BlockingIOError:
            raise RecipeError(f"Expected {folder} to be free, but another process is training in it.") from None
        yield


def newest_checkpoint(folder):
    """The newest checkpoint in a run's folder, as TensorFlow names it, and its step; None and 0 where there is none."""
    # Its index is written last, and renamed to this.
    steps = [int(path.stem.removeprefix("ckpt-")) for path in (folder / "checkpoint").glob("ckpt-*[0-9].index")]
    return (str(folder / "checkpoint" / f"ckpt-{max(steps)}"), max(steps)) if steps else (None, 0)


def find_folder(runs, recipe, *, finished):
    """The newest run of a recipe that is finished, or that is not.

    Of those that are not, the newest with a checkpoint in which no process is training; where there is no such, the
    newest in which none is; then the newest.

    Raises:
        RecipeError: there is none.
    """
    folders = [path.parent for path in sorted((pathlib.Path(runs) / recipe).glob("*/config.json"))]
    fitting = [folder for folder in folders if (folder / "card.json").exists() == finished]
    if not fitting:
        kind = "a finished run" if finished else "an unfinished run"
        how = f"To get one: python -m recipes train {recipe}"
        raise RecipeError(f"Expected {kind} of {recipe} in {pathlib.Path(runs) / recipe}, found none. {how}")
    if finished:
        return fitting[-1]
    return max(reversed(fitting), key=lambda folder: (_is_free(folder), newest_checkpoint(folder)[0] is not None))


def find_same(runs, recipe, config, precision):
    """The newest run of a recipe with these settings that is not finished, or else the newest that is; or None."""
    asked = {"config": dataclasses.asdict(config), "precision": precision}
    paths = sorted((pathlib.Path(runs) / recipe).glob("*/config.json"))
    folders = [path.parent for path in paths if files.read_json(path) == asked]
    return max(folders, key=lambda folder: (not (folder / "card.json").exists(), folder.name), default=None)


def _is_free(folder):
    try:
        with locked(folder):
            return True
    except RecipeError:
        return False
