"""The cells that torch and torchrecurrent have, too, give their numbers with the same weights."""

import numpy as np
import pytest
import tensorflow as tf

import archs
from archs import exchange

# torch's CUDA build warns where there is no GPU.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:CUDA initialization:UserWarning")]

TORCH = {
    "LSTM": ("lstm", {}),
    "LSTM with a projection": ("projected_lstm", {"peepholes": False, "projection_units": 2}),
    "GRU": ("gru", {"reset_after": True}),
    "RNN": ("simple_rnn", {}),
    "RNN of rectified linear units": ("irnn", {}),
}


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def torch_layer(name, options, bias, layers=1, bidirectional=False):
    import torch

    made = {"input_size": 4, "hidden_size": 6, "num_layers": layers, "bias": bias, "bidirectional": bidirectional}
    further = {
        "projected_lstm": {"proj_size": options.get("projection_units")},
        "irnn": {"nonlinearity": "relu"},
    }.get(name, {})
    kind = {"lstm": "LSTM", "projected_lstm": "LSTM", "gru": "GRU"}.get(name, "RNN")
    return getattr(torch.nn, kind)(**made, **further, batch_first=True, dtype=torch.float64)


@pytest.mark.parametrize(("name", "options"), TORCH.values(), ids=TORCH)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
def test_torch_layer_into_ours(name, options, bias, backwards):
    """Outputs, final states and the gradient of the inputs, of either direction."""
    import torch

    theirs = torch_layer(name, options, bias, bidirectional=backwards)
    ours = archs.Recurrent(
        archs.create(name, 6, use_bias=bias, dtype="float64", **options),
        return_sequences=True,
        return_state=True,
        go_backwards=backwards,
    )
    x = random(3, 5, 4)
    ours.build(x.shape)
    state_dict = {key: a.numpy() for key, a in theirs.state_dict().items()}
    exchange.set_weights(ours.cell, exchange.from_torch(name, state_dict, reverse=backwards))
    their_x, our_x = torch.tensor(x, requires_grad=True), tf.constant(x)
    outputs, finals = theirs(their_x)
    size = ours.cell.output_size
    outputs = outputs.flip(1)[:, :, size:] if backwards else outputs
    weight = random(3, 5, size, seed=1)
    (outputs * torch.tensor(weight)).sum().backward()
    with tf.GradientTape() as tape:
        tape.watch(our_x)
        received, *states = ours(our_x)
        loss = tf.reduce_sum(received * weight)
    np.testing.assert_allclose(received, outputs.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(tape.gradient(loss, our_x), their_x.grad.numpy(), rtol=0, atol=1e-12)
    finals = finals if isinstance(finals, tuple) else (finals,)
    for state, final in zip(states, finals, strict=True):
        np.testing.assert_allclose(state, final[-1].detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), TORCH.values(), ids=TORCH)
def test_our_stack_into_a_torch_layer(name, options):
    import torch

    theirs = torch_layer(name, options, bias=True, layers=2)
    cells = [archs.create(name, 6, dtype="float64", **options) for _ in range(2)]
    stack = archs.Recurrent(cells, return_sequences=True)
    stack.build((None, None, 4))
    state_dict = {}
    for layer, cell in enumerate(cells):
        weights = {key: random(*a.shape, seed=layer) for key, a in exchange.get_weights(cell).items()}
        exchange.set_weights(cell, weights)
        state_dict |= exchange.to_torch(name, weights, layer=layer)
    theirs.load_state_dict({key: torch.tensor(a) for key, a in state_dict.items()})
    x = random(3, 5, 4)
    np.testing.assert_allclose(stack(x), theirs(torch.tensor(x))[0].detach().numpy(), rtol=0, atol=1e-12)


# --- torchrecurrent: its class, our arguments, and how our weights become its own. It has two biases where we have one;
# `bias_ih` gets ours and the others stay at zero, unless one is inside a nonlinearity of its own.


def _packed(weights, blocks, order=None):
    """weight_ih, weight_hh and bias_ih from ours, the gate blocks (by number) in the other order."""

    def turned(a):
        parts = np.split(a, blocks, axis=-1)
        return np.concatenate([parts[i] for i in order or range(blocks)], axis=-1).T

    hidden = weights["recurrent_kernel"]
    return {
        "weight_ih": turned(weights["kernel"]),
        "weight_hh": turned(hidden) if hidden.shape[-1] == weights["kernel"].shape[-1] else hidden.T,
        "bias_ih": turned(weights["bias"]),
    }


def _indrnn(w):
    return {"weight_ih": w["kernel"].T, "vector_u": w["recurrent_kernel"], "bias_ih": w["bias"]}


def _peephole(w):
    return _packed(w, 4) | {"weight_ph": w["peephole_kernel"].reshape(-1)}


def _mut1(w):
    z, r, h = np.split(w["bias"], 3)
    inside = {"bias_ih": np.concatenate([z, r, np.zeros_like(h)]), "bias_hh": np.concatenate([np.zeros_like(r), h])}
    return _packed(w, 3) | inside


def _multiplicative(w):
    return {
        "weight_ih": np.concatenate([w["multiplicative_kernel"], w["kernel"]], axis=1).T,
        "weight_hh": w["multiplicative_recurrent_kernel"].T,
        "weight_mh": w["recurrent_kernel"].T,
        "bias_mh": w["bias"],
    }


TORCHRECURRENT = {
    "indrnn": ("IndRNNCell", {"activation": "tanh"}, _indrnn),
    "lstm_1997": (
        "OriginalLSTMCell",
        {"activation": "tanh", "output_activation": "tanh"},
        lambda w: _packed(w, 3),
    ),
    "mgu": ("MGUCell", {}, lambda w: _packed(w, 2)),
    "multiplicative_lstm": ("MultiplicativeLSTMCell", {}, _multiplicative),
    "mut1": ("MUT1Cell", {}, _mut1),
    "mut2": ("MUT2Cell", {}, lambda w: _packed(w, 3)),
    "mut3": ("MUT3Cell", {}, lambda w: _packed(w, 3)),
    "peephole_lstm": ("PeepholeLSTMCell", {}, _peephole),
    "ugrnn": ("UGRNNCell", {}, lambda w: _packed(w, 2, order=(1, 0))),
}


@pytest.mark.parametrize("name", TORCHRECURRENT)
def test_torchrecurrent_has_the_same_step(name):
    import torch
    import torchrecurrent

    class_name, options, convert = TORCHRECURRENT[name]
    ours, theirs = archs.create(name, 6, dtype="float64", **options), getattr(torchrecurrent, class_name)(4, 6)
    theirs = theirs.double()
    ours.build((None, 4))
    weights = {w.name: random(*w.shape, seed=i) for i, w in enumerate(ours.weights)}
    exchange.set_weights(ours, weights)
    parameters = dict(theirs.named_parameters())
    converted = convert(weights)
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(torch.tensor(converted.pop(key, np.zeros(parameter.shape))))
    assert not converted
    states = [random(3, 6, seed=10 + i) for i in range(len(ours.states))]
    for step in range(3):
        x = random(3, 4, seed=20 + step)
        their_states = [torch.tensor(s) for s in states]
        received = theirs(torch.tensor(x), tuple(their_states) if len(states) > 1 else their_states[0])
        received = received if isinstance(received, tuple) else (received,)
        states = [np.asarray(s) for s in ours(x, [tf.constant(s) for s in states])[1]]
        for ours_state, their_state in zip(states, received, strict=True):
            np.testing.assert_allclose(ours_state, their_state.detach().numpy(), rtol=0, atol=1e-12)


def test_torchrecurrents_scrn_feeds_back_its_output_where_the_paper_feeds_back_the_hidden_units():
    """Its h is the paper's, but the state it hands on is tanh(W h + V s), the paper's output layer without softmax."""
    import torch
    import torchrecurrent

    ours = archs.SCRNCell(6, context_units=6, alpha=0.5, dtype="float64", use_bias=False)
    theirs = torchrecurrent.SCRNCell(4, 6, alpha=0.5).double()
    ours.build((None, 4))
    weights = {w.name: random(*w.shape, seed=i) for i, w in enumerate(ours.weights)}
    exchange.set_weights(ours, weights)
    to_h, to_s = np.split(weights["kernel"], 2, axis=1)
    from_h, from_s = np.split(weights["recurrent_kernel"], 2, axis=0)
    output = random(6, 6, seed=5)
    converted = {
        "weight_ih": np.concatenate([to_s, to_h], axis=1).T,
        "weight_hh": np.concatenate([from_h, output], axis=1).T,
        "weight_ch": np.concatenate([from_s, np.zeros((6, 6))], axis=1).T,
        "alpha": np.array(0.5),
    }
    with torch.no_grad():
        for key, parameter in theirs.named_parameters():
            parameter.copy_(torch.tensor(converted.pop(key, np.zeros(parameter.shape))))
    h, s, x = (random(3, 6, seed=6), random(3, 6, seed=7), random(3, 4, seed=8))
    y, context = theirs(torch.tensor(x), (torch.tensor(h), torch.tensor(s)))
    state = np.asarray(ours(x, [tf.constant(np.concatenate([h, s], axis=1))])[0])
    np.testing.assert_allclose(state[:, 6:], context.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.tanh(state[:, :6] @ output), y.detach().numpy(), rtol=0, atol=1e-12)
