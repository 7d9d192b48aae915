"""Subjects of TensorFlow: our layers and models, Keras' own, and what was exported."""

from recipes._core.bench import loads
from recipes._core.errors import RecipeError


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

    def open(self, implementation, cell, size, phase, dtype, mode, lengths=False, varying=False, path=None):
        tf = self.tf
        batch, time_steps, features, units = size
        if phase == "fit":
            return self._fit(implementation, cell, size, mode == "XLA", lengths, varying)
        if path:
            return self._exported(phase, size, path)
        if implementation == "matrix product":
            return self._product(batch * time_steps, features + units, 4 * units, dtype)
        layer = self._layer(implementation, cell, batch, units, dtype, phase)
        if mode == "loop":
            layer.jit_compile = True
        x = tf.random.normal((batch, features) if phase == "step" else (batch, time_steps, features))
        if phase == "step":
            return self._streaming(layer.cell, x, mode == "XLA")
        layer.build(x.shape)
        weights = [w.value for w in layer.trainable_weights]

        @tf.function(jit_compile=mode == "XLA")
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
            model = self.archs.vanilla_lstm(features, units, loads.CLASSES, cell=cell, lengths=lengths)
        else:
            inputs = keras.Input((None, features))
            masked = keras.layers.Masking()(inputs) if lengths else inputs
            outputs = self._layer(implementation, cell, batch, units, "float32", "fit")(masked)
            model = keras.Model(inputs, keras.layers.Dense(loads.CLASSES)(outputs))
        options = {"jit_compile": True} if xla else {}
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"], **options)
        given = [
            ({"inputs": x, "lengths": counts} if lengths and implementation == "archs" else x, y)
            for x, counts, y in loads.batches(size, lengths, varying)
        ]
        if varying:
            spec = tf.nest.map_structure(lambda a: tf.TensorSpec((None,) * a.ndim, a.dtype), given[0])
            data = tf.data.Dataset.from_generator(lambda: iter(given), output_signature=spec)
            # The features of a batch are known, its rows and its time are not.
            fixed = tf.TensorShape((None, None, features))
            data = data.map(lambda x, y: (tf.nest.map_structure(lambda a: _of_shape(a, fixed), x), y)).prefetch(2)
            return loads.counted(lambda: model.fit(data, verbose=0), len(given))
        x, y = tf.nest.map_structure(lambda *parts: self.np.concatenate(parts), *given)
        return loads.counted(lambda: model.fit(x, y, batch_size=batch, verbose=0), len(given))

    def _layer(self, implementation, cell, batch, units, dtype, phase):
        keras, archs = self.keras, self.archs
        policy = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}[dtype]
        if implementation == "keras.layers":
            kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[cell]
            return kind(units, return_sequences=phase != "fit", dtype=policy)
        made = archs.create(cell, units, kind="cell", dtype=policy)
        if made.reads_memory:  # for each row, of 50 entries if the cell takes any number
            made.memorize(self.tf.random.normal((batch, made.memory_entries or 50, made.memory_size)))
        layer = archs.Recurrent if implementation == "archs" or phase == "step" else keras.layers.RNN
        return layer(made, return_sequences=phase != "fit", dtype=policy)

    def _streaming(self, cell, x, xla):
        tf = self.tf
        cell.build(x.shape)
        states = cell.get_initial_state(x.shape[0])
        step = tf.function(lambda x, *states: cell(x, list(states))[1], jit_compile=xla)

        def run():
            new = states
            for _ in range(loads.STEPS):
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

    def export(self, cell, size, folder):
        """Writes a model of one layer, and one of tokens, for the programs that run them. Returns errors by program."""
        from recipes._core.export import artifact, convert, signatures

        archs, tf = self.archs, self.tf
        _, _, features, units = size
        model = archs.vanilla_lstm(features, units, loads.CLASSES, cell=cell)
        writer = archs.generative_lstm(features, [units], loads.VOCABULARY, cell=cell)
        layer, outputs = model.get_layer("recurrent"), model.get_layer("outputs")
        names = layer.cell.states

        def logits(model):
            inputs = [tf.TensorSpec((None, None, features), name="inputs")]
            return signatures.by_name(lambda given: {"logits": model(given["inputs"], training=False)}, inputs)

        def step(given):
            h, states = layer.cell(given["inputs"], [given[name] for name in names])
            return {"logits": outputs(h), **dict(zip(names, states, strict=True))}

        def text(given):
            return {"tokens": archs.generation.generate(writer, given["tokens"], max_new_tokens=loads.TOKENS)[0]}

        initial = dict(zip(names, layer.cell.get_initial_state(1), strict=True))
        specs = [tf.TensorSpec((None, s.shape[-1]), s.dtype, name=name) for name, s in initial.items()]
        functions = {
            "logits": logits(model),
            "step": signatures.by_name(step, [tf.TensorSpec((None, features), name="inputs"), *specs]),
        }
        texts = signatures.by_name(text, [tf.TensorSpec((None, None), tf.int32, name="tokens")])
        artifact.write(f"{folder}/saved_model", functions | {"text": texts})
        artifact.write(f"{folder}/xla", {"logits": logits(signatures.Compiled(model))})
        requests = {
            "logits": {"inputs": tf.random.normal((1, 10, features))},
            "step": {"inputs": tf.random.normal((1, features)), **initial},
        }
        samples = {}
        for name, request in requests.items():
            given = {key: self.np.asarray(value) for key, value in request.items()}
            answer = functions[name](*request.values())
            samples[name] = {"request": given, "answer": {key: value.numpy() for key, value in answer.items()}}
        errors = {}
        for kind, write in (("onnx", convert.onnx), ("litert", convert.litert)):
            try:
                write(functions, samples, f"{folder}/{kind}")
            except RecipeError as error:
                errors[kind] = str(error)
        return errors

    def _exported(self, phase, size, path):
        from recipes._core.export import artifact

        tf, function = self.tf, artifact.load(path).signatures[phase]
        if phase == "text":
            prompt = tf.zeros((size[0], loads.PROMPT), tf.int32)
            return loads.counted(lambda: function(tokens=prompt)["tokens"].numpy(), loads.TOKENS)
        shapes = {name: tuple(spec.shape) for name, spec in function.structured_input_signature[1].items()}

        def call(request):
            return function(**{name: tf.convert_to_tensor(array) for name, array in request.items()})

        return loads.asked(call, shapes, size, phase)

    def _wait(self):
        self.tf.test.experimental.sync_devices()


def _of_shape(a, shape):
    a.set_shape(shape if a.shape.rank == 3 else (None,) * a.shape.rank)
    return a


def _nodes(graph):
    """The operations of a graph and of all functions that it calls."""
    definition = graph.as_graph_def()
    return len(definition.node) + sum(len(function.node_def) for function in definition.library.function)


def _facts(cell):
    """Tells whether a cell has gates, and how many weights enter its matrix products, each once in a time step."""
    kernels = [w for w in cell.weights if "kernel" in w.name and "peephole" not in w.name and len(w.shape) > 1]
    return {"gated": bool(cell.gates), "weights": sum(w.value.shape.num_elements() for w in kernels)}
