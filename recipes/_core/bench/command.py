"""The command `bench`: its options, and which of its measurements they ask for."""

import argparse
import contextlib
import fnmatch
import json
import os
import pathlib

from recipes._core import files
from recipes._core.bench import exports, fits, growth, layers, peers, server
from recipes._core.bench.session import Session
from recipes._core.errors import RecipeError, install
from recipes._core.machine import cores

CATALOG = pathlib.Path(__file__).resolve().parents[3] / "archs" / "cells"


def add_arguments(command):
    """Options of `bench`."""
    command.add_argument("patterns", nargs="*", help="of names of cells, such as 'lstm' 'mut*'; default: all")
    command.add_argument("--size", action="append", type=_size, metavar="B,T,D,U", help=f"default: {_default_sizes()}")
    command.add_argument("--phase", action="append", choices=layers.PHASES, help="default: train and inference")
    command.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="in halves: ours and Keras' with weights of float32, torch's and Flax's without; ONNX Runtime has none",
    )
    command.add_argument(
        "--rounds", type=positive, help="timed runs of each subject; default: 9, with --serve and --fit 3"
    )
    command.add_argument("--threads", type=positive, default=cores(), help="of each process; default: all cores")
    command.add_argument("--device", choices=["auto", "cpu"], default="auto", help="auto: a GPU if there is one")
    command.add_argument("--no-memory", dest="memory", action="store_false", help="leave the peak memory out")
    command.add_argument(
        "--growth", action="store_true", help="double time, batch and units of 32,50,128,128 one at a time instead"
    )
    command.add_argument(
        "--fit", action="store_true", help="measure whole steps of `fit` instead; patterns default to lstm"
    )
    command.add_argument(
        "--exports", action="store_true", help="measure exported models instead, one request; patterns default to lstm"
    )
    command.add_argument("--json", type=files.path, metavar="FILE", help="write all figures there, too")
    serve = command.add_argument_group("a server, instead of cells")
    serve.add_argument("--serve", metavar="RECIPE", help="measure the server of its exported model")
    serve.add_argument("--saved-models", type=files.path, default="saved_models", help="of all exports")
    serve.add_argument("--seconds", type=_seconds, default=5.0, help="of each timed run; default: 5")
    serve.add_argument(
        "--kserve",
        type=os.path.expanduser,
        metavar="PYTHON",
        help="of an environment with kserve: measure its server, too",
    )


def bench(options):
    """Measures and prints; see the module."""
    if options.json and not options.json.is_file():
        if options.json.is_dir() or not options.json.resolve().parent.is_dir():
            raise RecipeError(f"Expected a file for --json in a folder that exists, received {options.json}.")
        files.check_writable(options.json.resolve().parent)
    options.rounds = options.rounds or (3 if options.serve or options.fit else 9)
    if options.serve:
        return server.measure(options)
    options.patterns = options.patterns or ["lstm" if options.fit or options.exports else "*"]
    cells = [path.stem for path in sorted(CATALOG.glob("*.py")) if not path.stem.startswith("_")]
    chosen = [c for c in cells if any(fnmatch.fnmatch(c, pattern) for pattern in options.patterns)]
    for pattern in options.patterns:
        if not fnmatch.filter(cells, pattern):
            raise RecipeError(f"Expected patterns of cells, received {pattern!r}. There are: {', '.join(cells)}.")
    if options.rounds < 2:
        raise RecipeError(f"Expected --rounds of at least 2, received {options.rounds}.")
    with Session(options) as session:
        facts = session.facts()
        print("\n".join(f"{key:<18} {value}" for key, value in facts.items()))
        missing = [peer for peer in peers.PEERS if peer not in peers.installed()]
        if missing:
            print(f"Without {', '.join(missing)}; {install('bench')}")
        with contextlib.ExitStack() as stack:
            stack.callback(_write, options.json, facts, session.rows)
            kinds = {growth: options.growth, fits: options.fit, exports: options.exports, layers: True}
            next(kind for kind, is_asked in kinds.items() if is_asked).show(session, chosen)


def _write(path, facts, rows):
    if path:
        path.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def _size(text):
    parts = text.split(",")
    if len(parts) != 4 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise argparse.ArgumentTypeError(f"expected four positive integers B,T,D,U, received {text!r}")
    return tuple(map(int, parts))


def positive(text):
    """A whole number of 1 or more, from the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a positive integer, received {text!r}")
    return int(text)


def _seconds(text):
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a positive number, received {text!r}")


def _default_sizes():
    return " ".join(",".join(map(str, size)) for size in layers.SIZES)
