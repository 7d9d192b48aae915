"""The pages of recipes: found, imported, and checked before anything is trained.

A page `recipes/<architecture>_<dataset>.py`, or a file anywhere, defines

| name | what it is |
|---|---|
| `Config` | the settings: a class of annotated fields with literal defaults, made by `settings` |
| `Task` | a subclass of a task in `recipes/tasks` |
| `load(config, data_dir)` | the data, as `batching.Splits` |
| `build_model(config, task)` | the model, not compiled; `task` has learned from the data what it keeps |
| `PUBLISHED` | dataset -> source -> figure, a literal; only where there are published figures |

Its docstring says what it is, in the first line, and what it reached.
"""

import ast
import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable

from recipes._core.errors import RecipeError, install

# What `settings` adds to the settings of a page, as `show` prints them.
EVERY = """\
    monitor: str | None = None  # figure, such as val_loss: the weights of the epoch where it was best are kept
    patience: Count | None = None  # how many epochs without a better one end it; of val_loss, without `monitor`
    warm_start: str | None = None  # a run's folder or a .keras file, from whose weights the training starts"""
NONE_OF_EVERY = dict.fromkeys(line.split(":")[0].strip() for line in EVERY.splitlines())  # name -> default
PAGES = pathlib.Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe as the commands use it. See the table above; `published` is `PUBLISHED`, or empty."""

    name: str
    Config: type
    Task: type
    load: Callable
    build_model: Callable
    published: dict = dataclasses.field(default_factory=dict)
    page: str | None = None  # path of a page that is not among the project's


def names():
    """The names of the project's recipes."""
    return sorted(path.stem for path in PAGES.glob("*.py") if not path.stem.startswith("_"))


def path_of(name):
    """The file of a page, which is named by its recipe or by its path.

    Raises:
        RecipeError: there is no such recipe; the message gives the nearest.
    """
    path = pathlib.Path(os.path.expanduser(name))
    if name.endswith(".py"):
        if not path.is_file():
            raise RecipeError(f"Expected the path of a recipe's page, received {name!r}: there is no such file.")
        return path.resolve()
    if name not in names():
        hint = "A page elsewhere is named by its path, such as ./my_recipe.py."
        raise RecipeError(f"Expected the name of a recipe, received {name!r}. {nearest(name, names())} {hint}")
    return PAGES / f"{name}.py"


def text(name):
    """The source of a page."""
    return path_of(name).read_text(encoding="utf-8")


def trees():
    """Name of each of the project's recipes -> syntax tree of its page; one that cannot be read is told on stderr."""
    found = {}
    for name in names():
        try:
            found[name] = ast.parse(text(name))
            config_of(found[name])
        except (SyntaxError, ValueError, LookupError) as error:
            found.pop(name, None)
            print(f"skipped: {PAGES / name}.py cannot be read as a recipe ({error})", file=sys.stderr)
    return found


def config_of(tree):
    """The class `Config` in the syntax tree of a page.

    Raises:
        LookupError: there is none.
    """
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config"]
    if not classes:
        raise LookupError("it defines no class Config")
    return classes[0]


def recipe(name):
    """The `Recipe` of a page, which is named by its recipe or by its path.

    Raises:
        RecipeError: there is no such page, or it does not define what the table above asks for.
    """
    path = path_of(name)
    try:
        module = quiet_import(f"recipes.{path.stem}") if path.parent == PAGES else _import_file(path)
    except SyntaxError as error:
        raise RecipeError(f"Expected Python in {error.filename}, line {error.lineno}: {error.msg}.") from error
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("archs", "recipes"):  # no package would bring it
            raise
        raise RecipeError(f"{error}. To run recipes, {install('recipes')}") from error
    return checked(path.stem, module, path)


def checked(name, module, path):
    """The `Recipe` of a page's module.

    Raises:
        RecipeError: the module does not define what a page must.
    """
    base = quiet_import("recipes._core.task").Task
    defined = {key: getattr(module, key, None) for key in ("Config", "Task", "load", "build_model")}
    wrong = [key for key, value in defined.items() if value is None]
    if wrong:
        raise RecipeError(f"Expected {path} to define {', '.join(defined)}; it has no {' and no '.join(wrong)}.")
    if not (isinstance(defined["Task"], type) and issubclass(defined["Task"], base)):
        raise RecipeError(f"Expected `Task` of {path} to be a subclass of a task in recipes.tasks.")
    wrong = [method for method in base.methods if getattr(defined["Task"], method) is getattr(base, method)]
    if wrong:
        raise RecipeError(
            f"Expected `Task` of {path} to define {', '.join(base.methods)}; it has no {', '.join(wrong)}."
        )
    config = defined["Config"]
    if not dataclasses.is_dataclass(config):
        raise RecipeError(f"Expected `Config` of {path} to be made by `settings`, as a dataclass.")
    for key in ("load", "build_model"):
        if not callable(defined[key]) or len(inspect.signature(defined[key]).parameters) != 2:
            raise RecipeError(f"Expected `{key}` of {path} to be a function of two arguments.")
    published = getattr(module, "PUBLISHED", {})
    if not isinstance(published, dict) or not all(isinstance(figures, dict) for figures in published.values()):
        raise RecipeError(f"Expected `PUBLISHED` of {path} to be dataset -> source -> figure, received {published!r}.")
    missing = {"dataset", "seed", "epochs", "batch_size"} - {field.name for field in dataclasses.fields(config)}
    if missing:
        raise RecipeError(f"Expected `Config` of {path} to have the settings {', '.join(sorted(missing))}.")
    return Recipe(name, published=published, page=None if path.parent == PAGES else str(path), **defined)


def recipe_of(folder):
    """Name of the recipe that a finished run is of.

    Raises:
        RecipeError: it is not the folder of a finished run.
    """
    try:
        return str(json.loads((folder / "card.json").read_bytes())["recipe"])
    except (OSError, ValueError, LookupError):
        raise RecipeError(f"Expected the folder of a finished run, received {folder}.") from None


def check_new_name(name):
    """Checks the name of a recipe that is none of the project's.

    Raises:
        RecipeError: it has other characters than letters, digits and _, or is that of a page or a module of Python.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise RecipeError(f"Expected a name of letters, digits and _, received {name!r}.")
    if name in names() or name in sys.stdlib_module_names:
        raise RecipeError(f"Expected a name that no page and no module of Python has, received {name!r}.")


def page_of(run):
    """The name of the page that a finished run was made by, or its path where it lies elsewhere; see `recipe`.

    Raises:
        RecipeError: it is not the folder of a finished run.
    """
    name = recipe_of(run)
    path = json.loads((run / "card.json").read_bytes()).get("page")
    return path if path and name not in names() else name


def _import_file(path):
    """The module in a file that is not one of the project's pages."""
    with quiet():
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # where dataclasses look
        sys.path.insert(0, str(path.parent))  # what lies beside it can be imported
        spec.loader.exec_module(module)
        return module


def nearest(word, words):
    """A sentence with the words most like `word`."""
    return quiet_import("archs._core.names").nearest(word, words)


def quiet_import(module):
    """Imports a module, and so TensorFlow, without the messages of TensorFlow's start."""
    with quiet():
        return importlib.import_module(module)


@contextlib.contextmanager
def quiet():
    """Imports TensorFlow without the messages of its start, and holds back those of what is imported within."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" in sys.modules:  # it has started, and another thread may write to stderr
        yield
        return
    with _stderr_held_back():
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.get_logger().setLevel("ERROR")
        importlib.import_module("absl.logging").set_verbosity("error")
        tensorflow.config.list_physical_devices()
        yield


@contextlib.contextmanager
def _stderr_held_back():
    """Keeps what C++ code writes to stderr from the terminal, unless an error comes out of it."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (ModuleNotFoundError, SyntaxError, KeyboardInterrupt):
            raise
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
