"""The command line over all recipes, see `page`."""

import argparse
import ast
import contextlib
import dataclasses
import importlib
import os
import sys

from recipes._core import files, page
from recipes._core.bench import command as bench
from recipes._core.errors import RecipeError, install, is_of_machine, reason
from recipes._core.report import report

COMMANDS = (
    "list",
    "show",
    "new",
    "train",
    "evaluate",
    "export",
    "promote",
    "predict",
    "serve",
    "report",
    "keep",
    "bench",
)
_WITHOUT_A_NAME = ("list", "promote", "serve", "report", "keep", "bench")


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise RecipeError(f"{message}\n{self.format_usage().rstrip()}")


def _seeds(text):
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise RecipeError(f"Expected --seeds to be whole numbers, such as 0,1,2, received {text!r}.") from None


def parser(name=None):
    """The parser of all commands; with the name of a recipe, its settings stand in the help of `train`."""
    parser = _Parser(prog="python -m recipes", description="Train, evaluate, export and ask the models of the catalog.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, text, epilog=None):
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name not in _WITHOUT_A_NAME:
            command.add_argument("name", help="of the recipe, or the path of its page")
        if name not in ("show", "new", *_WITHOUT_A_NAME):
            command.add_argument("--runs", type=files.folder, default="runs", help="folder of all runs")
            add_saved_models(command)
            command.add_argument("--data-dir", type=os.path.expanduser, help="where TFDS keeps its data")
        return command

    def add_saved_models(command):
        command.add_argument("--saved-models", type=files.folder, default="saved_models", help="folder of all exports")

    add("list", "Name the recipes.")
    add("show", "Print what a recipe is, and its settings.")
    command = add("new", "Write the page of a new recipe, which trains as it is.")
    command.add_argument("--task", required=True, help="such as text_classification; see recipes/README.md")
    command.add_argument("--architecture", help="default: one that suits the task")
    command.add_argument("--data", help="path of a CSV or JSON-lines file; default: made-up rows")
    command.add_argument("--dataset", help="name of a TFDS dataset, in place of --data")
    example = "python -m recipes train vanilla_lstm_mnist --dataset=fashion_mnist --units=256"
    all_settings = f"Every setting that `show` lists is an option, too:\n{example}"
    command = add("train", "Train and evaluate.", printed_settings(name) if name else all_settings)
    command.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: a GPU if there is one")
    command.add_argument("--precision", choices=["float32", "mixed_bfloat16", "mixed_float16"], help="default: float32")
    command.add_argument("--resume", action="store_true", help="go on with the newest run that is not finished")
    command.add_argument("--export", action="store_true", help="serve it from then on: export it as the newest version")
    command.add_argument(
        "--seeds", type=_seeds, help="one training each, such as 0,1,2; finished ones stay, with --resume"
    )
    command.add_argument("--checkpoint-minutes", type=float, default=5.0, help="between checkpoints within an epoch")
    command = add("evaluate", "Measure a trained model on the test split.")
    command.add_argument("--run", type=files.path, help="folder of the run; default: the newest finished one")
    command.add_argument("--saved-model", action="store_true", help="measure the newest exported model instead")
    command = add("export", "Export the model of a run as a SavedModel, without training again.")
    command.add_argument("--run", type=files.path, help="folder of the run; default: the newest finished one")
    command.add_argument("--onnx", action="store_true", help="also as ONNX, checked against the SavedModel")
    command.add_argument("--litert", action="store_true", help="also as LiteRT, for one row, checked likewise")
    command.add_argument("--xla", action="store_true", help="with a signature `xla`: serving_default, compiled by XLA")
    command = add("promote", "Serve the model of a run from now on; that of an older run to go back to it.")
    command.add_argument("run", type=files.path, help="folder of the finished run")
    add_saved_models(command)
    command = add("predict", "Ask the exported model.")
    kinds = "such as the path of a picture, a text, or test:N; @FILE or - for stdin: one on each line"
    command.add_argument("inputs", nargs="+", metavar="input", help=kinds)
    command.add_argument("--json", action="store_true", help="print a line of JSON for each input")
    command.add_argument("--version", type=int, help="of the exported model; default: the newest")
    command = add("serve", "Answer requests for the exported models, as TensorFlow Serving does.")
    command.add_argument("names", nargs="*", metavar="RECIPE", help="default: all that have an export, also later ones")
    command.add_argument("--saved-models", type=files.path, default="saved_models", help="of all exports")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    command.add_argument("--port", type=int, default=8501, help="of REST and the page; 0: any that is free")
    command.add_argument("--grpc-port", type=int, default=8500, help="of gRPC; 0: any that is free")
    command.add_argument("--replicas", type=bench.positive, default=1, help="processes that compute; default: 1")
    help = "seconds within which a replica answers a ping, or is replaced"
    command.add_argument("--ping-timeout", type=bench.positive, default=10, help=help)
    command.add_argument("--queue", type=bench.positive, default=256, help="requests at a time; more are refused")
    command.add_argument("--timeout", type=bench.positive, default=60, help="seconds that a request may take")
    command.add_argument("--max-request-mb", type=bench.positive, default=16, help="MiB that a request may have")
    add("report", "Show all runs beside one another, on a page.")
    add("keep", "Put the cards of runs where git keeps them, for the table in recipes/README.md.")
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
            raise RecipeError(f"Expected a command, received {argv[0]!r}. {page.nearest(argv[0], COMMANDS)}")
        named = argv[0] == "train" and argv[1:] and {"-h", "--help"} & set(argv) and not argv[1].startswith("-")
        arguments, settings = parser(argv[1] if named else None).parse_known_args(argv)
        if settings and arguments.command != "train":
            raise RecipeError(f"Expected no further arguments, received {' '.join(settings)}.")
        arguments.settings = settings
        quick = {
            "list": _list,
            "show": _show,
            "new": _new,
            "report": _report,
            "keep": _keep,
            "serve": _serve,
            "bench": bench.bench,
        }
        if arguments.command in quick:
            quick[arguments.command](arguments)
        else:
            recipe = _recipe(arguments)
            getattr(page.quiet_import("recipes._core.command.commands"), arguments.command)(recipe, arguments)
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


def _recipe(arguments):
    """The `Recipe` that a command is about: of a page, or of data of one's own, also as it was trained before."""
    if arguments.command == "train" and "--task" in {setting.partition("=")[0] for setting in arguments.settings}:
        return page.quiet_import("recipes._core.own").recipe(arguments.name, arguments.settings)
    name = page.page_of(arguments.run) if arguments.command == "promote" else arguments.name
    if name in page.names() or name.endswith(".py"):
        return page.recipe(name)
    if arguments.command == "promote":
        return page.quiet_import("recipes._core.own").of_run(arguments.run) or page.recipe(name)
    folders = [getattr(arguments, key, None) for key in ("runs", "saved_models")]
    folders = [folder for folder in folders if folder and (folder / name).is_dir()]
    saved = page.quiet_import("recipes._core.own").saved(name, *folders) if folders else None
    return saved or page.recipe(name)


def _list(arguments):
    for name, tree in page.trees().items():
        print(f"{name}  {(ast.get_docstring(tree) or '').partition(chr(10))[0]}")


def _show(arguments):
    print(f"{ast.get_docstring(ast.parse(page.text(arguments.name)))}\n\n{printed_settings(arguments.name)}")


def printed_settings(name):
    """The settings of a recipe, as its page states them, with a line before them."""
    text = page.text(name)
    try:
        config = page.config_of(ast.parse(text))
    except LookupError as error:
        raise RecipeError(f"Expected the page of a recipe, received {page.path_of(name)}: {error}.") from None
    fields = [node for node in config.body if isinstance(node, ast.AnnAssign)]
    stated = {node.target.id for node in fields}
    lines = text.splitlines()[fields[0].lineno - 1 : fields[-1].end_lineno] if fields else []
    if config.bases:  # settings that the page does not state itself
        shown = stated | page.NONE_OF_EVERY.keys()
        inherited = dataclasses.fields(page.recipe(name).Config)
        lines += [f"    {field.name} = {field.default!r}" for field in inherited if field.name not in shown]
    every = [line for line in page.EVERY.splitlines() if line.split(":")[0].strip() not in stated]
    return "\n".join(["Settings, each an option --key=value of train:", "", *lines, *every])


def _new(arguments):
    given = {key: getattr(arguments, key) for key in ("architecture", "data", "dataset")}
    path = page.quiet_import("recipes._core.command.new").new(arguments.name, arguments.task, **given)
    print(f"{path} is a page to start from: python -m recipes train ./{path}")


def _report(arguments):
    for name in arguments.names:
        if not (arguments.runs / name).is_dir():  # which a recipe without a page may have
            page.path_of(name)
    report.report(arguments, page.trees())


def _serve(arguments):
    try:
        importlib.import_module("recipes._core.server.command").run(arguments)
    except ModuleNotFoundError as error:
        raise RecipeError(f"{error}. To serve models, {install('serve')}") from error


def _keep(arguments):
    report.keep(arguments, page.trees())
