"""Subjects of torch: its layers, and those of torchrecurrent."""

from recipes._core.bench import loads, peers


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

    def open(self, implementation, cell, size, phase, dtype, mode, lengths=False, varying=False, path=None):
        if path:
            return self._exported(implementation == "torch.export", cell, size, phase)
        torch = self.torch
        batch, time_steps, features, units = size
        if phase == "fit":
            return self._fit(cell, size, lengths, varying)
        batch_first = implementation == "torch"
        if implementation == "torch":
            layer = self._layer(cell, features, units)
        else:
            import torchrecurrent

            layer = getattr(torchrecurrent, peers.TORCHRECURRENT[cell])(features, units)
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
                    for _ in range(loads.STEPS if phase == "step" else 1):
                        state = (layer(x, state) if state is not None else layer(x))[1]
            if self.device == "cuda":
                torch.cuda.synchronize()

        return run

    def _layer(self, cell, features, units):
        options = {"nonlinearity": "relu"} if cell == "irnn" else {}
        return getattr(self.torch.nn, peers.TORCH[cell])(features, units, batch_first=True, **options)

    def _fit(self, cell, size, lengths, varying):
        torch, functional = self.torch, self.torch.nn.functional
        _, _, features, units = size
        layer = self._layer(cell, features, units).to(self.device)
        dense = torch.nn.Linear(units, loads.CLASSES).to(self.device)
        optimizer = torch.optim.Adam([*layer.parameters(), *dense.parameters()])
        given = [
            [None if a is None else torch.from_numpy(a) for a in arrays]
            for arrays in loads.batches(size, lengths, varying)
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

        return loads.counted(epoch, len(given))

    def _exported(self, is_exported, cell, size, phase):
        torch = self.torch
        batch, time_steps, features, units = size
        rows = loads.VOCABULARY if phase == "text" else loads.CLASSES
        embedding, dense = torch.nn.Embedding(loads.VOCABULARY, features), torch.nn.Linear(units, rows)
        layer = self._layer(cell, features, units)

        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer, self.dense = layer, dense

            def forward(self, x, states):
                outputs, states = self.layer(x, states)
                return self.dense(outputs[:, -1]), states

        model, zeros = Model().eval(), torch.zeros(1, batch, units)
        states = (zeros, zeros) if cell == "lstm" else zeros
        x = torch.randn(batch, 1 if phase == "step" else time_steps, features)
        if is_exported:
            model = torch.export.export(model, (x, states)).module()

        @torch.no_grad()
        def run():
            new = states
            for _ in range(loads.STEPS if phase == "step" else 1):
                _, new = model(x, new)

        @torch.no_grad()
        def write():
            logits, new = model(embedding(torch.zeros((batch, loads.PROMPT), dtype=torch.int64)), states)
            for _ in range(loads.TOKENS):
                token = torch.multinomial(torch.softmax(logits, -1), 1)
                logits, new = model(embedding(token), new)

        if phase == "text":
            return loads.counted(write, loads.TOKENS)
        return loads.counted(run, loads.STEPS) if phase == "step" else run
