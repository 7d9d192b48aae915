"""The task of forecasting a series: windows, loss and answers, also of a series that no page of the project has."""

import dataclasses
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.errors import RecipeError
from recipes._core.export import export
from recipes._core.settings import Count, Positive, Seed, settings
from recipes._core.task import count
from recipes.tasks.forecasting import Forecasting, split

HORIZON = 6


@settings
class Config:
    dataset: str = "waves"
    epochs: Count = 8
    batch_size: Count = 16
    learning_rate: Positive = 1e-2
    clipnorm: Positive = 1.0
    window: Count = 24
    seed: Seed = 0


class Waves(Forecasting):
    horizon = HORIZON
    seasons = (("day", 4), ("week", 12))
    step = "hour"


def waves(steps=600, features=2):
    """A series around -100 whose first feature is what its second was an hour ago, times 3."""
    driver = np.random.default_rng(0).normal(size=steps + 1)
    driver = np.convolve(driver, np.ones(HORIZON), "full")[: steps + 1]
    both = np.stack([3 * driver[:-1] - 100, driver[1:], np.full(steps, 7)], axis=1)
    return both[:, 0] if features == 1 else both[:, :features]


def learned(features, facts=None, task=Waves, **changes):
    config = Config(**changes)
    splits = split(waves(features=features), 400, 500, config.window, HORIZON, facts)
    task = task(config)
    task.learn(splits)
    return task, splits


def build_model(task):
    keras.utils.set_random_seed(0)
    return archs.stacked_lstm(
        features=task.features, units=[16], outputs=task.outputs, return_sequences=True, lengths=True
    )


@pytest.mark.parametrize("features", [1, 2, 3])
def test_a_series_of_any_features_is_standardised_by_its_training_part(features):
    task, splits = learned(features)
    assert task.features == features
    inputs, targets = next(task.batches(splits.train, training=True).epoch().as_numpy_iterator())
    assert inputs["inputs"].shape == (16, 24, features)
    assert targets.shape == (16, 24, HORIZON)
    np.testing.assert_allclose(inputs["inputs"][:, 1:, 0], targets[:, :-1, 0], rtol=1e-6)
    known = task.inputs(tf.constant(splits.train["series"][None]))[0].numpy()
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(known.std(axis=0)[:2], 1, atol=1e-4)
    np.testing.assert_allclose(task.unscale(known[:, 0]), waves(features=1)[:400], rtol=1e-5)


def test_windows_begin_at_any_time_step_of_the_training_part():
    task, splits = learned(1, batch_size=1)
    series, begun = splits.train["series"], set()
    for epoch in range(4):
        for inputs, targets in task.batches(splits.train, training=True).epoch(epoch).as_numpy_iterator():
            window = task.unscale(np.concatenate([inputs["inputs"][0, :, 0], targets[0, -1]]))
            views = np.lib.stride_tricks.sliding_window_view(series, len(window))
            distance = np.abs(views - window).max(axis=1)
            assert distance.min() < 1e-3
            begun.add(int(distance.argmin()))
    assert len(begun) > 100
    assert {start % HORIZON for start in begun} == set(range(HORIZON))
    assert max(begun) + 24 + HORIZON <= 400


def test_the_order_and_the_windows_of_an_epoch_are_those_of_the_seed():
    task, splits = learned(2)
    first, again, other = (
        np.concatenate([inputs["inputs"] for inputs, _ in made.batches(splits.train, training=True).epoch(epoch)])
        for made, epoch in ((task, 0), (learned(2)[0], 0), (learned(2, seed=1)[0], 0))
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_pinball_by_hand():
    truth = np.zeros((1, 1, HORIZON), np.float32)
    answers = np.zeros((1, 1, HORIZON, 5), np.float32)
    answers[..., 0], answers[..., 4] = -2, 1
    # 0.05 of the 2 that the lowest lies below, 0.05 of the 1 that the highest lies above, over five quantiles.
    expected = (0.05 * 2 + 0.05 * 1) / 5
    np.testing.assert_allclose(Waves(Config()).pinball(truth, answers.reshape(1, 1, -1)), [[expected]], rtol=1e-5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("features", [1, 2])
def test_it_learns_a_series_with_negative_numbers_and_answers_without_the_data(features, tmp_path):
    task, splits = learned(features)
    model, train = build_model(task), task.batches(splits.train, training=True)
    task.compile(model, steps=task.epochs * len(train))
    for epoch in range(task.epochs):
        model.fit(train.epoch(epoch), shuffle=False, verbose=0)
    metrics = task.evaluate(export.as_arrays(task.signatures(model)), splits, tmp_path)
    assert list(metrics) == [
        *("test_mae", "persistence", "day_before", "week_before", "autoregression"),
        *("test_pinball", "coverage_of_90_percent"),
    ]
    assert metrics["test_mae"] < 0.95 * min(metrics[name] for name in ("persistence", "day_before", "week_before"))
    assert 0.6 < metrics["coverage_of_90_percent"] < 1
    assert (tmp_path / "forecasts.png").stat().st_size > 5000
    restored = Waves(task.config)
    restored.restore(json.loads(json.dumps(task.state())))
    request = task.sample(model, splits)["serving_default"]
    answers = [export.as_arrays(one.signatures(model))(request) for one in (task, restored)]
    np.testing.assert_array_equal(answers[0]["quantiles"], answers[1]["quantiles"])
    assert np.all(answers[0]["quantiles"] < 0)
    assert restored.show(answers[1]).startswith("the next 6 hours, each with its 90 % interval: -")
    assert restored.truth(splits.test, 0).count(", ") == HORIZON - 1


def test_of_several_features_all_are_read_and_the_first_is_told():
    task, splits = learned(2)
    answer = export.as_arrays(task.signatures(build_model(task)))
    asked = task.sample(None, types.SimpleNamespace(validation=splits.validation, test=splits.test))
    request = asked["serving_default"]
    assert request["numbers"].shape == (1, 24, 2)
    np.testing.assert_array_equal(request["numbers"][0], splits.test["series"][476:500])
    np.testing.assert_array_equal(task.future(splits.test)[0], splits.test["series"][500:506, 0])
    quantiles = answer(request)["quantiles"]
    assert quantiles.shape == (1, HORIZON, 5)
    changed = request["numbers"] + np.array([0, 1], np.float32)
    assert np.any(answer(request | {"numbers": changed})["quantiles"] != quantiles)
    padded = np.pad(request["numbers"], [(0, 0), (0, 3), (0, 0)], constant_values=np.nan)
    np.testing.assert_allclose(answer(request | {"numbers": padded})["quantiles"], quantiles, rtol=1e-5)


class Floors(Waves):
    lowest = (-200, 5)


def test_a_page_says_what_is_too_low_of_each_feature(tmp_path):
    task, _ = learned(2, task=Floors)
    answer = export.as_arrays(task.signatures(build_model(task)))
    numbers = np.array([[[-200, 5], [3, 6], [-300, 0]]], np.float32)
    assert answer({"numbers": numbers, "lengths": np.array([2], np.int32)})["quantiles"].shape == (1, HORIZON, 5)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"numbers: expected \(-200, 5\) or more"):
        answer({"numbers": numbers, "lengths": np.array([3], np.int32)})
    (tmp_path / "a.csv").write_text("-200, 5\n0, 4\n")
    with pytest.raises(
        RecipeError, match=r"numbers of \(-200, 5\) or more .*, a line for each hour, received \[\[-200"
    ):
        task.read(str(tmp_path / "a.csv"))


def test_a_text_has_a_number_for_each_feature_in_a_line(tmp_path):
    task, _ = learned(2, window=2)
    path = tmp_path / "a.csv"
    whole = ["9,9\n-1,2\n3,4e0\n", "9 9\n\n-1\t2\n3; 4", "-1,2\r\n3,4\r\n"]
    for text in (*whole, "\ufeff-1,2\n3,4", "\nx,the y\n-1,2\n3,4", '\ufeff"x","y"\n-1,2\n3,4'):
        path.write_text(text)
        asked = task.read(str(path))
        assert asked["numbers"].tolist() == [[[-1, 2], [3, 4]]]
        assert asked["lengths"].tolist() == [2]
    for text in ("1\n2\n", "1,2\n3\n", "1,2,3\n4,5,6\n7,8,9\n", "1,x\n", "x,1\n2,3\n", "x,y\n", "1,2\nx,y\n"):
        path.write_text(text)
        with pytest.raises(RecipeError, match="a text with 2 numbers in each line, or test:N, received"):
            task.read(str(path))
    for text in ("", "1,inf\n"):
        path.write_text(text)
        with pytest.raises(RecipeError, match=r"Expected finite numbers in .*, a line for each hour, received"):
            task.read(str(path))
    path.write_text("value\n1\n2\n3\n")
    assert learned(1, window=2)[0].read(str(path))["numbers"].tolist() == [[2, 3]]
    path.write_text("1,5\n")
    with pytest.raises(RecipeError, match="a number in each line"):
        learned(1)[0].read(str(path))


def test_a_season_shorter_than_the_horizon_knows_nothing_that_comes_later(monkeypatch):
    task, splits = learned(1)
    monkeypatch.setattr("recipes._core.evaluate.baselines.autoregression", lambda *_, **__: np.zeros((95, HORIZON)))
    series, errors = splits.test["series"], []
    for start in splits.test["start"]:
        last = series[start - 4 : start]
        errors.append(np.abs(np.concatenate([last, last])[:HORIZON] - series[start : start + HORIZON]).mean())
    empty = {"quantiles": np.zeros((95, HORIZON, 5))}
    metrics = task.evaluate(lambda request: empty, splits)
    assert metrics["day_before"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_split_of_each_part_has_its_examples():
    series = np.arange(100.0)
    splits = split(series, 60, 80, 20, HORIZON, {"name": "a"})
    assert [count(part) for part in (splits.train, splits.validation, splits.test)] == [5, 1, 15]
    assert splits.facts == {"name": "a"}
    assert splits.train["start"].tolist() == [0, 6, 12, 18, 24]
    np.testing.assert_array_equal(splits.train["series"], series[:60])
    np.testing.assert_array_equal(splits.validation["series"], series[60:80])
    np.testing.assert_array_equal(splits.test["series"], series)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ((30, 80), "Expected 31 time steps or more for the training, received 30"),
        ((60, 66), "Expected 7 time steps or more for the validation, received 6"),
        ((60, 95), "Expected 6 time steps or more for the test, received 5"),
    ],
)
def test_a_series_that_is_too_short_is_refused(places, message):
    with pytest.raises(RecipeError, match=message):
        split(np.arange(100.0), *places, 20, HORIZON, {})


def test_a_gap_in_a_series_is_told_by_its_place():
    series = waves(100)
    series[7, 1] = np.nan
    with pytest.raises(RecipeError, match="finite numbers, received nan at time step 7"):
        split(series, 60, 80, 20, HORIZON, {})


def test_a_season_needs_three_times_its_length_to_be_learned():
    task = Waves(Config(window=1))
    with pytest.raises(RecipeError, match=r"Expected 36 hours or more for the training.*received 30"):
        task.learn(split(np.arange(100.0), 30, 60, 1, HORIZON, {}))


def test_before_it_has_learned_the_model_can_be_built_for_a_check_of_the_settings():
    task = Waves(dataclasses.replace(Config(), window=3))
    assert build_model(task).output_shape == (None, None, HORIZON * 5)
