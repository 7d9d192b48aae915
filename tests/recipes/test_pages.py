"""What every recipe's page has in common."""

import ast
import dataclasses
import json
import pathlib
import time

import keras
import numpy as np
import pytest

import archs
from recipes._core import cli, export

ROOT = pathlib.Path(__file__).resolve().parents[2]
EMBEDDED = [
    "bidirectional_lstm_python",
    "cnn_lstm_moving_digits",
    "encoder_decoder_lstm_cmudict",
    "generative_lstm_python",
    "stacked_lstm_sunspots",
    "vanilla_lstm_mnist",
]
each_page = pytest.mark.parametrize("name", cli.names())


def test_there_are_thirteen_two_or_more_of_each_architecture():
    assert len(cli.names()) == 13
    assert set(EMBEDDED) < set(cli.names())
    for arch in archs.list_archs():
        assert sum(name.startswith(arch) for name in cli.names()) >= 2, arch


@each_page
def test_page_says_what_it_does_in_the_common_form(name):
    page, text = cli.page(name), cli.page_text(name)
    assert f"python -m recipes train {name}" in page.__doc__
    assert "Result" in page.__doc__
    assert "TBD" not in text
    assert page.Config().dataset == next(iter(page.DATASETS))
    assert set(page.PUBLISHED) <= set(page.DATASETS)
    for member in ("load", "build_model", "serving", "sample", "evaluate", "read_input", "show", "run"):
        assert callable(getattr(page, member)), member
    literals = {ast.unparse(n.targets[0]): n.value for n in ast.parse(text).body if isinstance(n, ast.Assign)}
    for literal in ("METRIC", "PUBLISHED", "DATASETS"):
        assert ast.literal_eval(literals[literal]) == getattr(page, literal)


@each_page
@pytest.mark.parametrize("cell", ["coupled_lstm", "gru"])
def test_the_cell_is_one_flag(name, cell):
    page = cli.page(name)
    model = page.build_model(dataclasses.replace(page.Config(), cell=cell), steps=1)
    cells = [layer for layer in model._flatten_layers() if isinstance(layer, archs.Cell)]
    inner = [getattr(one, "cell", one) for one in cells]
    assert inner
    assert {type(one) for one in inner} <= {archs.get(cell), archs.AttentionDecoderCell}
    assert isinstance(model, keras.Model)


@pytest.mark.parametrize("name", [name for name in cli.names() if name not in EMBEDDED])
def test_without_a_network_a_download_fails_at_once_and_says_what_to_place(
    name, no_network, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    assert cli.main(["train", name, f"--data-dir={tmp_path}"]) == 2
    assert time.monotonic() - started < 15
    error = capsys.readouterr().err
    assert "has to be downloaded, and that failed" in error
    assert str(tmp_path / "downloads/manual") in error
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_data_needs_no_network(name, no_network, tmp_path):
    page = cli.page(name)
    splits = page.load(page.Config(), tmp_path)
    assert min(splits.train.examples, splits.validation.examples, len(next(iter(splits.test.values())))) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_page_trains_and_answers_in_half_precision(name, data_dir):
    page = cli.page(name)
    cfg = page.Config(units=8)
    splits = page.load(cfg, data_dir)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = page.build_model(cfg, steps=1)
        assert np.isfinite(model.train_on_batch(*next(iter(splits.train.epoch())), return_dict=True)["loss"])
        answer = export.as_arrays(page.serving(model, splits))
        for signature, request in page.sample(model, splits).items():
            for output, value in answer(request, signature).items():
                assert value.dtype.kind in "iU" or (value.dtype == "float32" and np.all(np.isfinite(value))), output
    finally:
        keras.config.set_dtype_policy("float32")


@each_page
def test_kept_cards_fit_the_page(name):
    page = cli.page(name)
    paths = list((ROOT / "saved_models" / name / "cards").glob("*.json"))
    assert paths
    for path in paths:
        card = json.loads(path.read_text())
        page.Config(**card["config"])
        assert card["recipe"] == name
        assert card["metrics"][page.METRIC] > 0
