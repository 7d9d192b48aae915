"""The page of SCAN: its words, its signature, what counts as right, and what it says."""

import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes import encoder_decoder_lstm_scan as page
from recipes._core.command import cli
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.export import export

NAME = "encoder_decoder_lstm_scan"


@pytest.fixture(scope="module")
def task():
    return page.Task(page.Config())


@pytest.fixture(scope="module")
def answer(task):
    keras.utils.set_random_seed(0)
    return export.as_arrays(task.signatures(page.build_model(page.Config(units=6, features=4), task)))


def table(commands):
    return {"command": tf.constant(list(commands)), "actions": tf.constant(list(commands.values()))}


def test_commands_and_actions_are_words(task):
    inputs, targets = task.example(task.pairs(table({"turn left twice": "I_TURN_LEFT I_TURN_LEFT", "run": "I_RUN"})))
    np.testing.assert_array_equal(
        inputs["inputs"], [[1 + task.source_pieces.index(w) for w in ("turn", "left", "twice")], [3, 0, 0]]
    )
    np.testing.assert_array_equal(targets, [[5, 5, 0], [3, 0, 0]])
    np.testing.assert_array_equal(inputs["decoder_inputs"], [[0, 5, 5], [0, 3, 0]])
    np.testing.assert_array_equal(inputs["decoder_lengths"], [3, 2])


def test_the_settings_say_which_batches_are_made_and_what_is_hidden():
    commands = {"jump": "I_JUMP", "walk": "I_WALK", "look": "I_LOOK", "run thrice": "I_RUN I_RUN I_RUN"}
    config = page.Config(batches="mixed", hidden=0.9, batch_size=2)
    mixed, default = (page.Task(one).batches(table(commands), training=True) for one in (config, page.Config()))
    assert mixed.lengths is None
    np.testing.assert_array_equal(default.lengths, [2, 2, 2, 4])
    assert (mixed.batch_size, default.batch_size) == (2, 64)
    fed = [sum(x["decoder_inputs"].numpy().sum() for x, _ in one.epoch()) for one in (mixed, default)]
    assert fed[0] < fed[1]


def test_the_signature_is_blind_to_other_rows_and_to_spaces(answer):
    commands = ["jump around left thrice and walk", "look"]
    together = answer({"command": np.array(commands)}, "greedy")
    for row, command in enumerate(commands):
        alone = answer({"command": np.array([f" {command.replace(' ', '  ')}"])}, "greedy")
        assert together["actions"][row] == alone["actions"][0]
        assert together["probability"][row] == pytest.approx(alone["probability"][0], rel=1e-3)
        steps, words = alone["attention"].shape[1:]
        assert words == len(command.split())
        np.testing.assert_allclose(together["attention"][row, :steps, :words], alone["attention"][0], atol=1e-5)


def test_without_attention_it_answers_and_draws_nothing(task, tmp_path):
    cfg = page.Config(units=6, features=4, layers=2, attention="none")
    answer = export.as_arrays(task.signatures(page.build_model(cfg, task)))
    commands = ["jump around left thrice and walk", "look"]
    together = answer({"command": np.array(commands)}, "greedy")
    assert together.keys() == {"actions", "probability"}
    for row, command in enumerate(commands):
        alone = answer(task.request([command]) | {"beam": np.array([1], np.int32)})
        assert together["actions"][row] == alone["actions"][0, 0]
    splits = batching.Splits(table({"walk": "I_WALK"}), None, table({"look": "I_LOOK"}), {})
    task.evaluate(answer, splits, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (["jump", "jump high"], "expected walk look .* received.*high"),
        (["Jump"], "expected walk look .* received.*Jump"),
        (["jump", " "], "expected text, received an empty one"),
        (["jump " * 51], "at most 50 in a row, each one of walk look"),
        (np.zeros(0, str), "received an empty batch"),
    ],
)
def test_what_a_command_cannot_be(task, answer, commands, message):
    for request, signature in ((task.request(commands), "serving_default"), ({"command": commands}, "greedy")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(request, signature)


def test_evaluate_wants_all_actions_right_and_draws(task, tmp_path):
    test = {
        "jump twice": "I_JUMP I_JUMP",
        "walk": "I_WALK",
        "look and run": "I_LOOK I_RUN",
        "run after look": "I_LOOK I_RUN",
    }
    answers = test | {"jump twice": "I_JUMP", "look and run": "I_LOOK I_RUN I_RUN"}

    def answer(request, signature):
        actions = np.array([answers[command] for command in request["command"]])
        sizes = (1, len(actions[0].split()), len(request["command"][0].split()))
        return {"actions": actions, "attention": np.full(sizes, 0.5)}

    train = table({"walk twice": "I_WALK I_WALK", "look and walk": "I_LOOK I_WALK", "run and look": "I_LOOK I_RUN"})
    metrics = task.evaluate(answer, batching.Splits(train, None, table(test), {}), tmp_path)
    # Nearest: to "jump twice" and "walk" it is "walk twice", to the others "look and walk" and "run and look".
    assert metrics == {"test_exact_match": 0.5, "nearest_command": 0.25}
    assert (tmp_path / "attention.png").stat().st_size > 3000


def test_a_person_asks_with_a_command(task):
    assert task.read("jump twice and walk left")["command"].tolist() == ["jump twice and walk left"]
    for nonsense in ("", "fly", "jump " * 51):
        with pytest.raises(RecipeError, match="Expected a command of 1 to 50 of the words walk look"):
            task.read(nonsense)
    answer = {"actions": [["I_JUMP I_WALK", "I_JUMP"]], "probabilities": [[0.98765, 0.01]]}
    assert task.show(answer) == "I_JUMP I_WALK (probability 0.988)"


def test_without_a_network_it_says_which_file_to_place(no_network, tmp_path):
    with pytest.raises(RecipeError) as error:
        page.load(page.Config(dataset="scan/length"), tmp_path)
    assert str(tmp_path / "downloads/manual/scan") in str(error.value)


@pytest.mark.tfds
def test_train_evaluate_and_predict(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/downloads/manual/scan"
    folder.mkdir(parents=True)
    shutil.copy(pathlib.Path(os.environ["TFDS_SOURCES"]) / "scan/SCAN-master.zip", folder)
    budget = ["--dataset=scan/addprim_turn_left", "--epochs=1", "--units=8", "--batch_size=256", "--device=cpu"]
    assert cli.main(["train", NAME, "--data-dir=data", "--export", *budget]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert card["dataset"]["name"] == "scan/addprim_turn_left"
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", "--data-dir=data"]) == 0
    assert f"test exact match     {card['metrics']['test_exact_match']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "jump twice and walk left", "--data-dir=data"]) == 0
    assert "(probability 0." in capsys.readouterr().out  # of so small a training the best answer may be none
    assert cli.main(["predict", NAME, "test:1207", "--data-dir=data"]) == 0
    assert cli.main(["predict", NAME, "test:1208", "--data-dir=data"]) == 2
