"""`python -m recipes bench`: what the cells cost, beside Keras' loop and other libraries, in ratios of one run.

Each library runs in a process of its own on the same number of cores. The subjects of a row group take turns, one run
each in every round, so that what disturbs the machine disturbs all of them alike.
"""

import argparse
import contextlib
import fnmatch
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

from recipes._core import bench_worker, files
from recipes._core.errors import RecipeError, install

SIZES = [(32, 100, 128, 128), (64, 100, 128, 256), (20, 35, 650, 650)]
PHASES = {"train": "training step", "inference": "inference", "step": "streaming step"}
MEAN_TIME = statistics.mean(bench_worker.TIMES[:: len(bench_worker.TIMES) - 1])
GROWTH = (32, 50, 128, 128)
DOUBLINGS = {"time": 6, "batch": 3, "units": 3}
CATALOG = pathlib.Path(__file__).resolve().parents[2] / "archs" / "cells"
PEERS = {
    "torch": ("torch", bench_worker.TORCH),
    "torchrecurrent": ("torch", bench_worker.TORCHRECURRENT),
    "flax": ("flax", bench_worker.FLAX),
    "onnxruntime": ("onnxruntime", {"lstm": "LSTM", "gru": "GRU"}),
}
KERAS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}
TITLES = {
    "archs": lambda cell: f"archs.Recurrent({cell})",
    "keras.layers.RNN": lambda cell: f"keras.layers.RNN({cell})",
    "keras.layers": lambda cell: f"keras.layers.{KERAS[cell]}",
    "torch": lambda cell: f"torch.nn.{bench_worker.TORCH[cell]}",
    "torchrecurrent": lambda cell: f"torchrecurrent.{bench_worker.TORCHRECURRENT[cell]}",
    "flax": lambda cell: f"flax.nnx.{bench_worker.FLAX[cell]}",
    "onnxruntime": lambda cell: f"onnxruntime {cell.upper()}",
}


class Worker:
    """A process of one library, asked line by line."""

    def __init__(self, library, threads, device):
        command = [sys.executable, "-m", "recipes._core.bench_worker", library, str(threads), device]
        threads = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
        environment = os.environ | threads | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **pipes, encoding="utf-8", env=environment)

    def ask(self, do, **request):
        """The answer, a dict; of one that failed, with `error` alone."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": f"its process ended with {self.process.wait()}"}

    def stop(self):
        self.process.communicate()


class Run:
    """One run of the benchmark: its workers, options and rows."""

    def __init__(self, options):
        self.options, self.workers, self.rows = options, {}, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for worker in self.workers.values():
            if error[0]:
                worker.process.kill()
            worker.stop()

    def worker(self, library):
        if library not in self.workers or self.workers[library].process.poll() is not None:
            self.workers[library] = Worker(library, self.options.threads, self.options.device)
        return self.workers[library]

    def facts(self):
        """What the figures depend on: the machine, the libraries, the options."""
        libraries = {"tensorflow", *(PEERS[peer][0] for peer in installed_peers())}
        found = {}
        for name in sorted(libraries):
            answer = self.worker(name).ask("facts")
            if "error" in answer:
                raise RecipeError(f"Expected {name} to start, but {answer['error']}.")
            found |= answer
        return {
            "machine": processor(),
            "threads": self.options.threads,
            "dtype": self.options.dtype,
            "rounds": self.options.rounds,
            **found,
        }

    def subject(self, implementation, cell, size, phase, xla=False):
        made = {"implementation": implementation, "cell": cell, "size": size, "phase": phase}
        return made | {"dtype": self.options.dtype, "xla": xla}

    def measure(self, cell, size, phase):
        """The rows of one cell at one size, ours first."""
        wanted = [(name, cell) for name in implementations(cell, phase)]
        anchors = [("archs", "lstm"), ("torch", "lstm"), ("matrix product", "lstm")]
        anchors = [a for a in anchors if a[0] != "torch" or "torch" in installed_peers()]
        opened = {}
        for name, of in dict.fromkeys([*wanted, *anchors]):
            for xla in (True, False) if name in ("archs", "keras.layers.RNN", "keras.layers") else (False,):
                key, worker = f"{name} {of} {xla}", self.worker(library_of(name))
                answer = worker.ask("open", key=key, subject=self.subject(name, of, size, phase, xla))
                opened[name, of, xla] = (worker, key, answer)
        running = {mode: o for mode, o in opened.items() if "error" not in o[2]}
        times = {mode: [] for mode in running}
        for _ in range(self.options.rounds):
            for mode, (worker, key, _) in running.items():
                answer = worker.ask("run", key=key)
                times[mode].append(answer.get("ms"))
                opened[mode][2].update({"error": answer["error"]} if "error" in answer else {})
        for worker, key, _ in running.values():
            worker.ask("close", key=key)
        medians = {mode: statistics.median(values) for mode, values in times.items() if None not in values}

        def better(name, of):
            modes = [mode for mode in medians if mode[:2] == (name, of)]
            return min(modes, key=medians.get) if modes else None

        def ms(name, of):
            return medians.get(better(name, of))

        rows = []
        ours, lstm = (opened["archs", of, True][2] | opened["archs", of, False][2] for of in (cell, "lstm"))
        product = ms("matrix product", "lstm")
        for name, _ in wanted:
            row = {"implementation": name, "cell": cell, "phase": phase, "size": size}
            mode = better(name, cell)
            if mode is None:
                rows.append(row | {"error": opened[name, cell, False][2]["error"]})
                continue
            low, _, high = statistics.quantiles(times[mode], n=4)
            row |= {
                "xla": mode[2] if name.startswith(("archs", "keras")) else None,
                "ms": medians[mode],
                "quartiles_ms": [low, high],
                "best_ms": min(times[mode]),
                "modes_ms": {"xla" if m[2] else "graph": t for m, t in medians.items() if m[:2] == (name, cell)},
                "compile_s": opened[mode][2]["compile_s"],
                "to_plain": _ratio(medians[mode], ms("keras.layers.RNN", cell)),
                "to_torch": _ratio(medians[mode], ms("torch", cell if cell == "gru" else "lstm")),
            }
            if phase != "step" and product and "weights" in ours and "weights" in lstm:
                share = ours["weights"] / lstm["weights"]
                floor = product * share * (3 if phase == "train" else 1)
                row |= {
                    "floor_ms": floor,
                    "to_floor": _ratio(medians[mode], floor),
                    "to_lstm_per_operation": _ratio(medians[mode] / share, ms("archs", "lstm")),
                }
            if name == "archs" and "gated" in ours:
                row |= {"gated": ours["gated"], "graph_nodes": opened[mode][2]["graph_nodes"]}
            if phase == "train" and self.options.memory:
                row["memory_mib"] = self.memory(name, cell, size, bool(mode[2]))
            rows.append(row)
        self.rows += rows
        return rows

    def measure_fit(self, cell, size, lengths, varying):
        """The rows of whole training steps of one cell at one size: by the default of `compile`, and with XLA."""
        names = [name for name in ("archs", "keras.layers", "torch") if name in implementations(cell, "fit")]
        kinds = {"lengths": lengths, "varying": varying}
        opened = {}
        for name in names:
            for xla in (False,) if name == "torch" or varying or lengths else (False, True):
                worker, key = self.worker(library_of(name)), f"{name} {xla}"
                subject = self.subject(name, cell, size, "fit", xla) | kinds
                opened[name, xla] = worker, key, worker.ask("open", key=key, subject=subject)
        running = {mode: o for mode, o in opened.items() if "error" not in o[2]}
        times = {mode: [] for mode in running}
        for _ in range(self.options.rounds):
            for mode, (worker, key, _) in running.items():
                answer = worker.ask("run", key=key)
                times[mode].append(answer.get("ms"))
                opened[mode][2].update({"error": answer["error"]} if "error" in answer else {})
        for worker, key, _ in running.values():
            worker.ask("close", key=key)
        medians = {mode: statistics.median(values) for mode, values in times.items() if None not in values}
        rows = []
        for (name, xla), (_, _, answer) in opened.items():
            row = {"implementation": name, "cell": cell, "phase": "fit", "size": size, "xla": xla, **kinds}
            if "error" in answer:
                row["error"] = answer["error"]
            else:
                ms = medians[name, xla]
                low, _, high = statistics.quantiles(times[name, xla], n=4)
                row |= {"ms": ms, "quartiles_ms": [low, high], "best_ms": min(times[name, xla])}
                row |= {"compile_s": answer["compile_s"], "to_keras": _ratio(ms, medians.get(("keras.layers", False)))}
                row["to_torch"] = _ratio(ms, medians.get(("torch", False)))
            rows.append(row)
        self.rows += rows
        return rows

    def memory(self, name, cell, size, xla):
        """By how much the first two training steps raise the peak memory of a fresh process, in MiB."""
        worker = Worker(library_of(name), self.options.threads, self.options.device)
        answer = worker.ask("open", key="", subject=self.subject(name, cell, size, "train", xla))
        worker.stop()
        return answer.get("memory_mib")

    def growth(self, cell):
        """Rows of a training step while time, batch and units double, one at a time."""
        for axis, doublings in DOUBLINGS.items():
            position = ("batch", "time", "features", "units").index(axis)
            for doubling in range(doublings + 1):
                size = list(GROWTH)
                size[position] *= 2**doubling
                worker = self.worker("tensorflow")
                answers = [worker.ask("open", key=axis, subject=self.subject("archs", cell, size, "train", True))]
                answers += [
                    worker.ask("run", key=axis) for _ in range(self.options.rounds) if "error" not in answers[0]
                ]
                row = {"cell": cell, "axis": axis, "size": size}
                if errors := [answer["error"] for answer in answers if "error" in answer]:
                    row["error"] = errors[0]
                else:
                    worker.ask("close", key=axis)
                    times = [answer["ms"] for answer in answers[1:]]
                    row |= {"ms": statistics.median(times), "best_ms": min(times)}
                    row |= {key: answers[0][key] for key in ("compile_s", "graph_nodes")}
                self.rows.append(row)
                yield row


def implementations(cell, phase):
    """What is measured for a cell: ours, Keras', and the peers that are installed and have it."""
    names = ["archs"]
    if phase != "step":
        names += ["keras.layers.RNN", *(["keras.layers"] if cell in KERAS else [])]
    for peer in installed_peers():
        if cell in PEERS[peer][1] and (phase == "step") >= (peer == "onnxruntime"):
            names.append(peer)
    return names


def installed_peers():
    needs = {"onnxruntime": ("onnxruntime", "onnx"), "torchrecurrent": ("torch", "torchrecurrent")}
    return [p for p in PEERS if all(importlib.util.find_spec(module) for module in needs.get(p, (p,)))]


def library_of(implementation):
    return PEERS[implementation][0] if implementation in PEERS else "tensorflow"


def add_arguments(command):
    """Options of `bench`."""
    command.add_argument("patterns", nargs="*", help="of names of cells, such as 'lstm' 'mut*'; default: all")
    command.add_argument("--size", action="append", type=_size, metavar="B,T,D,U", help=f"default: {_default_sizes()}")
    command.add_argument("--phase", action="append", choices=PHASES, help="default: train and inference")
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
        from recipes._core.server import bench as server  # which needs this module

        return server.measure(options)
    options.patterns = options.patterns or ["lstm" if options.fit else "*"]
    cells = [path.stem for path in sorted(CATALOG.glob("*.py")) if not path.stem.startswith("_")]
    chosen = [c for c in cells if any(fnmatch.fnmatch(c, pattern) for pattern in options.patterns)]
    for pattern in options.patterns:
        if not fnmatch.filter(cells, pattern):
            raise RecipeError(f"Expected patterns of cells, received {pattern!r}. There are: {', '.join(cells)}.")
    if options.rounds < 2:
        raise RecipeError(f"Expected --rounds of at least 2, received {options.rounds}.")
    with Run(options) as run:
        facts = run.facts()
        print("\n".join(f"{key:<18} {value}" for key, value in facts.items()))
        missing = [peer for peer in PEERS if peer not in installed_peers()]
        if missing:
            print(f"Without {', '.join(missing)}; {install('bench')}")
        with contextlib.ExitStack() as stack:
            stack.callback(_write, options.json, facts, run.rows)
            show = _print_growth if options.growth else _print_fits if options.fit else _print_rows
            show(run, chosen)


def _write(path, facts, rows):
    if path:
        path.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def _print_rows(run, cells):
    for phase in run.options.phase or ["train", "inference"]:
        sizes = run.options.size or SIZES
        for size in [(1, 1, size[2], size[3]) for size in sizes] if phase == "step" else sizes:
            print(f"\n{PHASES[phase]}, batch {size[0]}, time {size[1]}, features {size[2]}, units {size[3]}")
            print(_HEAD)
            for cell in cells:
                for row in run.measure(cell, size, phase):
                    print(_line(row), flush=True)
    print(_LEGEND)


def _print_fits(run, cells):
    sizes = run.options.size or SIZES
    for size in sizes:
        batch, _, features, units = size
        for lengths, varying in ((False, False), (True, False), (False, True)):
            kinds = [(False, (batch, round(MEAN_TIME), features, units)), (True, size)] if varying else [(False, size)]
            means = {}
            for varies, of_size in kinds:
                times = f"{bench_worker.TIMES[0]} to {bench_worker.TIMES[-1]}" if varies else of_size[1]
                print(
                    f"\na step of fit, batch {batch}, time {times}, features {features}, units {units}"
                    f"{', with lengths' if lengths else ''}\n{_FIT_HEAD}"
                )
                for cell in cells:
                    for row in run.measure_fit(cell, of_size, lengths, varies):
                        key = row["implementation"], cell, row["xla"]
                        if "ms" in row and varies and key in means:
                            row["to_fixed"] = means[key] / row["ms"]
                        means[key] = row.get("ms")
                        print(_fit_line(row), flush=True)
    print(_FIT_LEGEND)


_FIT_HEAD = f"{'':<38} {'ms':>8} {'+-':>6} {'mode':>8} {'/keras':>7} {'/torch':>7} {'to fixed':>8} {'first s':>8}"

_FIT_LEGEND = f"""
ms: of one step, the median over the rounds of an epoch of {bench_worker.BATCHES} steps, and the distance of the
quartiles; with data, loss, optimizer and metrics. mode: the default of compile(), or jit_compile=True.
Ratios, smaller is better: to the same model of keras.layers by default, and to a training loop of torch. to fixed:
steps a second where the time varies, to those where it is the mean of these; larger is better. first s: by how much the
first epoch takes longer."""


def _fit_line(row):
    title = f"{TITLES[row['implementation']](row['cell']):<38}"
    if "error" in row:
        return f"{title} {row['error']}"
    low, high = row["quartiles_ms"]
    mode = "" if row["implementation"] == "torch" else "XLA" if row["xla"] else "default"
    ratios = [row.get(key) for key in ("to_keras", "to_torch", "to_fixed")]
    shown = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
    return (
        f"{title} {row['ms']:>8.2f} {high - low:>6.2f} {mode:>8} {shown[0]:>7} {shown[1]:>7} {shown[2]:>8} "
        f"{row['compile_s']:>8.1f}"
    )


_LEGEND = f"""
ms: median, and the distance of the quartiles (of {bench_worker.STEPS} streaming steps). mode: the faster, XLA or graph.
Ratios, smaller is better: to keras.layers.RNN of the same cell; to torch.nn.LSTM (of gru, to torch.nn.GRU); to the
time of the step's matrix products at the rate of one large product; per operation of those, to archs.Recurrent(lstm).
MiB: by how much two training steps raise the peak memory of a fresh process; on a GPU, its host's."""

_HEAD = (
    f"{'':<38} {'ms':>8} {'+-':>6} {'mode':>6} {'/plain':>7} {'/torch':>7} {'/floor':>7} {'/lstm':>6} "
    f"{'compile s':>9} {'MiB':>6}"
)


def _line(row):
    title = f"{TITLES[row['implementation']](row['cell']):<38}"
    if "error" in row:
        return f"{title} {row['error']}"
    mode = {True: "XLA", False: "graph", None: ""}[row["xla"]]
    low, high = row["quartiles_ms"]
    ratios = [row.get(key) for key in ("to_plain", "to_torch", "to_floor", "to_lstm_per_operation")]
    ratios = [f"{'' if ratio is None else format(ratio, '.2f'):>7}" for ratio in ratios]
    memory = row.get("memory_mib")
    return (
        f"{title} {row['ms']:>8.2f} {high - low:>6.2f} {mode:>6} {' '.join(ratios[:3])} {ratios[3][1:]} "
        f"{row['compile_s']:>9.1f} {'' if memory is None else format(memory, '.0f'):>6}"
    )


def _print_growth(run, cells):
    head = f"{'size B,T,D,U':<20} {'ms':>9} {'to the last':>12} {'ms a time step':>15} {'compile s':>10} {'nodes':>6}"
    for cell in cells:
        axis, before = None, None
        for row in run.growth(cell):
            if row["axis"] != axis:
                axis, before = row["axis"], None
                print(f"\ntraining step of {cell}, XLA, as {axis} grows\n{head}")
            size = ",".join(map(str, row["size"]))
            if "error" in row:
                print(f"{size:<20} {row['error']}")
                continue
            grown = "" if before is None else f"{row['ms'] / before:.2f}"
            print(
                f"{size:<20} {row['ms']:>9.2f} {grown:>12} {row['ms'] / row['size'][1]:>15.4f} "
                f"{row['compile_s']:>10.1f} {row['graph_nodes']:>6}",
                flush=True,
            )
            before = row["ms"]


def _ratio(a, b):
    return None if a is None or not b else a / b


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
    return " ".join(",".join(map(str, size)) for size in SIZES)


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor():
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
