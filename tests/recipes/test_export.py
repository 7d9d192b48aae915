"""An export is whole and right, or not there."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from recipes._core.errors import RecipeError
from recipes._core.export import artifact, export

SAMPLE = {"x": np.array([[1.0, 2.0]], np.float32)}
CARD = {
    "recipe": "r",
    "metrics": {"test_accuracy": 0.5},
    "published": {"a paper": 0.75},
    "config": {"units": 3},
    "precision": "float32",
    "dataset": {"name": "d", "version": "1.0.0", "sha256": "0", "licence": "CC0"},
    "parameters": 1,
    "training": {"device": "CPU, 2 cores", "seconds": 1.0},
    "versions": {"python": "3"},
    "commit": None,
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "saved_models/r"


def doubling(factor=2.0):
    weight = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def serving_default(x):
        return {"y": weight * x, "text": tf.fill(tf.shape(x)[:1], "ä")}

    serving_default.weight = weight
    return serving_default


def write(folder, function=None):
    signatures = {"serving_default": function or doubling(), "twice": doubling(4.0)}
    return export.export(signatures, sample=dict.fromkeys(signatures, SAMPLE), card=CARD, folder=folder)


def test_versions_count_up_and_carry_the_card(folder):
    for version in (1, 2):
        path, card = write(folder)
        assert path == folder / str(version)
        assert card["sample"]["serving_default"] == {
            "request": {"x": [[1.0, 2.0]]},
            "answer": {"y": [[2.0, 4.0]], "text": ["ä"]},
        }
        assert json.loads((path / "card.json").read_text()) == card
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]
    answer, path = export.load(folder, "r")
    assert path == folder / "2"
    np.testing.assert_array_equal(answer(SAMPLE)["y"], [[2.0, 4.0]])
    np.testing.assert_array_equal(answer(SAMPLE, "twice")["y"], [[4.0, 8.0]])
    assert export.load(folder, "r", 1)[1] == folder / "1"


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        ({"x": [[1.0, 2.0]]}, ""),
        ({"x": [[[0.123456789] * 28] * 28], "lengths": [28]}, ", of each list the first 10 and of each text the first"),
        ({"text": ["a ```\n``` " * 1000]}, ", of each list the first 50 and of each text the first 1000 characters"),
        ({f"state_{number}": [[0.123456789] * 500] for number in range(200)}, ", of each list the first 1 and"),
    ],
)
def test_the_samples_of_the_card_to_read_are_json_whatever_their_size(sample, told):
    sides = {side: {name: {"dtype": "x", "shape": None} for name in sample} for side in ("inputs", "outputs")}
    samples = {"serving_default": {"request": sample, "answer": sample}}
    text = artifact.markdown(CARD | {"signatures": {"serving_default": sides}, "sample": samples})
    fenced = re.findall(r"^A sample \w+(.*):\n\n```json\n(.*)\n```$", text, re.MULTILINE)
    assert len(fenced) == text.count("```json") == 2
    for words, content in fenced:
        assert words.startswith(told)
        assert bool(words) == bool(told)
        shown = json.loads(content)
        assert shown.keys() == sample.keys()
        assert (shown == sample) == (not told)
        assert len(content) < 10_000


@pytest.mark.slow
def test_the_next_version_is_after_the_highest_number(folder):
    for name in ("9", "10", "old", ".tmp-x"):
        (folder / name).mkdir(parents=True)
    assert write(folder)[0] == folder / "11"
    assert not (folder / ".tmp-x").exists()


@pytest.mark.slow
def test_exports_at_once_get_versions_of_their_own(folder):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(write(folder)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(paths) == [folder / "1", folder / "2"]


def looking_up():
    rows = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64))
    in_closure, layer = tf.lookup.StaticHashTable(rows, -1), keras.layers.StringLookup(vocabulary=["a", "b"])

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def serving_default(text):
        return {"closure": in_closure.lookup(text), "layer": layer(text)}

    return serving_default


def test_tables_travel_wherever_they_were_made(tmp_path):
    artifact.write(tmp_path / "model", {"serving_default": looking_up()})
    answer = artifact.call(artifact.load(tmp_path / "model"), "serving_default", {"text": np.array(["b", "x"])})
    assert {name: list(value) for name, value in answer.items()} == {"closure": [2, -1], "layer": [2, 0]}


def test_an_export_leaves_other_threads_alone(tmp_path):
    errors, done = [], threading.Event()

    def build_tuples():
        while not done.is_set():
            try:
                tuple(number for number in range(1000))  # made larger as it comes: nobody else may hold it then
            except SystemError as error:
                errors.append(error)

    thread = threading.Thread(target=build_tuples)
    thread.start()
    try:
        artifact.write(tmp_path / "model", {"serving_default": looking_up()})
    finally:
        done.set()
        thread.join()
    assert not errors


@pytest.mark.slow
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(folder):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getppid()):
        (folder / f".tmp-{pid}-0").mkdir(parents=True)
    write(folder)
    assert sorted(p.name for p in folder.iterdir()) == [f".tmp-{os.getppid()}-0", "1"]


def test_a_model_that_answers_otherwise_is_not_exported(folder, monkeypatch):
    function = doubling()

    def changed_after_writing(signatures):
        function.weight.assign(3.0)
        return as_arrays(signatures)

    as_arrays = export.as_arrays
    monkeypatch.setattr(export, "as_arrays", changed_after_writing)
    with pytest.raises(RecipeError, match=r"answers otherwise.*expected serving_default: y"):
        write(folder, function)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_model_that_answers_nan_is_not_exported(folder):
    with pytest.raises(RecipeError, match="expected finite numbers"):
        write(folder, doubling(float("nan")))
    assert list(folder.iterdir()) == []


def test_a_model_that_does_not_load_is_not_exported(folder, monkeypatch):
    monkeypatch.setattr(export, "_REPLAY", "raise SystemExit('no such op')")
    with pytest.raises(RecipeError, match="does not load in a fresh process:\nno such op"):
        write(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_packages_are_found_where_this_process_found_them_and_the_project_is_not(folder, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S -E \"$@\"\n")  # one that finds no package by itself
    python.chmod(0o755)
    assert subprocess.run([python, "-c", "import numpy"], capture_output=True).returncode
    monkeypatch.setattr(sys, "executable", str(python))
    assert write(folder)[0] == folder / "1"
    replay = export._REPLAY
    for name in ("archs", "recipes._core"):
        monkeypatch.setattr(export, "_REPLAY", replay.replace("import numpy", f"import {name}\nimport numpy"))
        with pytest.raises(RecipeError, match=f"does not load in a fresh process:(.|\n)*{name.partition('.')[0]}"):
            write(folder)
    assert export.versions(folder) == [1]


def test_a_folder_that_cannot_be_written_is_told_before_the_model_is_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(artifact, "write", None)
    with pytest.raises(RecipeError, match=r"Expected a folder that can be written to, received .*/file"):
        write(tmp_path / "file/r")


@pytest.mark.slow
def test_a_missing_version_is_told(folder):
    with pytest.raises(RecipeError, match=r"an exported model of r in .*, found none.*recipes train r"):
        export.load(folder / "nowhere", "r")
    write(folder)
    with pytest.raises(RecipeError, match=r"version 7 of r in .*, found \[1\]"):
        export.load(folder, "r", 7)


@pytest.mark.slow
def test_empty_folders_are_passed_over_and_zeros_before_a_version_are_none(folder):
    write(folder)[0].rename(folder / "00000012")
    (folder / "13").mkdir()
    answer, path = export.load(folder, "r")
    assert path == folder / "00000012"
    np.testing.assert_array_equal(answer(SAMPLE)["y"], [[2.0, 4.0]])
    assert export.load(folder, "r", 12)[1] == path
    with pytest.raises(RecipeError, match=r"version 13 of r in .*, found \[12\]"):
        export.load(folder, "r", 13)
    assert write(folder)[0] == folder / "14"


# --- what lies beside the model, and what it may not hold


def test_the_warm_up_file_holds_the_sample_requests(folder):
    path, _ = write(folder)
    requests = {}
    for record in tf.data.TFRecordDataset(str(path / artifact.WARM_UP)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "r"
        requests[request.model_spec.signature_name] = tf.make_ndarray(request.inputs["x"])
    assert requests.keys() == {"serving_default", "twice"}
    np.testing.assert_array_equal(requests["twice"], SAMPLE["x"])


def test_the_card_tells_names_dtypes_and_shapes_and_can_be_read(folder):
    path, card = write(folder)
    assert card["signatures"]["twice"] == {
        "inputs": {"x": {"dtype": "float32", "shape": [None, 2]}},
        "outputs": {"y": {"dtype": "float32", "shape": [None, 2]}, "text": {"dtype": "string", "shape": [None]}},
        "joinable": True,
    }
    page = (path / "card.md").read_text()
    for line in (
        "# r",
        "| test accuracy | 0.5 |",
        "| a paper | 0.75 |",
        "| input | x | float32 | (any, 2) |",
        "| CC0 |",
    ):
        assert line in page
    assert json.dumps(card["sample"]["twice"]["answer"], ensure_ascii=False) in page


@pytest.mark.slow
def test_a_model_server_is_told_of_every_recipe_that_has_a_version(folder):
    (folder.parent / "only_cards/cards").mkdir(parents=True)
    write(folder)
    write(folder.parent / "other")
    text = (folder.parent / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert [(model.name, model.base_path) for model in config] == [("other", "/models/other"), ("r", "/models/r")]


def fixed_rows():
    @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32, name="x")])
    def serving_default(x):
        return {"y": x}

    return serving_default


def half():
    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def serving_default(x):
        return {"y": tf.cast(x, tf.bfloat16)}

    return serving_default


def calls_python():
    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def serving_default(x):
        return {"y": tf.ensure_shape(tf.numpy_function(lambda x: x, [x], tf.float32), (None, 2))}

    return serving_default


def carries_more_than_its_parameters():
    weights = tf.Variable(tf.zeros((1000, 1000)))

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def serving_default(x):
        return {"y": x + weights[0, 0]}

    serving_default.weights = weights
    return serving_default


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fixed_rows, r"any number of rows, received serving_default: x of shape \[1, 2\]"),
        (half, "received serving_default: y of bfloat16"),
        (calls_python, "holds PyFunc, a call of the Python process"),
        (carries_more_than_its_parameters, "each of 1 parameters once, received 4,000,"),
    ],
)
def test_what_a_server_could_not_run_is_not_exported(folder, function, message):
    with pytest.raises(RecipeError, match=message):
        write(folder, function())
    assert list(folder.iterdir()) == []


_ENDLESS = """
import pathlib, sys, time
sys.path.insert(0, {tests!r})
from tests.recipes import test_export as t
# Most of the time would go into the fresh process that is asked before the version gets its name.
t.export._verify = lambda _, live, sample: {{name: t.export.as_arrays(live)(sample[name], name) for name in live}}
t.write(pathlib.Path({folder!r}).with_name("first"))
began = time.perf_counter()
t.write(pathlib.Path({folder!r}).with_name("first"))
print(time.perf_counter() - began, flush=True)
while True:
    t.write(pathlib.Path({folder!r}))
"""


@pytest.mark.slow
def test_a_killed_export_leaves_no_version_that_does_not_load(folder):
    write(folder)
    code = _ENDLESS.format(tests=str(pathlib.Path(__file__).parents[2]), folder=str(folder))
    left = 0
    for part in range(5):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            seconds = float(process.stdout.readline())  # of one export
            while process.poll() is None and not list(folder.glob(f".tmp-{process.pid}-*")):
                time.sleep(0.001)
            time.sleep(seconds * part / 5)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        left += len(list(folder.glob(f".tmp-{process.pid}-*")))
    assert left  # one at least was killed in the middle
    for version in export.versions(folder):
        answer, path = export.load(folder, "r", version)
        np.testing.assert_array_equal(answer(SAMPLE)["y"], [[2.0, 4.0]])
        assert {"card.json", "card.md"} <= {file.name for file in path.iterdir()}
    write(folder)
    assert not list(folder.glob(".tmp-*"))


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
