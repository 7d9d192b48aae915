"""The command line over all recipe pages.

A page `recipes/<architecture>_<dataset>.py` has `Config` (a frozen dataclass: every knob), `DATASETS` (the embedded one
first), `METRIC` (the key of `metrics` that the page is held to), `PUBLISHED` (dataset -> source -> figure of that
metric), `load(cfg, data_dir) -> Splits`, `build_model(cfg, steps)`, `serving(model, splits) -> {name: tf.function}`,
one of them `serving_default`, `sample(model, splits) -> {name: request}`, `evaluate(answer, splits, folder) ->
metrics`, a dict of floats, that of `METRIC` first and the others in its unit, where `answer(request,
signature="serving_default")` asks a model, `read_input(text, cfg, data_dir) -> request`, `show(answer) -> str` and
`run(cfg, session) -> (path, card)`. `METRIC`, `DATASETS`, `PUBLISHED` and the defaults in `Config` are literals. A page
dropped into the folder is in the command line.
"""

import argparse
import ast
import contextlib
import importlib
import os
import pathlib
import sys
import tempfile

from recipes._core import bench, files, report
from recipes._core.errors import RecipeError, install, is_of_machine, reason

COMMANDS = ("list", "show", "train", "evaluate", "export", "predict", "serve", "report", "keep", "bench")
_WITHOUT_A_NAME = ("list", "serve", "report", "keep", "bench")
PAGES = pathlib.Path(__file__).resolve().parents[1]


def names():
    """The names of all recipes."""
    return sorted(path.stem for path in PAGES.glob("*.py") if not path.stem.startswith("_"))


def page_text(name):
    """The source of a recipe's page.

    Raises:
        RecipeError: there is no such recipe; the message gives the nearest.
    """
    if name not in names():
        raise RecipeError(f"Expected the name of a recipe, received {name!r}. {nearest(name, names())}")
    return (PAGES / f"{name}.py").read_text(encoding="utf-8")


def page(name):
    """The module of a recipe."""
    page_text(name)
    try:
        return _import(f"recipes.{name}")
    except SyntaxError as error:
        raise RecipeError(f"Expected Python in {error.filename}, line {error.lineno}: {error.msg}.") from error
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("archs", "recipes"):  # no package would bring it
            raise
        raise RecipeError(f"{error}. To run recipes, {install('recipes')}") from error


def nearest(word, words):
    return _import("archs._core.registry").nearest(word, words)


def _import(module):
    """Imports a module, and so TensorFlow, without the messages of TensorFlow's start."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_held_back():
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.get_logger().setLevel("ERROR")
        importlib.import_module("absl.logging").set_verbosity("error")
        tensorflow.config.list_physical_devices()
        return importlib.import_module(module)


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


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise RecipeError(f"{message}\n{self.format_usage().rstrip()}")


def parser():
    parser = _Parser(prog="python -m recipes", description="Train, evaluate, export and ask the models of the catalog.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, text, epilog=None):
        command = commands.add_parser(name, help=text, description=text, epilog=epilog, allow_abbrev=False)
        if name not in _WITHOUT_A_NAME:
            command.add_argument("name", help="of the recipe")
        if name not in ("show", *_WITHOUT_A_NAME):
            command.add_argument("--runs", type=files.folder, default="runs", help="folder of all runs")
            command.add_argument("--saved-models", type=files.folder, default="saved_models", help="of all exports")
            command.add_argument("--data-dir", type=os.path.expanduser, help="where TFDS keeps its data")
        return command

    add("list", "Name the recipes.")
    add("show", "Print what a recipe is, and its settings.")
    example = "python -m recipes train vanilla_lstm_mnist --dataset=fashion_mnist --units=256"
    command = add(
        "train", "Train, evaluate and export.", f"Every setting that `show` lists is an option, too: {example}"
    )
    command.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: a GPU if there is one")
    command.add_argument("--precision", choices=["float32", "mixed_bfloat16", "mixed_float16"], help="default: float32")
    command.add_argument("--resume", action="store_true", help="go on with the newest run that is not finished")
    command.add_argument("--checkpoint-minutes", type=float, default=5.0, help="between checkpoints within an epoch")
    command = add("evaluate", "Measure a trained model on the test split.")
    command.add_argument("--run", type=files.path, help="folder of the run; default: the newest finished one")
    command.add_argument("--saved-model", action="store_true", help="measure the newest exported model instead")
    command = add("export", "Export the model of a run as a SavedModel, without training again.")
    command.add_argument("--run", type=files.path, help="folder of the run; default: the newest finished one")
    command.add_argument("--onnx", action="store_true", help="also as ONNX, checked against the SavedModel")
    command.add_argument("--litert", action="store_true", help="also as LiteRT, for one row, checked likewise")
    command.add_argument("--xla", action="store_true", help="with a signature `xla`: serving_default, compiled by XLA")
    command = add("predict", "Ask the exported model.")
    command.add_argument("inputs", nargs="+", metavar="input", help="such as the path of a picture, a text, or test:N")
    command.add_argument("--version", type=int, help="of the exported model; default: the newest")
    command = add("serve", "Answer requests for the exported models, as TensorFlow Serving does.")
    command.add_argument("names", nargs="*", metavar="RECIPE", help="default: all that have an export, also later ones")
    command.add_argument("--saved-models", type=files.path, default="saved_models", help="of all exports")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    command.add_argument("--port", type=int, default=8501, help="of REST and the page; 0: any that is free")
    command.add_argument("--grpc-port", type=int, default=8500, help="of gRPC; 0: any that is free")
    command.add_argument("--replicas", type=bench.positive, default=1, help="processes that compute; default: 1")
    command.add_argument("--queue", type=bench.positive, default=256, help="requests at a time; more are refused")
    command.add_argument("--timeout", type=bench.positive, default=60, help="seconds that a request may take")
    command.add_argument("--max-request-mb", type=bench.positive, default=16, help="MiB that a request may have")
    add("report", "Show all runs beside one another, on a page.")
    add("keep", "Put the cards of runs where git keeps them, for the table in README.")
    report.add_arguments(commands.choices["report"], commands.choices["keep"])
    add("bench", "Measure what the cells cost, beside Keras' loop and other libraries.")
    bench.add_arguments(commands.choices["bench"])
    return parser


def main(argv=None):
    """Runs a command; returns the exit status: 0, 2 for what the user can mend, 130 when a signal stopped it."""
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream of somebody else's
            stream.reconfigure(errors="backslashreplace")  # a locale may lack a character
    try:
        if not argv:
            raise RecipeError(f"Expected a command: {', '.join(COMMANDS)}. With --help it says what each does.")
        if not argv[0].startswith("-") and argv[0] not in COMMANDS:
            raise RecipeError(f"Expected a command, received {argv[0]!r}. {nearest(argv[0], COMMANDS)}")
        arguments, settings = parser().parse_known_args(argv)
        if settings and arguments.command != "train":
            raise RecipeError(f"Expected no further arguments, received {' '.join(settings)}.")
        arguments.settings = settings
        quick = {"list": _list, "show": _show, "report": _report, "keep": _keep, "serve": _serve, "bench": bench.bench}
        if arguments.command in quick:
            quick[arguments.command](arguments)
        else:
            recipe = page(arguments.name)
            getattr(_import("recipes._core.commands"), arguments.command)(recipe, arguments)
        return 0
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = " A training that has a checkpoint goes on from it with --resume." if "train" in argv[:1] else ""
        print(f"Stopped.{hint}", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_of_machine(error):
            raise
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2


def _list(arguments):
    for name, tree in _trees().items():
        print(f"{name}  {(ast.get_docstring(tree) or '').partition(chr(10))[0]}")


def _show(arguments):
    text = page_text(arguments.name)
    tree = ast.parse(text)
    config = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config")
    print(f"{ast.get_docstring(tree)}\n\nSettings, each an option --key=value of train:\n")
    settings = [node for node in config.body if isinstance(node, ast.AnnAssign)]
    print("\n".join(text.splitlines()[settings[0].lineno - 1 : settings[-1].end_lineno]))


def _report(arguments):
    for name in arguments.names:
        page_text(name)
    report.report(arguments, _trees())


def _serve(arguments):
    try:
        command = _import("recipes._core.server.command")
    except ModuleNotFoundError as error:
        raise RecipeError(f"{error}. To serve models, {install('serve')}") from error
    command.run(arguments)


def _keep(arguments):
    report.keep(arguments, _trees())


def _trees():
    """Name of a recipe -> syntax tree of its page; one that cannot be read is left out, and told on stderr."""
    trees = {}
    for name in names():
        try:
            trees[name] = ast.parse(page_text(name))
        except (SyntaxError, ValueError) as error:
            print(f"skipped: {PAGES / name}.py cannot be read ({error})", file=sys.stderr)
    return trees
