"""The pages of the Neural Turing Machine: their data, their models, and their way from a training to an answer."""

import json
import re
import unittest.mock

import numpy as np
import pytest

import archs
from recipes._core import page as pages
from recipes._core.command import cli
from recipes._core.errors import RecipeError
from recipes._core.task import count
from recipes.datasets.bit_sequences import bit_sequences_dataset_builder

# Name of each page -> the sizes that are tested, and a question with its right answer.
PAGES = {
    "ntm_copy": (["20", "40", "60", "80", "100", "120"], "10110010 01101001", "10110010 01101001"),
    "ntm_repeat_copy": (["10x10", "20x10", "10x20"], "10110010 x2", "10110010 10110010 end"),
    "ntm_associative_recall": (
        ["6", "8", "10", "12", "15", "20"],
        "111000 101010 000000 / 000111 110011 010101 ? 111000 101010 000000",
        "000111 110011 010101",
    ),
}
each = pytest.mark.parametrize("name", PAGES)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder for datasets of few sequences."""
    with unittest.mock.patch.multiple(bit_sequences_dataset_builder, TRAIN=64, VALIDATION=8, TEST=2):
        yield tmp_path_factory.mktemp("few")


@each
def test_the_trained_size_is_tested_first(name, few, no_network):
    page = pages.recipe(name)
    splits = page.load(page.Config(), few)
    sizes, _, _ = PAGES[name]
    assert page.Task(page.Config()).sizes(splits.test) == [size for size in sizes for _ in range(2)]
    assert [count(split) for split in (splits.train, splits.validation)] == [64, 8]
    assert splits.facts["name"] == page.Config().dataset


@each
def test_the_machine_has_the_sizes_that_are_asked_for_and_may_do_without_a_memory(name):
    page = pages.recipe(name)
    config = page.Config()
    task = page.Task(config)
    machine = page.build_model(config, task).get_layer("recurrent_1").cell
    assert isinstance(machine, archs.NTMCell)
    assert (machine.memory_locations, machine.memory_width) == (config.memory_locations, config.memory_width)
    feed_forward = page.build_model(page.Config(cell="none"), task).get_layer("recurrent_1").cell
    assert feed_forward.cell is None
    plain = page.build_model(page.Config(model="stacked_lstm", layers=3), task)
    assert [type(plain.get_layer(f"recurrent_{n}").cell) for n in (1, 2, 3)] == [archs.LSTMCell] * 3


@each
def test_a_person_asks_and_reads(name):
    page = pages.recipe(name)
    task = page.Task(page.Config())
    _, asked, told = PAGES[name]
    request = task.read(asked)
    columns = {("length" if name == "lengths" else name): value for name, value in request.items()}
    assert task.truth(columns, 0) == told
    with pytest.raises(RecipeError, match="or test:N, received '2'"):
        task.read("2")


@pytest.mark.slow
@each
def test_train_evaluate_and_predict(name, few, no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes, asked, _ = PAGES[name]
    small = ["--epochs=1", "--units=8", "--memory_locations=16", "--memory_width=4", "--device=cpu", "--export"]
    assert cli.main(["train", name, *small, f"--data-dir={few}"]) == 0
    (run,) = (tmp_path / "runs" / name).iterdir()
    for picture in ("trained_size", "largest_size", "curves"):
        assert (run / f"{picture}.png").stat().st_size > 5000
    card = json.loads((tmp_path / f"saved_models/{name}/1/card.json").read_text())
    assert set(card["sample"]) == {"serving_default", "weightings", "logits"}
    figures = card["metrics"]
    assert list(figures)[:2] == ["test_bits", "chance"]
    assert [f"wrong_bits_at_{size}" in figures for size in sizes] == [True] * len(sizes)
    assert figures["test_bits"] == pytest.approx(figures["chance"], rel=0.3)  # hardly trained
    capsys.readouterr()
    assert cli.main(["evaluate", name, "--saved-model", f"--data-dir={few}"]) == 0
    (told,) = re.findall(r"test bits +(\S+)", capsys.readouterr().out)
    assert float(told) == pytest.approx(figures["test_bits"], rel=1e-4)
    assert cli.main(["predict", name, asked, "test:0", f"--data-dir={few}"]) == 0
    said = capsys.readouterr().out
    assert f"{asked}: " in said
    assert ", in truth " in said
    looked = np.array(card["sample"]["weightings"]["answer"]["read_weighting_1"])
    assert looked.shape[2] == 16
    np.testing.assert_allclose(looked.sum(axis=2), 1, rtol=1e-4)
