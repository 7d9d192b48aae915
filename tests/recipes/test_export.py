"""An export is whole and right, or not there."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from recipes._core import export
from recipes._core.errors import RecipeError

SAMPLE = {"x": np.array([[1.0, 2.0]], np.float32)}


def doubling(factor=2.0):
    weight = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def serving_default(x):
        return {"y": weight * x, "text": tf.fill(tf.shape(x)[:1], "ä")}

    serving_default.weight = weight
    return serving_default


def write(folder, function=None, card=None):
    signatures = {"serving_default": function or doubling(), "twice": doubling(4.0)}
    return export.export(
        signatures, sample=dict.fromkeys(signatures, SAMPLE), card=card or {"recipe": "r"}, folder=folder
    )


def test_versions_count_up_and_carry_the_card(tmp_path):
    for version in (1, 2):
        path, card = write(tmp_path)
        assert path == tmp_path / str(version)
        assert card["sample"]["serving_default"] == {
            "request": {"x": [[1.0, 2.0]]},
            "answer": {"y": [[2.0, 4.0]], "text": ["ä"]},
        }
        assert json.loads((path / "card.json").read_text()) == card
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    answer, path = export.load(tmp_path, "r")
    assert path == tmp_path / "2"
    np.testing.assert_array_equal(answer(SAMPLE)["y"], [[2.0, 4.0]])
    np.testing.assert_array_equal(answer(SAMPLE, "twice")["y"], [[4.0, 8.0]])
    assert export.load(tmp_path, "r", 1)[1] == tmp_path / "1"


def test_the_next_version_is_after_the_highest_number(tmp_path):
    for name in ("9", "10", "old", ".tmp-x"):
        (tmp_path / name).mkdir()
    assert write(tmp_path)[0] == tmp_path / "11"
    assert not (tmp_path / ".tmp-x").exists()


def test_exports_at_once_get_versions_of_their_own(tmp_path):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(write(tmp_path)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(paths) == [tmp_path / "1", tmp_path / "2"]


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getppid()):
        (tmp_path / f".tmp-{pid}-0").mkdir()
    write(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".tmp-{os.getppid()}-0", "1"]


def test_a_model_that_answers_otherwise_is_not_exported(tmp_path, monkeypatch):
    function = doubling()

    def changed_after_writing(signatures):
        function.weight.assign(3.0)
        return as_arrays(signatures)

    as_arrays = export.as_arrays
    monkeypatch.setattr(export, "as_arrays", changed_after_writing)
    with pytest.raises(RecipeError, match=r"answers otherwise.*expected serving_default: y"):
        write(tmp_path, function)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_answers_nan_is_not_exported(tmp_path):
    with pytest.raises(RecipeError, match="expected finite numbers"):
        write(tmp_path, doubling(float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_load_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_REPLAY", "raise SystemExit('no such op')")
    with pytest.raises(RecipeError, match="does not load in a fresh process:\nno such op"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_version_is_told(tmp_path):
    with pytest.raises(RecipeError, match=r"an exported model of r in .*, found none.*recipes train r"):
        export.load(tmp_path / "nowhere", "r")
    write(tmp_path)
    with pytest.raises(RecipeError, match=r"version 7 of r in .*, found \[1\]"):
        export.load(tmp_path, "r", 7)


# --- the recipe's own signature

ROWS = np.zeros((2, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("rows", "lengths", "message"),
    [
        (ROWS, [28, 29], "no more than there are time steps"),
        (ROWS, [28, 0], "lengths: expected 1 or more"),
        (ROWS, [28, -3], "lengths: expected 1 or more"),
        (ROWS, [28], "one for each row"),
        (ROWS[:0], [], "received an empty batch"),
        (ROWS[:, :0], [1, 1], "no more than there are time steps"),
        (ROWS[:, :, :5], [28, 28], "incompatible|compatible|shape"),
    ],
)
def test_the_signature_refuses_nonsense(in_trained, rows, lengths, message):
    answer, _ = export.load(in_trained / "saved_models/vanilla_lstm_mnist", "vanilla_lstm_mnist", 1)
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError), match=message):
        answer({"rows": rows, "lengths": np.array(lengths, np.int32)})


def test_the_signature_takes_any_batch_and_length(in_trained):
    answer, _ = export.load(in_trained / "saved_models/vanilla_lstm_mnist", "vanilla_lstm_mnist", 1)
    rows = np.random.default_rng(0).integers(256, size=(3, 40, 28)).astype(np.uint8)
    lengths = np.array([40, 1, 17], np.int32)
    together = answer({"rows": rows, "lengths": lengths})
    assert together["label"].shape == (3,)
    np.testing.assert_allclose(together["probabilities"].sum(-1), 1, atol=1e-6)
    for row, length in enumerate(lengths):
        alone = answer({"rows": rows[row : row + 1, :length], "lengths": lengths[row : row + 1]})
        np.testing.assert_allclose(alone["logits"][0], together["logits"][row], atol=1e-5)


def test_weights_are_stored_once_and_nothing_ties_the_model_to_a_device(in_trained):
    path = in_trained / "saved_models/vanilla_lstm_mnist/1"
    parameters = json.loads((path / "card.json").read_text())["parameters"]
    size = sum(file.stat().st_size for file in (path / "variables").iterdir())
    assert 4 * parameters < size < 4 * parameters + 5000
    graph = (path / "saved_model.pb").read_bytes()
    assert [op for op in (b"Cudnn", b"XlaMustCompile", b"PyFunc", b"Random") if op in graph] == []
