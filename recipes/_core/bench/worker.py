"""One library's part of the benchmark: a process that builds subjects and times them one run at a time.

It reads JSON lines, `{"do": "open", "key": ..., "subject": ...}`, `{"do": "run", "key": ...}`, `{"do": "close", ...}`,
`{"do": "export", ...}` or `{"do": "facts"}`, and answers each with one line. A subject has an implementation, a cell, a
size (batch, time, features, units), a phase and a dtype. A training step is the forward pass over whole sequences, all
outputs returned, and the gradient of every weight for the mean of their squares; inference is the forward pass alone; a
streaming step is one time step, called from Python with the states of the one before. A fit is an epoch of whole
training steps of a model whose last output goes through a dense layer, NumPy's batches read and all; its time is that
of a step. Exports are asked for one request, a streaming step or a text; the time of a text is that of a token.
"""

import contextlib
import functools
import importlib
import json
import os
import resource
import sys
import time

LIBRARIES = {
    "tensorflow": "TensorFlow",
    "torch": "Torch",
    "flax": "Flax",
    "onnxruntime": "OnnxRuntime",
    "litert": "LiteRT",
}


def _peak_memory():
    """The most memory that this process has held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main(library, threads, device):
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    subjects = {}

    @functools.cache
    def maker():
        module = importlib.import_module(f"recipes._core.bench.by_{library}")
        return getattr(module, LIBRARIES[library])(threads, device)

    def answer(request):
        if request["do"] == "facts":
            return maker().facts()
        if request["do"] == "export":
            return maker().export(request["cell"], request["size"], request["folder"])
        key = request["key"]
        if request["do"] == "open":
            open_subject = maker().open
            before, started = _peak_memory(), time.perf_counter()
            run = open_subject(**request["subject"])
            run()
            first, started = time.perf_counter() - started, time.perf_counter()
            run()
            compiled = max(0.0, first - (time.perf_counter() - started))
            subjects[key] = run
            facts = {"compile_s": compiled, "memory_mib": _peak_memory() - before}
            return facts | (run.facts() if hasattr(run, "facts") else {})
        if request["do"] == "close":
            del subjects[key]
            return {}
        started = time.perf_counter()
        subjects[key]()
        return {"ms": (time.perf_counter() - started) * 1000 / getattr(subjects[key], "steps", 1)}

    for line in sys.stdin:
        try:
            result = answer(json.loads(line))
        except Exception as error:  # whatever a peer raises is its row's answer
            result = {"error": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
