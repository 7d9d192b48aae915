"""The `.keras` file of a run: what it needs to load, and that damaged or edited ones do not."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from recipes._core import page as pages
from recipes._core.train import training

_LOAD = """
import sys
import archs
import keras
import numpy as np
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)  # safe_mode is Keras' default
    np.savez(path + ".npz", *model.get_weights())
    model.compile("adam", "mse")
assert not [name for name in sys.modules if name.startswith("recipes")]
"""


@pytest.mark.slow
def test_the_file_of_each_recipe_loads_where_only_archs_is_known(tmp_path):
    weights = {}
    for name in pages.names():
        recipe = pages.recipe(name)
        model = training.uncompiled(recipe.build_model(recipe.Config(), recipe.Task(recipe.Config())))
        model.save(tmp_path / f"{name}.keras")
        weights[name] = model.get_weights()
    paths = [str(tmp_path / f"{name}.keras") for name in weights]
    run = subprocess.run([sys.executable, "-c", _LOAD, *paths], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name, expected in weights.items():
        with np.load(tmp_path / f"{name}.keras.npz") as loaded:
            for value, right in zip(loaded.values(), expected, strict=True):
                np.testing.assert_array_equal(value, right)


@pytest.fixture
def file(in_trained):
    (path,) = in_trained.glob("runs/*/*/model.keras")
    return path


def rewritten(file, path, **members):
    """A copy of a `.keras` file in which functions have changed the bytes of members."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            change = members.get(name.replace(".", "_"), lambda content: content)
            new.writestr(name, change(old.read(name)))
    return path


def edited(change):
    """A function of the bytes of `config.json` that lets `change` act on what they say."""

    def write(content):
        config = json.loads(content)
        change(config)
        return json.dumps(config)

    return write


def calls_the_system(config):
    config["config"]["layers"][0] = {
        "module": "os",
        "class_name": "system",
        "config": {"command": "touch called"},
        "registered_name": None,
        "name": "x",
        "inbound_nodes": [],
    }


def is_a_lambda(config):
    code = keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: x))
    config["config"]["layers"][-1] = code | {
        "name": "x",
        "inbound_nodes": config["config"]["layers"][-1]["inbound_nodes"],
    }


def has_other_units(config):
    for layer in config["config"]["layers"]:
        if "cell" in layer["config"]:
            layer["config"]["cell"]["config"]["units"] += 1


def test_a_file_that_was_not_touched_loads(file, tmp_path):
    copy = rewritten(file, tmp_path / "copy.keras")
    assert keras.saving.load_model(copy).count_params() == keras.saving.load_model(file).count_params()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, tmp_path, share):
    content = file.read_bytes()
    path = tmp_path / "model.keras"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises((ValueError, OSError, zipfile.BadZipFile)):
        keras.saving.load_model(path)


def test_a_file_with_other_bits_is_refused(file, tmp_path):
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        weights = archive.getinfo("model.weights.h5")
    content[weights.header_offset + 100 + weights.compress_size // 2] ^= 1
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises((zipfile.BadZipFile, OSError)):
        keras.saving.load_model(path)


@pytest.mark.parametrize("change", [calls_the_system, is_a_lambda, has_other_units])
def test_an_edited_file_is_refused(file, tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    path = rewritten(file, tmp_path / "model.keras", config_json=edited(change))
    with pytest.raises((ValueError, TypeError)):
        keras.saving.load_model(path)
    assert not (tmp_path / "called").exists()


def test_a_file_with_half_its_weights_is_refused(file, tmp_path):
    path = rewritten(file, tmp_path / "model.keras", model_weights_h5=lambda content: content[: len(content) // 2])
    with pytest.raises((ValueError, OSError)):
        keras.saving.load_model(path)
