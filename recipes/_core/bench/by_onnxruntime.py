"""Subjects of ONNX Runtime."""

from recipes._core.bench import loads


class OnnxRuntime:
    """A streaming step of the operators that ONNX has, or an exported signature."""

    def __init__(self, threads, device):
        import onnxruntime

        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.onnxruntime = onnxruntime

    def facts(self):
        return {"onnxruntime": self.onnxruntime.__version__}

    def open(self, implementation, cell, size, phase, dtype, mode, path=None):
        if path:
            return self._exported(size, phase, path)
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
            for _ in range(loads.STEPS):
                new = session.run(None, {"x": x, **dict(zip(states, new, strict=True))})

        return run

    def _exported(self, size, phase, path):
        session = self.onnxruntime.InferenceSession(path, self.options, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        inputs = {one.name: one.shape for one in session.get_inputs()}
        return loads.asked(
            lambda request: dict(zip(outputs, session.run(None, request), strict=True)), inputs, size, phase
        )
