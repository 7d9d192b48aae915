"""Gestures: what the page makes of its rows, its baseline, and its commands on a tiny budget."""

import json
import os
import pathlib
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf

from recipes import vanilla_lstm_smartwatch as page
from recipes._core.command import cli
from recipes._core.data import signals
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines
from recipes._core.export import export

NAME = "vanilla_lstm_smartwatch"


def gestures(seed=0):
    rows = np.random.default_rng(seed).normal([0, 1, 9.8], size=(4, 12, 3))
    return rows.astype(np.float32), np.array([12, 5, 9, 2], np.int32)


def test_rows_are_judged_without_gravity_strength_and_padding():
    rows, lengths = gestures()
    expected = np.asarray(page.standardised(rows, lengths))
    for row, length in zip(expected, lengths, strict=True):
        np.testing.assert_allclose(row[:length].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose((row[:length] ** 2).sum(axis=1).mean(), 1, rtol=1e-3)
        assert not row[length:].any()
    np.testing.assert_allclose(page.standardised(3 * rows - 20, lengths), expected, atol=2e-3)
    np.testing.assert_allclose(page.standardised(rows[1:2, :5], [5]), expected[1:2, :5], atol=1e-5)
    assert not np.any(page.standardised(np.full((1, 3, 3), 9.8, np.float32), [3]))  # a watch at rest


def test_training_gestures_vary_as_the_settings_say():
    rows, lengths = gestures()
    seed = tf.constant([1, 2])
    same, same_lengths = page.varied(rows, lengths, page.Config(rotation=0, speed=0), seed)
    np.testing.assert_array_equal(same_lengths, lengths)
    for row, expected, length in zip(np.asarray(same), rows, lengths, strict=True):
        np.testing.assert_allclose(row[:length], expected[:length], atol=1e-5)
    turned, _ = page.varied(rows, lengths, page.Config(rotation=0.5, speed=0), seed)
    assert np.abs(turned[0] - rows[0]).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(turned[0], axis=1), np.linalg.norm(rows[0], axis=1), rtol=1e-4)
    many = np.tile(rows[:1], (200, 1, 1))
    played, played_lengths = page.varied(many, np.full(200, 12), page.Config(rotation=0, speed=0.5), seed)
    assert set(played_lengths.numpy()) >= set(range(9, 18))
    for row, length in zip(np.asarray(played), np.asarray(played_lengths), strict=True):
        np.testing.assert_allclose(row[[0, length - 1]], rows[0][[0, -1]], atol=1e-3)
    again = page.varied(many, np.full(200, 12), page.Config(rotation=0, speed=0.5), seed)
    np.testing.assert_array_equal(again[0], played)


def plain_dtw(one, other, band):
    cost = np.full((len(one) + 1, len(other) + 1), np.inf)
    cost[0, 0] = 0
    for i in range(len(one)):
        for j in range(len(other)):
            if abs(i - j) <= band:
                least = min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
                cost[i + 1, j + 1] = ((one[i] - other[j]) ** 2).sum() + least
    return cost[-1, -1]


@pytest.mark.parametrize("band", [0, 2, 8])
def test_dynamic_time_warping_is_that_of_two_plain_loops(band):
    draw = np.random.default_rng(band)
    one, other = (draw.normal(size=(count, 8, 3)).astype(np.float32) for count in (4, 5))
    expected = [[plain_dtw(a, b, band) for b in other] for a in one]
    np.testing.assert_allclose(baselines._dtw(one, other, band), expected, rtol=1e-4)


def test_the_nearest_neighbour_by_warping_forgives_a_delay():
    bump = np.array([0, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0], np.float32)
    train = np.stack([bump, np.zeros_like(bump)])[..., None]
    test = np.roll(bump, 3)[None, :, None]
    labels = np.array([7, 8])
    assert baselines.dtw_1nn(train, labels, test, np.array([7]), band=4) == 1
    assert baselines.dtw_1nn(train, labels, test, np.array([7]), band=0) == 0


def test_the_signature_answers_gestures_and_refuses_what_is_none():
    task = page.Task(page.Config(units=4))
    task.restore({"labels": [f"gesture {number}" for number in range(20)]})
    answer = export.as_arrays(task.signatures(page.build_model(task.config, task)))
    rows, lengths = gestures()
    expected = answer({"rows": rows, "lengths": lengths})
    np.testing.assert_allclose(expected["probabilities"].sum(axis=1), 1, rtol=1e-5)
    assert expected["label"][2] == f"gesture {expected['probabilities'][2].argmax()}"
    rows[1, 5:] = np.nan  # behind the length
    np.testing.assert_allclose(answer({"rows": rows, "lengths": lengths})["logits"], expected["logits"], atol=1e-6)
    for given, message in [
        ((rows, lengths + 1), "no more than there are time steps"),
        ((rows, lengths * 0), "expected 1 or more"),
        ((rows[:0], lengths[:0]), "received an empty batch"),
        ((rows, np.full(4, 12, np.int32)), "expected finite numbers"),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(dict(zip(("rows", "lengths"), given, strict=True)))


def test_input_is_read_from_a_csv_file(tmp_path):
    path, task = tmp_path / "gesture.csv", page.Task(page.Config())
    path.write_text("0.5,1,9.8\n\n-3,2e1,9\n")
    request = task.read(str(path))
    np.testing.assert_array_equal(request["rows"], np.array([[[0.5, 1, 9.8], [-3, 20, 9]]], np.float32))
    assert request["rows"].dtype == np.float32
    np.testing.assert_array_equal(request["lengths"], [2])
    for text in ("", "1,2\n3,4\n", "1,2,nan\n", "x,y,z\n1,2,3\n", "1,2,3\n1,2\n"):
        path.write_text(text)
        with pytest.raises(RecipeError, match="Expected rows of 3 finite numbers, x,y,z in m/s²"):
            task.read(str(path))
    with pytest.raises(RecipeError, match=r"Expected the path of a CSV file or test:N, received .*No such file"):
        task.read(str(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("text", "wrong", "line"),
    [
        ("1,2\n\n3\n", "3", 3),
        ("1,2\n3,4,5\n", "3,4,5", 2),
        ("left,right\n1,2\n", "left,right", 1),
        ("1,2\n3,\n", "3,", 2),
        ('1,2\n"3\n",4\n5,inf\n', "5,inf", 4),
        ("1,2\n1e39,0\n", "1e39,0", 2),
        ("1;2\n", "1;2", 1),
    ],
)
def test_what_is_no_row_of_numbers_is_told_with_its_line(text, wrong, line, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        signals.read_csv(str(path), 2, "left,right")
    wanted = "Expected rows of 2 finite numbers, left,right"
    assert str(caught.value) == f"{wanted}, received {wrong!r} in line {line} of {str(path)!r}."


def test_files_that_are_no_rows_of_numbers_are_told(tmp_path):
    path = tmp_path / "rows.csv"
    for content, message in [
        (b"\n\n", "Expected rows of 1 finite numbers, time in s, but .*rows.csv' has none"),
        (b"\xff\xfe1", "Expected the path of a CSV file or test:N, received .*rows.csv'.*can't decode"),
    ]:
        path.write_bytes(content)
        with pytest.raises(RecipeError, match=message):
            signals.read_csv(str(path), 1, "time in s")
    path.write_bytes("\ufeff 1\r\n2\r\n".encode())  # as spreadsheets write it
    np.testing.assert_array_equal(signals.read_csv(str(path), 1, "time in s"), [[1], [2]])


def test_without_a_network_it_says_what_to_place_where(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    assert cli.main(["train", NAME, "--participant=9"]) == 2
    assert "`participant` to be an integer from 1 to 8, received 9" in capsys.readouterr().err
    assert cli.main(["train", NAME, f"--data-dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "gestures-dataset.zip" in error
    assert str(tmp_path / "downloads/manual/smartwatch_gestures") in error
    assert time.monotonic() - started < 15


@pytest.mark.tfds
def test_the_page_trains_exports_and_answers(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "smartwatch_gestures"
    shutil.copytree(sources, tmp_path / "data/downloads/manual/smartwatch_gestures")
    options = ["--data-dir=data"]
    assert (
        cli.main(["train", NAME, "--participant=2", "--epochs=1", "--units=8", "--cell=gru", "--export", *options]) == 0
    )
    assert "2,433 to train, 401 to validate, 417 to test" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / NAME).iterdir()
    metrics = json.loads((folder / "card.json").read_text())["metrics"]
    assert list(metrics) == ["test_accuracy", "majority_class", "dtw_1nn"]
    assert metrics["majority_class"] < metrics["test_accuracy"] < 0.9 < metrics["dtw_1nn"] < 0.96
    assert (folder / "confusion_matrix.png").exists()
    assert cli.main(["evaluate", NAME, "--saved-model", *options]) == 0
    out = capsys.readouterr().out
    for name, value in metrics.items():
        assert f"  {name.replace('_', ' '):<20} {value:.4f}" in out
    assert cli.main(["predict", NAME, "test:3", *options]) == 0
    answered = capsys.readouterr().out
    config = page.Config(participant=2)
    test = page.load(config, "data").test
    request, truth = page.Task(config).test_request(test, 3), json.loads((folder / "card.json").read_text())["labels"]
    np.savetxt("gesture.csv", request["rows"][0, : request["lengths"][0]], delimiter=",")
    assert cli.main(["predict", NAME, "gesture.csv"]) == 0
    alone, beside = capsys.readouterr().out.replace("gesture.csv:", "test:3:"), truth[int(test["label"][3])]
    assert answered == f"{alone.rstrip()}, in truth {beside}\n"
    assert cli.main(["predict", NAME, "test:417", *options]) == 2
    assert "N from 0 to 416" in capsys.readouterr().err
