"""Peers: the libraries that are measured beside ours, their layers, and which of them are installed."""

import importlib.util

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
KERAS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}
PEERS = {
    "torch": ("torch", TORCH),
    "torchrecurrent": ("torch", TORCHRECURRENT),
    "flax": ("flax", FLAX),
    "onnxruntime": ("onnxruntime", {"lstm": "LSTM", "gru": "GRU"}),
}
TITLES = {
    "archs": lambda cell: f"archs.Recurrent({cell})",
    "keras.layers.RNN": lambda cell: f"keras.layers.RNN({cell})",
    "keras.layers": lambda cell: f"keras.layers.{KERAS[cell]}",
    "torch": lambda cell: f"torch.nn.{TORCH[cell]}",
    "torchrecurrent": lambda cell: f"torchrecurrent.{TORCHRECURRENT[cell]}",
    "flax": lambda cell: f"flax.nnx.{FLAX[cell]}",
    "onnxruntime": lambda cell: f"onnxruntime {cell.upper()}",
}


def implementations(cell, phase):
    """Names what is measured for a cell: ours, Keras', and the peers that are installed and have it."""
    names = ["archs"]
    if phase != "step":
        names += ["keras.layers.RNN", *(["keras.layers"] if cell in KERAS else [])]
    for peer in installed():
        if cell in PEERS[peer][1] and (phase == "step") >= (peer == "onnxruntime"):
            names.append(peer)
    return names


def installed():
    needs = {"onnxruntime": ("onnxruntime", "onnx"), "torchrecurrent": ("torch", "torchrecurrent")}
    return [p for p in PEERS if all(importlib.util.find_spec(module) for module in needs.get(p, (p,)))]


def library_of(implementation):
    return PEERS[implementation][0] if implementation in PEERS else "tensorflow"
