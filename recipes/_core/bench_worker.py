"""One library's part of `python -m recipes bench`: a process that builds subjects and times them one run at a time.

It reads JSON lines, `{"do": "open", "key": ..., "subject": ...}`, `{"do": "run", "key": ...}`, `{"do": "close", ...}`
or `{"do": "facts"}`, and answers each with one line. A subject has an implementation, a cell, a size (batch, time,
features, units), a phase and a dtype. A training step is the forward pass over whole sequences, all outputs returned,
and the gradient of every weight for the mean of their squares; inference is the forward pass alone; a streaming step
is one time step, called from Python with the states of the one before. A fit is an epoch of whole training steps,
batches of NumPy's arrays read and all, of a model whose last output goes through a dense layer; its time is of a step.
"""

import contextlib
import functools
import json
import os
import resource
import sys
import time

TORCH = {"gru": "GRU", "simple_rnn": "RNN", "irnn": "RNN", "lstm": "LSTM"}
TORCHRECURRENT = {
    "indrnn": "IndRNN",
    "lstm_1997": "OriginalLSTM",
    "mgu": "MGU",
    "multiplicative_lstm": "MultiplicativeLSTM",
    "mut1": "MUT1",
    "mut2": "MUT2",
    "mut3": "MUT3",
    "peephole_lstm": "PeepholeLSTM",
    "scrn": "SCRN",
    "ugrnn": "UGRNN",
}
FLAX = {"lstm": "OptimizedLSTMCell", "gru": "GRUCell", "simple_rnn": "SimpleCell"}
STEPS = 50  # of a streaming step in one timed run
BATCHES = 20  # of a fit, where all have one time
TIMES = range(20, 101)  # of the batches of a fit, where each has its own
CLASSES = 10


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


class TensorFlow:
    """Our layer, Keras' loop over the same cell, Keras' own layers, and one large matrix product, the floor."""

    def __init__(self, threads, device):
        import tensorflow as tf

        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        else:
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.get_logger().setLevel("ERROR")
        import keras
        import numpy as np

        import archs

        self.tf, self.keras, self.np, self.archs = tf, keras, np, archs

    def facts(self):
        config, device = self.tf.config, "CPU"
        if config.list_logical_devices("GPU"):
            details = config.experimental.get_device_details(config.list_physical_devices("GPU")[0])
            device = details.get("device_name", "GPU")
        return {"tensorflow": self.tf.__version__, "keras": self.keras.__version__, "device": device}

    def open(self, implementation, cell, size, phase, dtype, xla, lengths=False, varying=False):
        tf = self.tf
        batch, time_steps, features, units = size
        if phase == "fit":
            return self._fit(implementation, cell, size, xla, lengths, varying)
        if implementation == "matrix product":
            return self._product(batch * time_steps, features + units, 4 * units, dtype)
        layer = self._layer(implementation, cell, batch, units, dtype, phase)
        x = tf.random.normal((batch, features) if phase == "step" else (batch, time_steps, features))
        if phase == "step":
            return self._streaming(layer.cell, x, xla)
        layer.build(x.shape)
        weights = [w.value for w in layer.trainable_weights]

        @tf.function(jit_compile=xla)
        def step(x):
            if phase == "inference":
                return layer(x)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.cast(layer(x, training=True), "float32") ** 2)
            return tape.gradient(loss, weights)

        def run():
            step(x)
            self._wait()

        run.facts = lambda: {
            "graph_nodes": _nodes(step.get_concrete_function(x).graph),
            **(_facts(layer.cell) if implementation == "archs" else {}),
        }
        return run

    def _fit(self, implementation, cell, size, xla, lengths, varying):
        keras, tf = self.keras, self.tf
        batch, _, features, units = size
        if implementation == "archs":
            model = self.archs.vanilla_lstm(features, units, CLASSES, cell=cell, lengths=lengths)
        else:
            inputs = keras.Input((None, features))
            masked = keras.layers.Masking()(inputs) if lengths else inputs
            outputs = self._layer(implementation, cell, batch, units, "float32", "fit")(masked)
            model = keras.Model(inputs, keras.layers.Dense(CLASSES)(outputs))
        options = {"jit_compile": True} if xla else {}
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"], **options)
        given = [
            ({"inputs": x, "lengths": counts} if lengths and implementation == "archs" else x, y)
            for x, counts, y in batches(size, lengths, varying)
        ]
        if varying:
            spec = tf.nest.map_structure(lambda a: tf.TensorSpec((None,) * a.ndim, a.dtype), given[0])
            data = tf.data.Dataset.from_generator(lambda: iter(given), output_signature=spec)
            # The features of a batch are known, its rows and its time are not.
            fixed = tf.TensorShape((None, None, features))
            data = data.map(lambda x, y: (tf.nest.map_structure(lambda a: _of_shape(a, fixed), x), y)).prefetch(2)
            return _epoch(lambda: model.fit(data, verbose=0), len(given))
        x, y = tf.nest.map_structure(lambda *parts: self.np.concatenate(parts), *given)
        return _epoch(lambda: model.fit(x, y, batch_size=batch, verbose=0), len(given))

    def _layer(self, implementation, cell, batch, units, dtype, phase):
        keras, archs = self.keras, self.archs
        policy = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}[dtype]
        if implementation == "keras.layers":
            kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[cell]
            return kind(units, return_sequences=phase != "fit", dtype=policy)
        made = archs.create(cell, units, dtype=policy)
        if made.reads_memory:  # 50 entries for each row
            made.memorize(self.tf.random.normal((batch, 50, units)))
        layer = archs.Recurrent if implementation == "archs" or phase == "step" else keras.layers.RNN
        return layer(made, return_sequences=phase != "fit", dtype=policy)

    def _streaming(self, cell, x, xla):
        tf = self.tf
        cell.build(x.shape)
        states = cell.get_initial_state(x.shape[0])
        step = tf.function(lambda x, *states: cell(x, list(states))[1], jit_compile=xla)

        def run():
            new = states
            for _ in range(STEPS):
                new = step(x, *new)
            self._wait()

        return run

    def _product(self, rows, inner, columns, dtype):
        tf = self.tf
        a, b = (tf.cast(tf.random.normal(shape), dtype) for shape in ((rows, inner), (inner, columns)))
        multiply = tf.function(lambda a, b: a @ b)

        def run():
            multiply(a, b)
            self._wait()

        return run

    def _wait(self):
        self.tf.test.experimental.sync_devices()


class Torch:
    """Layers of torch and torchrecurrent."""

    def __init__(self, threads, device):
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"

    def facts(self):
        name = self.torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        return {"torch": self.torch.__version__, "torch device": name}

    def open(self, implementation, cell, size, phase, dtype, xla, lengths=False, varying=False):
        torch = self.torch
        batch, time_steps, features, units = size
        if phase == "fit":
            return self._fit(cell, size, lengths, varying)
        batch_first = implementation == "torch"
        if implementation == "torch":
            options = {"nonlinearity": "relu"} if cell == "irnn" else {}
            layer = getattr(torch.nn, TORCH[cell])(features, units, batch_first=True, **options)
        else:
            import torchrecurrent

            layer = getattr(torchrecurrent, TORCHRECURRENT[cell])(features, units)
        kind = getattr(torch, dtype)
        layer = layer.to(self.device, kind)
        length = 1 if phase == "step" else time_steps
        shape = (batch, length, features) if batch_first else (length, batch, features)
        x = torch.randn(*shape, device=self.device, dtype=kind)

        def run():
            if phase == "train":
                layer.zero_grad()
                (layer(x)[0].float() ** 2).mean().backward()
            else:
                with torch.no_grad():
                    state = None
                    for _ in range(STEPS if phase == "step" else 1):
                        state = (layer(x, state) if state is not None else layer(x))[1]
            if self.device == "cuda":
                torch.cuda.synchronize()

        return run

    def _fit(self, cell, size, lengths, varying):
        torch, functional = self.torch, self.torch.nn.functional
        _, _, features, units = size
        layer = getattr(torch.nn, TORCH[cell])(features, units, batch_first=True).to(self.device)
        dense = torch.nn.Linear(units, CLASSES).to(self.device)
        optimizer = torch.optim.Adam([*layer.parameters(), *dense.parameters()])
        given = [
            [None if a is None else torch.from_numpy(a) for a in arrays] for arrays in batches(size, lengths, varying)
        ]

        def answer(x, counts):
            if counts is None:
                return dense(layer(x)[0][:, -1])
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
            states = layer(packed)[1]
            return dense((states[0] if isinstance(states, tuple) else states)[0])

        def epoch():
            right = 0
            for x, counts, y in given:
                x, y = x.to(self.device), y.to(self.device)
                optimizer.zero_grad()
                logits = answer(x, counts)
                functional.cross_entropy(logits, y).backward()
                optimizer.step()
                right += int((logits.argmax(1) == y).sum())

        return _epoch(epoch, len(given))


class Flax:
    """Cells of Flax NNX, compiled."""

    def __init__(self, threads, device):
        if device == "cpu":
            os.environ["JAX_PLATFORMS"] = "cpu"
        import flax
        import jax

        self.jax, self.flax = jax, flax

    def facts(self):
        return {"jax": self.jax.__version__, "flax": self.flax.__version__, "jax device": str(self.jax.devices()[0])}

    def open(self, implementation, cell, size, phase, dtype, xla):
        from flax import nnx

        jax = self.jax
        batch, time_steps, features, units = size
        made = getattr(nnx, FLAX[cell])(features, units, rngs=nnx.Rngs(0), dtype=dtype)
        layer = nnx.RNN(made)
        shape = (batch, features) if phase == "step" else (batch, time_steps, features)
        x = jax.random.normal(jax.random.key(0), shape).astype(dtype)
        if phase == "step":
            return self._streaming(nnx, made, x)

        def loss(layer, x):
            return (layer(x).astype("float32") ** 2).mean()

        step = nnx.jit(nnx.grad(loss)) if phase == "train" else nnx.jit(lambda layer, x: layer(x))
        return lambda: jax.block_until_ready(jax.tree.leaves(step(layer, x)))

    def _streaming(self, nnx, made, x):
        step = nnx.jit(lambda cell, state, x: cell(state, x)[0])
        first = made.initialize_carry(x.shape, nnx.Rngs(0))

        def run():
            state = first
            for _ in range(STEPS):
                state = step(made, state, x)
            self.jax.block_until_ready(state)

        return run


class OnnxRuntime:
    """A streaming step of the operators that ONNX has."""

    def __init__(self, threads, device):
        import onnxruntime

        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.onnxruntime = onnxruntime

    def facts(self):
        return {"onnxruntime": self.onnxruntime.__version__}

    def open(self, implementation, cell, size, phase, dtype, xla):
        import numpy as np
        from onnx import TensorProto, helper, numpy_helper

        if dtype != "float32":
            raise ValueError(f"Expected float32, which these operators are for, received {dtype}.")
        batch, _, features, units = size
        gates = {"lstm": 4, "gru": 3}[cell]
        states = ["h", "c"][: 2 if cell == "lstm" else 1]

        def value(name, shape):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        draw = np.random.default_rng(0)
        weights = {"W": (1, gates * units, features), "R": (1, gates * units, units), "B": (1, 2 * gates * units)}
        node = helper.make_node(
            cell.upper(),
            ["x", *weights, "", *states],
            ["", *(f"new_{s}" for s in states)],
            hidden_size=units,
        )
        graph = helper.make_graph(
            [node],
            "step",
            [value("x", (1, batch, features)), *(value(s, (1, batch, units)) for s in states)],
            [value(f"new_{s}", (1, batch, units)) for s in states],
            [numpy_helper.from_array(draw.normal(size=s).astype("f") / 20, name) for name, s in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = self.onnxruntime.InferenceSession(
            model.SerializeToString(), self.options, providers=["CPUExecutionProvider"]
        )
        x = draw.normal(size=(1, batch, features)).astype("f")

        def run():
            new = [np.zeros((1, batch, units), "f")] * len(states)
            for _ in range(STEPS):
                new = session.run(None, {"x": x, **dict(zip(states, new, strict=True))})

        return run


LIBRARIES = {"tensorflow": TensorFlow, "torch": Torch, "flax": Flax, "onnxruntime": OnnxRuntime}


def _epoch(run, steps):
    run.steps = steps
    return run


def _of_shape(a, shape):
    a.set_shape(shape if a.shape.rank == 3 else (None,) * a.shape.rank)
    return a


def _nodes(graph):
    """The operations of a graph and of all functions that it calls."""
    definition = graph.as_graph_def()
    return len(definition.node) + sum(len(function.node_def) for function in definition.library.function)


def _facts(cell):
    """Whether a cell has gates, and how many weights enter its matrix products, each once in a time step."""
    kernels = [w for w in cell.weights if "kernel" in w.name and "peephole" not in w.name and len(w.shape) > 1]
    return {"gated": bool(cell.gates), "weights": sum(w.value.shape.num_elements() for w in kernels)}


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
        return LIBRARIES[library](threads, device)

    def answer(request):
        if request["do"] == "facts":
            return maker().facts()
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
