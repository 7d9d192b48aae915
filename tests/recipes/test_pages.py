"""Rules that every recipe's page keeps."""

import ast
import dataclasses
import json
import pathlib
import time

import keras
import numpy as np
import pytest

import archs
from recipes._core import page as pages
from recipes._core.command import cli
from recipes._core.export import export
from recipes._core.task import count
from tests.conformance.catalog import TREE_ARCHS

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Signal processing of their own, or a model of their own.
LONGER = {"bidirectional_lstm_ewt", "bidirectional_lstm_python", "cnn_lstm_moving_digits", "cnn_lstm_spoken_digit"}
UNMEASURED = "Result: not measured yet."  # of a page that no card is kept of
each_page = pytest.mark.parametrize("name", pages.names())


def is_embedded(name):
    """True of a page whose data one of our builders makes, or takes from an installed package: nothing to download."""
    builder = ROOT / "recipes/datasets" / pages.recipe(name).Config().dataset.partition("/")[0]
    return builder.is_dir() and not (builder / "checksums.tsv").exists() and not is_placed(name)


def is_placed(name):
    """True of a page whose data only a person can get."""
    dataset = pages.recipe(name).Config().dataset.partition("/")[0]
    builder = ROOT / "recipes/datasets" / dataset / f"{dataset}_dataset_builder.py"
    return builder.exists() and "MANUAL_DOWNLOAD_INSTRUCTIONS" in builder.read_text()


def is_of_trees(name):
    """True of a page whose model has no cell, but a node."""
    return any(name.startswith(arch) for arch in TREE_ARCHS)


EMBEDDED = [name for name in pages.names() if is_embedded(name)]


def test_each_architecture_has_a_page():
    assert len(EMBEDDED) > 10
    for arch in archs.list_archs():
        assert any(name.startswith(arch) for name in pages.names()), f"there is no recipes/{arch}_*.py"


@each_page
def test_page_says_what_it_does_in_the_common_form(name):
    recipe, text = pages.recipe(name), pages.text(name)
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree)
    assert f"python -m recipes train {name}" in docstring
    assert "Result" in docstring
    assert "TBD" not in text
    assert len(text.splitlines()) <= (200 if name in LONGER else 110)
    literals = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    if "PUBLISHED" in literals:
        assert ast.literal_eval(literals["PUBLISHED"]) == recipe.published


@pytest.mark.parametrize("name", [name for name in pages.names() if not is_of_trees(name)])
@pytest.mark.parametrize("cell", ["coupled_lstm", "gru"])
def test_the_cell_is_one_flag(name, cell):
    recipe = pages.recipe(name)
    config = dataclasses.replace(recipe.Config(), cell=cell)
    model = recipe.build_model(config, recipe.Task(config))
    cells = [layer for layer in model._flatten_layers() if isinstance(layer, archs.Cell)]
    inner = [getattr(one, "cell", one) for one in cells]
    assert inner
    assert {type(one) for one in inner} <= {archs.get(cell, "cell"), archs.AttentionDecoderCell}
    assert isinstance(model, keras.Model)


@pytest.mark.parametrize("name", [name for name in pages.names() if name not in EMBEDDED])
def test_without_a_network_a_download_fails_at_once_and_says_what_to_place(
    name, no_network, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    assert cli.main(["train", name, f"--data-dir={tmp_path}"]) == 2
    assert time.monotonic() - started < 15
    error = capsys.readouterr().err
    assert ("that only you can get" if is_placed(name) else "has to be downloaded, and that failed") in error
    assert str(tmp_path / "downloads/manual") in error
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_page_of_embedded_data(name, no_network, data_dir):
    """Without a network it has data, trains in half precision, and keeps all that its answers need."""
    recipe = pages.recipe(name)
    config = recipe.Config(units=8)
    splits = recipe.load(config, data_dir)
    assert min(count(splits.train), count(splits.validation), count(splits.test)) > 0
    task, other = recipe.Task(config), recipe.Task(config)
    task.learn(splits)
    other.restore(json.loads(json.dumps(task.state())))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = recipe.build_model(config, other)
        task.compile(model, steps=1)
        batch = next(iter(task.batches(splits.train, training=True).epoch()))
        assert np.isfinite(model.train_on_batch(*batch, return_dict=True)["loss"])
        answers = [export.as_arrays(one.signatures(model)) for one in (task, other)]
        for signature, request in other.sample(model, splits).items():
            expected, received = (answer(request, signature) for answer in answers)
            for output, value in expected.items():
                assert value.dtype.kind in "iuU" or (value.dtype == "float32" and np.all(np.isfinite(value))), output
                np.testing.assert_array_equal(received[output], value)
        asked = task.test_request(splits.test, 0)
        assert other.show(answers[1](asked)) == task.show(answers[0](asked))
    finally:
        keras.config.set_dtype_policy("float32")


@each_page
def test_kept_cards_fit_the_page(name):
    recipe = pages.recipe(name)
    paths = list((ROOT / "saved_models" / name / "cards").glob("*.json"))
    assert bool(paths) != (UNMEASURED in pages.text(name))
    for path in paths:
        card = json.loads(path.read_text())
        recipe.Config(**card["config"])
        assert card["recipe"] == name
        assert next(iter(card["metrics"].values())) > 0
