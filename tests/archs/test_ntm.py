"""The Neural Turing Machine as a model: its arguments, lengths, files, and where it looked."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
LENGTHS = np.array([5, 2, 3])
SMALL = {"memory_locations": 16, "memory_width": 3}


def test_the_arguments_reach_the_cell():
    given = {
        "memory_locations": 9,
        "memory_width": 5,
        "read_heads": 2,
        "write_heads": 3,
        "shift_range": 4,
        "read_memory": "new",
        "first_weighting": "learned",
        "first_memory": "learned",
        "learn_first_states": True,
        "output_reads": False,
        "clip": 10.0,
        "recurrent_dropout": 0.25,
    }
    activations = {"key_activation": "relu", "add_activation": "linear"}
    for controller in (None, "gru"):
        cell = archs.ntm(4, 6, 2, cell=controller, **given, **activations).get_layer("recurrent_1").cell
        assert {name: getattr(cell, name) for name in given} == given
        assert (cell.key_activation, cell.add_activation) == (keras.activations.relu, keras.activations.linear)
        assert (cell.cell if controller is None else type(cell.cell)) == (controller and archs.GRUCell)


def test_an_answer_for_each_step_or_one():
    assert archs.ntm(4, 6, 2, **SMALL)(X).shape == (3, 5, 2)
    assert archs.ntm(4, 6, 2, cell=None, return_sequences=False, **SMALL)(X).shape == (3, 2)
    assert archs.ntm(4, 6, 2, pooling="attention", **SMALL)(X).shape == (3, 2)
    assert archs.ntm(4, 6, None, **SMALL)(X).shape == (3, 5, 9)
    assert archs.ntm(4, 6, 2, vocabulary=9, **SMALL)(np.ones((3, 5), int)).shape == (3, 5, 2)


def test_losses_leave_out_what_is_behind_the_lengths():
    model = archs.ntm(4, 6, 2, lengths=True, **SMALL)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    y = np.random.default_rng(1).integers(0, 2, size=(3, 5, 2))
    changed = np.where((np.arange(5) < LENGTHS[:, None])[..., None], y, 1 - y)
    x = {"inputs": X, "lengths": LENGTHS}
    assert model.evaluate(x, y, verbose=0) == model.evaluate(x, changed, verbose=0)


def test_a_stateful_model_goes_on_and_an_export_answers_alike(tmp_path):
    model = archs.ntm(4, 6, 2, stateful=True, batch_size=3, first_memory="learned", **SMALL)
    whole = np.concatenate([model(X[:, :2]), model(X[:, 2:])], axis=1)
    model.get_layer("recurrent_1").reset_state()
    np.testing.assert_allclose(whole, model(X), atol=1e-6)
    plain = archs.ntm(4, 6, 2, first_memory="learned", **SMALL)
    plain.set_weights([np.asarray(w) for w in model.weights if w.name != "rnn_state"])
    plain.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.serve(X), whole, atol=1e-6)


@pytest.mark.parametrize("read_memory", ["old", "new"])
def test_the_trace_is_what_the_model_did(read_memory):
    sizes = {"read_heads": 2, "write_heads": 2, "read_memory": read_memory}
    model = archs.ntm(4, 6, 2, lengths=True, **sizes, **SMALL)
    x = {"inputs": X, "lengths": LENGTHS}
    found = archs.tracing.trace(model, x)
    assert {name: value.shape for name, value in found.items()} == {
        "read_weightings": (3, 5, 2, 16),
        "write_weightings": (3, 5, 2, 16),
        "reads": (3, 5, 2, 3),
        "adds": (3, 5, 2, 3),
        "erases": (3, 5, 2, 3),
        "memory": (3, 5, 16, 3),
    }
    outputs = np.asarray(keras.Model(model.input, model.get_layer("recurrent_1").output)(x))
    mask = np.arange(5) < LENGTHS[:, None]
    np.testing.assert_allclose(found["reads"].reshape(3, 5, 6)[mask], outputs[..., 6:][mask], atol=1e-6)
    memory = np.full((3, 16, 3), 1e-6)
    for t in range(5):
        w, e, a, new = (found[name][:, t] for name in ("write_weightings", "erases", "adds", "memory"))
        kept = np.prod(1 - w[..., None] * e[:, :, None], axis=1)
        written = np.where(mask[:, t, None, None], memory * kept + np.einsum("bhn,bhm->bnm", w, a), memory)
        np.testing.assert_allclose(new, written, atol=1e-6)
        seen = np.matmul(found["read_weightings"][:, t], memory if read_memory == "old" else new)
        np.testing.assert_allclose(found["reads"][:, t][mask[:, t]], seen[mask[:, t]], atol=1e-6)
        memory = new


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": [6]}, r"`units` to be a positive integer, received \[6\]"),
        ({"memory_locations": 2}, r"at least 2 \* `shift_range` \+ 1 = 3"),
        ({"first_weighting": "uniform"}, "differs between locations"),
        ({"first_memory": np.ones((8, 3))}, "`first_memory` to be one of 'constant', 'random', 'learned', received"),
        ({"cell": keras.layers.GRUCell}, "an inner cell of the catalog, received <GRUCell"),
        ({"return_sequences": None}, "`return_sequences` to be True or False, received None"),
        ({"stateful": True}, "Expected a `batch_size` with `stateful=True`, received None"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        archs.ntm(**{"features": 4, "units": 6, "outputs": 2} | arguments)
