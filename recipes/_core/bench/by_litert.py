"""Subjects of LiteRT."""

import importlib.metadata

from recipes._core.bench import loads


class LiteRT:
    """An exported signature."""

    def __init__(self, threads, device):
        from ai_edge_litert import interpreter

        self.threads, self.interpreter = threads, interpreter

    def facts(self):
        return {"litert": importlib.metadata.version("ai-edge-litert")}

    def open(self, implementation, cell, size, phase, dtype, mode, path):
        runner = self.interpreter.Interpreter(path, num_threads=self.threads).get_signature_runner()
        inputs = {name: details["shape_signature"] for name, details in runner.get_input_details().items()}
        return loads.asked(lambda request: runner(**request), inputs, size, phase)
