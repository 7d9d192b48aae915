"""Loads: batches, requests and counts that every library is asked for alike."""

STEPS = 50  # of a streaming step in one timed run
BATCHES = 20  # of a fit, where all have one time
TIMES = range(20, 101)  # of the batches of a fit, where each has its own
CLASSES = 10
VOCABULARY, PROMPT, TOKENS = 100, 10, 100  # of a text that is written


def batches(size, lengths, varying):
    """Batches of a fit: (inputs, lengths or None, labels), NumPy arrays. With `varying`, 50 times in any order."""
    import numpy as np

    batch, time_steps, features, _ = size
    draw = np.random.default_rng(0)
    times = [time_steps] * BATCHES
    if varying:
        times = draw.permutation(np.round(np.linspace(TIMES[0], TIMES[-1], 50)).astype(int)).tolist()
    for length in times:
        counts = draw.integers(length // 2, length + 1, size=batch)
        counts[0] = length
        x = draw.normal(size=(batch, length, features)).astype("float32")
        if lengths:
            x[np.arange(length) >= counts[:, None]] = 0
        yield x, counts.astype("int32") if lengths else None, draw.integers(0, CLASSES, size=batch)


def counted(run, steps):
    """`run`, whose time is told of one of so many steps."""
    run.steps = steps
    return run


def asked(call, inputs, size, phase):
    """A run of an exported signature: one request, or streaming steps whose states come back in the next.

    Args:
        call: of a dict of name to array; returns one, of the states as `next_...`, or by their own names.
        inputs: dict of name to shape.
        size: (batch, time, features, units).
        phase: "logits" or "step".
    """
    import numpy as np

    batch, time_steps, *_ = size
    draw = np.random.default_rng(0)
    known = {0: batch, 1: time_steps}
    request = {}
    for name, shape in inputs.items():
        shape = [n if isinstance(n, (int, np.integer)) and n > 0 else known[axis] for axis, n in enumerate(shape)]
        request[name] = draw.normal(size=shape).astype("float32")
    states = [name for name in request if name != "inputs"]

    def run():
        given = request
        for _ in range(STEPS if phase == "step" else 1):
            answer = call(given)
            given = request | {name: answer[f"next_{name}" if f"next_{name}" in answer else name] for name in states}

    return counted(run, STEPS) if phase == "step" else run
