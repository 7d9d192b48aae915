"""Clips of two digits: pairs, the frames that are looked at, metrics, clips from a person."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recipes import cnn_lstm_moving_digits as page
from recipes._core.command import cli
from recipes._core.data import batching, pictures
from recipes._core.errors import RecipeError

NAME = "cnn_lstm_moving_digits"


def clips(count, frames=20):
    return np.random.default_rng(0).integers(0, 256, (count, frames, 48, 48), np.uint8)


def test_every_pair_of_digits_has_a_number():
    digits = [(a, b) for a in range(10) for b in range(a, 10)]
    assert len(page.PAIRS) == len(digits) == 55
    assert [page.PAIRS[number] for number in page.pair(digits)] == digits


def test_one_of_so_many_frames_is_looked_at():
    given = clips(2, 7)
    looked_at = page.Task(page.Config(every=3)).preprocess(given, tf.constant([7, 4]))
    np.testing.assert_allclose(looked_at["inputs"][..., 0], given[:, [0, 3, 6]] / 255, rtol=1e-6)
    np.testing.assert_array_equal(looked_at["lengths"], [3, 2])


def test_training_clips_vary_in_time_and_place():
    given, lengths = clips(2), tf.fill([2], 20)
    task = page.Task(page.Config(every=3, warp=0))
    seen = {}
    for number in range(40):
        frames = task.preprocess(given, lengths, tf.constant([number, 1]))
        first, length = np.asarray(frames["inputs"][0, 0, ..., 0] * 255), int(frames["lengths"][0])
        (place,) = np.flatnonzero(np.isclose(given[0], first, atol=1e-3).all(axis=(1, 2)))
        seen[int(place)] = length
        assert frames["inputs"].shape == (2, length, 48, 48, 1)
    assert seen == {0: 7, 1: 7, 2: 6, 17: 6, 18: 7, 19: 7}
    turned = page.Task(page.Config(every=3, warp=0.5)).preprocess(given, lengths, tf.constant([0, 1]))
    assert np.abs(turned["inputs"] - task.preprocess(given, lengths, tf.constant([0, 1]))["inputs"]).max() > 0.1


def test_the_learning_rate_rises_and_falls():
    optimizer = page.Task(page.Config()).optimizer(100)
    schedule = keras.optimizers.schedules.deserialize(optimizer.get_config()["learning_rate"])
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 2.5, 5, 100)], [0, 1e-3, 2e-3, 0], atol=1e-9)


def test_answers_are_those_of_a_clip_alone():
    task = page.Task(page.Config(filters=1, units=4, every=3))
    task.restore({"labels": list("0123456789")})
    answer = task.signatures(page.build_model(task.config, task))["serving_default"]
    given, lengths = clips(3, 8), np.array([8, 5, 1], np.int32)
    together = answer(clips=tf.constant(given), lengths=tf.constant(lengths))
    np.testing.assert_allclose(tf.reduce_sum(together["pair_probabilities"], axis=1), 1, rtol=1e-5)
    for row, length in enumerate(lengths):
        alone = answer(clips=tf.constant(given[row : row + 1, :length]), lengths=tf.constant(lengths[row : row + 1]))
        np.testing.assert_allclose(alone["pair_probabilities"][0], together["pair_probabilities"][row], atol=1e-6)
        best = page.PAIRS[int(np.argmax(alone["pair_probabilities"]))]
        assert tuple(int(digit) for digit in alone["digits"][0].numpy()) == best
        shown = [
            sum(p for p, numbers in zip(alone["pair_probabilities"][0], page.PAIRS, strict=True) if digit in numbers)
            for digit in range(10)
        ]
        np.testing.assert_allclose(alone["digit_probabilities"][0], shown, atol=1e-6)
    for lengths, message in (([9, 1, 1], "no more than"), ([0, 1, 1], "1 or more"), ([8, 8], "one for each row")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(clips=tf.constant(given), lengths=tf.constant(lengths, tf.int32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="empty batch"):
        answer(clips=tf.constant(given[:0]), lengths=tf.zeros(0, tf.int32))


def test_both_digits_have_to_be_right(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "cnn_on_mean_frame", lambda *arguments: 0.25)
    truth = np.array([[0, 1], [2, 2], [3, 9], [0, 1], [0, 1], [5, 6], [7, 7], [7, 8]])
    answered = np.array(
        [["0", "1"], ["2", "2"], ["3", "8"], ["0", "2"], ["1", "1"], ["5", "6"], ["7", "7"], ["7", "8"]]
    )
    test = {"clips": clips(8), "digits": truth}
    known = [{"clips": clips(2), "digits": np.array(pairs)} for pairs in ([[0, 1]] * 2, [[2, 3]] * 2)]
    # Two pairs are equally frequent, the first of which is 0 and 1.
    splits = batching.Splits(*known, test, None, labels=list("0123456789"))
    answers = {"digits": answered, "pair_probabilities": np.full((8, 55), 1 / 55)}
    task = page.Task(page.Config())
    task.learn(splits)
    metrics = task.evaluate(lambda request: answers, splits, tmp_path)
    assert metrics == {"both_right": 5 / 8, "majority_pair": 3 / 8, "cnn_on_mean_frame": 0.25}
    assert np.asarray(Image.open(tmp_path / "clips.png").convert("L")).std() > 10


def test_the_mean_frame_is_learned_from():
    x = np.zeros((20, 3, 48, 48), np.uint8)
    x[::2, :, :20] = 200
    labels = np.arange(20) % 2
    assert page.cnn_on_mean_frame(x, labels, x[:6], labels[:6], epochs=20) == 1


def test_clips_of_a_person(tmp_path):
    frames = [Image.fromarray(frame) for frame in clips(1, 3)[0]]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], optimize=False)
    np.testing.assert_allclose(pictures.read_clip(tmp_path / "clip.gif", 48), clips(1, 3)[0], atol=1)
    frames[0].resize((96, 60)).save(tmp_path / "one.png")
    assert pictures.read_clip(tmp_path / "one.png", 48).shape == (1, 48, 48)
    task = page.Task(page.Config())
    request = task.read(str(tmp_path / "clip.gif"))
    assert request["clips"].shape == (1, 3, 48, 48)
    np.testing.assert_array_equal(request["lengths"], [3])
    (tmp_path / "text.gif").write_text("no picture")
    for name in ("text.gif", "none.gif"):
        with pytest.raises(RecipeError, match="Expected the path of an animated picture or test:N"):
            task.read(str(tmp_path / name))


@pytest.mark.slow
def test_train_evaluate_predict(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page, "cnn_on_mean_frame", lambda *arguments: 0.25)  # which takes half a minute
    settings = ["--epochs=1", "--filters=2", "--units=8", "--every=10", "--cell=coupled_lstm"]
    assert cli.main(["train", NAME, *settings, "--export", f"--data-dir={data_dir}"]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert 0 < card["metrics"]["majority_pair"] < 0.05
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", f"--data-dir={data_dir}"]) == 0
    assert f"both right           {card['metrics']['both_right']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "test:999", f"--data-dir={data_dir}"]) == 0
    assert re.search(r"test:999: \d and \d \(probability 0\.\d{3}\), in truth \d and \d\n", capsys.readouterr().out)
    assert cli.main(["predict", NAME, "test:1000", f"--data-dir={data_dir}"]) == 2
    assert "Expected test:N with N from 0 to 999" in capsys.readouterr().err
