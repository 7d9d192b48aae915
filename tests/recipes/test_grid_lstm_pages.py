"""The pages of the Grid LSTM: what they read and ask, and their way from a training to an answer."""

import json
import unittest.mock

import numpy as np
import pytest
import tensorflow as tf

from recipes import grid_lstm_addition, grid_lstm_memorization, grid_lstm_parity
from recipes._core import page as pages
from recipes._core.command import cli
from recipes._core.errors import RecipeError
from recipes._core.export import export
from recipes.datasets.symbol_sequences import symbol_sequences_dataset_builder

# Name of each page -> small settings, a question and what its answer is made of, and texts that are no questions.
PAGES = {
    "grid_lstm_parity": (
        ["--dataset=symbol_sequences/parity_8", "--strings=64"],
        "01101001",
        "01",
        ["0110100", "011010012", "01101002", ""],
    ),
    "grid_lstm_addition": (
        ["--dataset=symbol_sequences/addition_2"],
        "12+99",
        "0123456789",
        ["12", "12+345", "+", "1+2+3", "12-34", ""],
    ),
    "grid_lstm_memorization": (["--length=3"], "aZ/", grid_lstm_memorization.Task.alphabet, ["a b", "-", "é", ""]),
}
each = pytest.mark.parametrize("name", PAGES)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder for datasets of few sequences."""
    with unittest.mock.patch.multiple(symbol_sequences_dataset_builder, TRAIN=64, VALIDATION=8, TEST=16):
        yield tmp_path_factory.mktemp("few")


def task_and_model(name, *more):
    page = pages.recipe(name)
    options = dict(option.removeprefix("--").split("=") for option in (*PAGES[name][0], "units=6", "layers=2", *more))
    whole = {key: int(value) if value.isdigit() else value for key, value in options.items()}
    config = page.Config(**whole)
    task = page.Task(config)
    return task, page.build_model(config, task)


def test_parity_is_learned_of_strings_drawn_from_all_at_a_rate_that_falls_late(few):
    config = grid_lstm_parity.Config(dataset="symbol_sequences/parity_8", strings=1000)
    known, drawn = (
        grid_lstm_parity.load(grid_lstm_parity.Config(**(vars(config) | more)), few).train for more in ({}, {"seed": 1})
    )
    assert known["symbols"].shape == (1000, 8)
    np.testing.assert_array_equal(known["answer"][:, 0], tf.reduce_sum(known["symbols"], axis=1) % 2)
    assert len(np.unique(known["symbols"], axis=0)) == 64
    assert np.any(known["symbols"] != drawn["symbols"])
    rate = grid_lstm_parity.Task(config).optimizer(1000)._learning_rate
    np.testing.assert_allclose([float(rate(step)) for step in (0, 799, 801, 999)], [3e-3, 3e-3, 7.5e-4, 1.875e-4])


def test_parity_is_asked_of_all_bits_at_once_or_of_one_after_the_other():
    columns = {"symbols": tf.constant([[0, 1] * 4]), "length": tf.constant([8]), "answer": tf.constant([[1]])}
    task, model = task_and_model("grid_lstm_parity")
    np.testing.assert_array_equal(task.inputs(columns), [[-1, 1] * 4])
    np.testing.assert_array_equal(task.targets(columns), [[1]])
    assert model(task.inputs(columns)).shape == (1, 1, 2)
    np.testing.assert_allclose(task.logits(model, columns), model(task.inputs(columns)))
    answer = export.as_arrays(task.signatures(model))
    logits = answer({"inputs": task.inputs(columns).numpy()}, "logits")["logits"]
    np.testing.assert_allclose(logits, answer({"symbols": np.array(["01" * 4])})["logits"], rtol=1e-6)
    task, model = task_and_model("grid_lstm_parity", "cell=lstm")
    inputs = task.inputs(columns)
    np.testing.assert_array_equal(inputs["inputs"], [[0, 1] * 4 + [2]])
    np.testing.assert_array_equal(task.targets(columns), [[-1] * 8 + [1]])
    np.testing.assert_allclose(task.logits(model, columns)[0, 0], model(inputs)[0, -1], rtol=1e-6)


@pytest.mark.parametrize("transforms", ["tanh", "relu"])
def test_layers_of_parity_may_be_plain(transforms):
    _, grid = task_and_model("grid_lstm_parity")
    _, plain = task_and_model("grid_lstm_parity", f"transforms={transforms}")
    assert grid.count_params() == 8 * 12 + (6 + 1) * 24 + (6 + 1) * 2
    assert plain.count_params() == 8 * 6 + (6 + 1) * 6 + (6 + 1) * 2


def test_the_order_of_a_sum_is_that_of_the_settings():
    columns = {"symbols": tf.constant([[1, 2, 10, 9, 9]]), "length": [5], "answer": tf.constant([[1, 1, 1 + 1]])}
    columns["length"] = tf.constant(columns["length"])
    for order, told in (("lowest first", [2, 1, 1]), ("written", [1, 1, 2])):
        task = grid_lstm_addition.Task(grid_lstm_addition.Config(order=order))
        assert task.targets(columns)[0, 5:].numpy().tolist() == told
        assert task.truth(columns, 0) == "112"


def test_a_sequence_is_as_long_as_the_setting_says(few, no_network):
    config = grid_lstm_memorization.Config(length=3)
    splits = grid_lstm_memorization.load(config, few)
    whole = grid_lstm_memorization.load(grid_lstm_memorization.Config(length=20), few)
    for short, long in ((splits.train, whole.train), (splits.test, whole.test)):
        np.testing.assert_array_equal(short["symbols"], long["symbols"][:, :3])
        np.testing.assert_array_equal(short["answer"], short["symbols"])
        assert set(np.asarray(short["length"])) == {3}
    assert splits.facts["sha256"] != whole.facts["sha256"]
    assert splits.facts["name"] == "symbol_sequences/memorization_20"


@each
@pytest.mark.parametrize("cell", ["grid_lstm", "lstm"])
def test_texts_are_answered_and_others_refused(name, cell):
    task, model = task_and_model(name, f"cell={cell}")
    _, asked, told, wrong = PAGES[name]
    answer = export.as_arrays(task.signatures(model))
    answered = answer(task.read(asked))
    assert set(answered["answer"][0]) <= set(told)
    steps = {"grid_lstm_parity": 1, "grid_lstm_addition": 3, "grid_lstm_memorization": 3}[name]
    assert answered["probabilities"].shape == (1, steps)
    assert len(answered["answer"][0]) == steps
    for text in wrong:
        with pytest.raises(RecipeError, match="or test:N, received"):
            task.read(text)
        with pytest.raises(tf.errors.InvalidArgumentError, match="symbols: expected"):
            answer({"symbols": np.array([text])})


@pytest.mark.slow
@each
def test_train_evaluate_and_predict(name, few, no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings, asked, told, _ = PAGES[name]
    small = ["--epochs=1", "--units=8", "--layers=2", "--device=cpu", "--export", *settings]
    assert cli.main(["train", name, *small, f"--data-dir={few}"]) == 0
    card = json.loads((tmp_path / f"saved_models/{name}/1/card.json").read_text())
    assert set(card["sample"]) == {"serving_default", "logits"}
    assert list(card["metrics"]) == ["test_exact_match", "most_frequent_symbols", "test_symbol_accuracy"]
    capsys.readouterr()
    assert cli.main(["evaluate", name, "--saved-model", f"--data-dir={few}"]) == 0
    assert f"test exact match     {card['metrics']['test_exact_match']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", name, asked, "test:0", f"--data-dir={few}"]) == 0
    said = capsys.readouterr().out
    assert set(said.split(f"{asked}: ")[1].split(" (")[0]) <= set(told)
    assert ", in truth " in said
