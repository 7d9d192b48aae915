"""`python -m recipes bench --serve RECIPE`: what the server of an export answers in a second, and how soon.

Servers, clients and the bare SavedModel run in processes of their own, on the cores of one machine. All of them take
turns, in every round, so that what disturbs the machine disturbs all alike. Clients ask for one row, each again as soon
as it is answered.
"""

import contextlib
import importlib.util
import json
import math
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from recipes._core import machine
from recipes._core.bench import session
from recipes._core.errors import RecipeError, install

CLIENTS = (1, 8, 32)
PROTOCOLS = ("gRPC", "REST")
KSERVE = pathlib.Path(__file__).with_name("kserve.py")
_START = 300  # seconds that a server may take to start


class Worker(session.Worker):
    def __init__(self):
        command = [sys.executable, "-m", "recipes._core.bench.server_worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **pipes, text=True, env=_environment())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.stop()


def _environment():
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}


def measure(options):
    """Measures and prints; see the module."""
    if options.patterns:
        raise RecipeError(f"Expected no cells beside --serve, received {' '.join(options.patterns)}.")
    needed = ("prometheus_client", "starlette", "uvicorn", "uvloop")
    missing = [module for module in needed if not importlib.util.find_spec(module)]
    if missing:
        raise RecipeError(f"Expected the server's packages, there is no {missing[0]}; {install('serve')}")
    if options.kserve:
        _expect_kserve(options.kserve)
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path, ports = stack.enter_context(_ours(options, folder))
        request = _request(path)
        (folder / "request").write_text(json.dumps(request))
        workers = [stack.enter_context(Worker()) for _ in range(2)]
        common = {"name": options.serve, "path": str(path), **request}
        subjects = {("ours", kind): common | {"port": ports[kind]} for kind in PROTOCOLS}
        facts = _facts(options, path, workers[0])
        if options.kserve:
            ports, told = stack.enter_context(_kserve(options, path, folder))
            subjects |= {("KServe", kind): common | {"port": ports[kind]} for kind in PROTOCOLS}
            subjects["KServe", "gRPC"] |= {key: told[key] for key in ("descriptor", "request")}
            facts["KServe's"] = told["versions"]
        rows = [(server, kind, clients) for kind in PROTOCOLS for clients in CLIENTS for server in ("ours", "KServe")]
        rows = {row: (workers[0], subjects[row[:2]]) for row in rows if row[:2] in subjects}
        rows = {("in-process", "call", 1): (workers[1], common)} | rows
        print("\n".join(f"{key:<18} {value}" for key, value in facts.items()), flush=True)
        answers = {row: _ask(row, *rows[row], 1.0)["answer"] for row in rows}
        for row, answer in answers.items():
            if not alike(answer, answers["in-process", "call", 1]):
                raise RecipeError(f"Expected one answer of all, but that of {' '.join(map(str, row))} is another.")
        runs = {row: [] for row in rows}
        for _ in range(options.rounds):
            for row in rows:
                runs[row].append(_ask(row, *rows[row], options.seconds))
    table = _table(runs)
    print(_text(table))
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": table}, indent=1) + "\n")


def _expect_kserve(python):
    look = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('kserve', 'tensorflow'))))"
    with contextlib.suppress(OSError):
        if subprocess.run([python, "-I", "-c", look], check=False).returncode == 0:
            return
    raise RecipeError(
        f"Expected --kserve=PYTHON of an environment with kserve and tensorflow, received {python}. KServe does not go "
        f"into this one: python3 -m venv FOLDER && FOLDER/bin/pip install kserve tensorflow-cpu"
    )


def _request(path):
    """The first row of the card's sample for `serving_default`, in TensorFlow Serving's row format."""
    try:
        request = json.loads((path / "card.json").read_text())["sample"]["serving_default"]["request"]
    except (OSError, KeyError):
        raise RecipeError(f"Expected a sample of serving_default in {path / 'card.json'}.") from None
    return {"instances": [{name: rows[0] for name, rows in request.items()}]}


def _facts(options, path, worker):
    answer = worker.ask("facts")
    if "error" in answer:
        raise RecipeError(f"Expected clients to start, but {answer['error']}.")
    return {
        "machine": machine.processor(),
        "cores": f"{machine.cores()}, which servers and clients share",
        "model": f"{options.serve}, version {path.name}",
        "rounds": f"{options.rounds} of {options.seconds:g} s",
        **answer,
    }


@contextlib.contextmanager
def _started(command, log, ready, **options):
    """A server for which `ready`, a function of what it has written, returns something; gives that."""
    with log.open("w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, **options)
    try:
        ends = time.monotonic() + _START
        while not (found := ready(written := log.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > ends:
                raise RecipeError(f"The server did not start:\n{written[-1500:].strip()}")
            time.sleep(0.1)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def _ours(options, folder):
    """The path of what is served, and the ports."""

    def ready(written):
        return re.search(
            r"version (\d+) answers.*http://\S+:(\d+)\ngRPC: \S+:(\d+)$", written, re.DOTALL | re.MULTILINE
        )

    command = [sys.executable, "-m", "recipes", "serve", options.serve, "--saved-models", options.saved_models]
    with _started([*command, "--port=0", "--grpc-port=0"], folder / "ours", ready, env=_environment()) as match:
        version, rest, grpc = match.groups()
        paths = (options.saved_models.resolve() / options.serve).glob(f"*{version}/")
        path = next(path for path in paths if path.name.lstrip("0") == version)
        yield path, {"REST": int(rest), "gRPC": int(grpc)}


@contextlib.contextmanager
def _kserve(options, path, folder):
    """The ports, and what the script says."""
    ports = {kind: _free_port() for kind in PROTOCOLS}

    def ready(written):
        match = re.search(r"^\{.*\}$", written, re.MULTILINE)
        return match and all(map(_answers, ports.values())) and json.loads(match[0])

    command = [options.kserve, "-I", KSERVE, options.serve, path, ports["REST"], ports["gRPC"], folder / "request"]
    with _started(command, folder / "kserve", ready) as told:
        yield ports, told


def _answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _ask(row, worker, subject, seconds):
    server, kind, clients = row
    answer = worker.ask("in-process" if kind == "call" else kind, **subject, clients=clients, seconds=seconds)
    if "error" in answer:
        raise RecipeError(f"{server} {kind} of {clients} clients: {answer['error']}")
    return answer


def alike(one, other):
    """Tells if two answers, of nested lists and dicts, are the same within 1e-5."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-5)
    return one == other


def _table(runs):
    """Medians over the rounds, and ratios of them."""
    table = {}
    for row, rounds in runs.items():
        figures = {key: statistics.median(run[key] for run in rounds) for key in ("rate", "p50_ms", "p99_ms")}
        named = dict(zip(("server", "protocol", "clients"), row, strict=True))
        table[row] = named | figures | {"rates": [run["rate"] for run in rounds]}
    for (server, kind, clients), row in table.items():
        row["to_call"] = row["rate"] / table["in-process", "call", 1]["rate"]
        if server == "ours" and ("KServe", kind, clients) in table:
            row["to_kserve"] = row["rate"] / table["KServe", kind, clients]["rate"]
    return list(table.values())


def _text(table):
    lines = [f"\n{'':<18} {'clients':>7} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'/call':>7} {'/KServe':>8}"]
    for row in table:
        ratio = format(row["to_kserve"], ".2f") if "to_kserve" in row else ""
        lines.append(
            f"{row['server'] + ' ' + row['protocol']:<18} {row['clients']:>7} {row['rate']:>8.0f} "
            f"{row['p50_ms']:>8.2f} {row['p99_ms']:>8.2f} {row['to_call']:>7.2f} {ratio:>8}"
        )
    return "\n".join(lines) + _LEGEND


_LEGEND = """

Medians over the rounds. Ratios are of requests/s, larger is better: to bare calls of the same SavedModel, one after the
other, and to KServe's server on it, asked by the same clients the same way."""
