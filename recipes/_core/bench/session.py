"""One run of the benchmark: a process for each library, and subjects that take turns.

Each library runs on the same number of cores. Subjects that are compared run one after the other in every round, so
that what disturbs the machine disturbs all of them alike.
"""

import json
import os
import statistics
import subprocess
import sys

from recipes._core.bench import peers
from recipes._core.errors import RecipeError
from recipes._core.machine import processor


class Worker:
    """A process of one library, asked line by line."""

    def __init__(self, library, threads, device):
        command = [sys.executable, "-m", "recipes._core.bench.worker", library, str(threads), device]
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


class Session:
    """The workers, options and rows of a run."""

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
        """Tells what the figures depend on: the machine, the libraries, the options."""
        libraries = {"tensorflow", *(peers.PEERS[peer][0] for peer in peers.installed())}
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

    def open(self, opened, mode, library, subject):
        """Adds to `opened`, by its mode: the worker, its key there, and its answer to `open`."""
        key, worker = " ".join(map(str, mode)), self.worker(library)
        opened[mode] = worker, key, worker.ask("open", key=key, subject=subject | {"dtype": self.options.dtype})

    def times(self, opened):
        """Runs in turns what was opened, and closes it.

        Returns:
            Dict of mode to the milliseconds of its rounds; without those that failed, whose answer tells the error.
        """
        running = {mode: o for mode, o in opened.items() if "error" not in o[2]}
        times = {mode: [] for mode in running}
        for _ in range(self.options.rounds):
            for mode, (worker, key, _) in running.items():
                answer = worker.ask("run", key=key)
                times[mode].append(answer.get("ms"))
                opened[mode][2].update({"error": answer["error"]} if "error" in answer else {})
        for worker, key, _ in running.values():
            worker.ask("close", key=key)
        return {mode: values for mode, values in times.items() if None not in values}


def figures(times):
    """Columns of a row, from the milliseconds of its rounds."""
    low, median, high = statistics.quantiles(times, n=4)
    return {"ms": median, "quartiles_ms": [low, high], "best_ms": min(times)}


def ratio(a, b):
    return None if a is None or not b else a / b
