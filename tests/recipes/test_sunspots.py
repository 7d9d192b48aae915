"""The page of sunspot numbers: its windows of time, its loss, its baselines, and what it says."""

import importlib.metadata
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes import stacked_lstm_sunspots as page
from recipes._core import baselines, cli, data, export
from recipes._core.errors import RecipeError
from recipes.datasets.sunspots import sunspots_dataset_builder

NAME = "stacked_lstm_sunspots"


@pytest.fixture(scope="module")
def splits(data_dir):
    return page.load(page.Config(window=24), data_dir)


@pytest.fixture(scope="module")
def answer():
    keras.utils.set_random_seed(0)
    return export.as_arrays(page.serving(page.build_model(page.Config(units=4), steps=1), None))


def test_the_series_is_whole(no_network, data_dir):
    table = data.read(data.prepare("sunspots", data_dir=data_dir), "train")
    months = 12 * np.asarray(table["year"]) + np.asarray(table["month"]) - 1
    np.testing.assert_array_equal(months, np.arange(12 * 1749, 12 * 2009 + 6))
    numbers = np.asarray(table["sunspots"])
    np.testing.assert_allclose([numbers[0], numbers[12], numbers.max(), numbers[-1]], [58, 73.3, 253.8, 2.6], rtol=1e-6)


def test_missing_package_and_other_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(sunspots_dataset_builder, "_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"sha256 0000.*received cc303d26"):
        sunspots_dataset_builder.Builder._read()

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    with pytest.raises(ModuleNotFoundError, match="statsmodels, which is not installed: pip install statsmodels"):
        sunspots_dataset_builder.Builder._read()


def test_nothing_of_a_later_split_is_seen_before(splits):
    before = splits.more["before"]
    validation = (1950 - 1749) * 12
    assert len(before) == validation + 240
    train = np.asarray(splits.train.columns)
    np.testing.assert_array_equal(train[0], before[: train.shape[1]])
    last = np.lib.stride_tricks.sliding_window_view(before[:validation], train.shape[1])[::12][-1]
    np.testing.assert_array_equal(train[-1], last)
    np.testing.assert_array_equal(splits.validation.columns, before[None, validation:])
    np.testing.assert_array_equal(splits.test["past"][0], before[-24:])
    moved = np.concatenate([before[-12:], splits.test["future"][0]])
    np.testing.assert_array_equal(splits.test["past"][12], moved)
    np.testing.assert_allclose(splits.test["future"][-1, [0, -1]], [0.8, 2.6], rtol=1e-6)


def test_each_month_is_asked_for_the_twelve_after_it(splits):
    (inputs, targets), *_ = splits.validation.epoch().as_numpy_iterator()
    numbers = page.unscale(inputs["inputs"][0, :, 0]).numpy()
    np.testing.assert_allclose(numbers, splits.more["before"][-240:-12], rtol=1e-4, atol=1e-3)
    assert inputs["lengths"].tolist() == [228]
    for month in (0, 100, 227):
        expected = splits.more["before"][-240:][month + 1 : month + 13]
        np.testing.assert_allclose(page.unscale(targets[0, month]), expected, rtol=1e-4, atol=1e-3)


def test_training_windows_are_moved_and_stretched(splits):
    inputs, targets = next(splits.train.epoch(0).as_numpy_iterator())
    numbers = page.unscale(inputs["inputs"][..., 0]).numpy()
    assert numbers.shape == (16, 24)
    assert targets.shape == (16, 24, 12)
    np.testing.assert_allclose(inputs["inputs"][:, 1:, 0], targets[:, :-1, 0], rtol=1e-6)
    views = np.lib.stride_tricks.sliding_window_view(splits.more["before"], 24)
    for window in numbers[:4]:
        likeness = (views @ window) / np.maximum(np.linalg.norm(views, axis=1) * np.linalg.norm(window), 1e-9)
        factor = window.sum() / views[likeness.argmax()].sum()
        assert likeness.max() > 1 - 1e-6
        assert np.exp(-0.6) <= factor <= np.exp(0.6)


def test_pinball_by_hand():
    truth = np.zeros((1, 1, 12), np.float32)
    answers = np.zeros((1, 1, 12, 5), np.float32)
    answers[..., 0], answers[..., 4] = -2, 1
    # 0.05 of the 2 that the lowest lies below, 0.05 of the 1 that the highest lies above, over five quantiles.
    expected = (0.05 * 2 + 0.05 * 1) / 5
    np.testing.assert_allclose(page.pinball(truth, answers.reshape(1, 1, 60)), [[expected]], rtol=1e-5)


def test_answers_are_sorted_numbers_that_know_no_padding(answer):
    numbers = np.full((2, 30), np.nan, np.float32)
    numbers[0, :20], numbers[1] = np.arange(20), np.arange(30)
    both = answer({"numbers": numbers, "lengths": np.array([20, 30], np.int32)})["quantiles"]
    assert both.shape == (2, 12, 5)
    assert np.all(np.diff(both, axis=-1) >= 0)
    assert np.all(both >= 0)
    alone = answer(page.request(numbers[:1, :20]))["quantiles"]
    np.testing.assert_allclose(alone[0], both[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("numbers", "length", "message"),
    [([1.0, np.nan], 2, "expected finite numbers"), ([-1.0, 2.0], 2, "expected 0 or more"), ([1.0], 2, "no more than")],
)
def test_what_a_series_cannot_be(answer, numbers, length, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer({"numbers": np.array([numbers], np.float32), "lengths": np.array([length], np.int32)})


def test_an_autoregression_forecasts_what_follows_its_rule():
    series = [1.0, 0.9]
    while len(series) < 80:
        series.append(1.6 * series[-1] - 0.9 * series[-2] + 0.3)
    series = np.array(series)
    forecasts = baselines.autoregression(series, 60, 5, lags=2)
    assert forecasts.shape == (16, 5)
    np.testing.assert_allclose(forecasts, [series[start : start + 5] for start in range(60, 76)], rtol=1e-6)


def test_evaluate_measures_the_median_and_the_interval(splits, monkeypatch, tmp_path):
    monkeypatch.setattr(baselines, "autoregression", lambda series, first, horizon, lags: np.zeros((463, 12)))
    future = splits.test["future"]

    def oracle(request):
        start = np.flatnonzero((splits.test["past"] == request["numbers"][0]).all(axis=1))[0]
        exact = future[start : start + len(request["numbers"]), :, None]
        return {"quantiles": exact + np.array([-20, -10, 2, 10, 20], np.float32)}

    metrics = page.evaluate(oracle, splits, tmp_path)
    assert metrics[page.METRIC] == pytest.approx(2, rel=1e-4)
    assert metrics["test_pinball"] == pytest.approx(
        (0.05 * 20 + 0.25 * 10 + 0.5 * 2 + 0.25 * 10 + 0.05 * 20) / 5, rel=1e-4
    )
    assert metrics["coverage_of_90_percent"] == 1
    series = np.concatenate([splits.more["before"], future[:, 0], future[-1, 1:]])
    year = [
        np.abs(series[t : t + 12] - series[t - 12 : t]).mean()
        for t in range(len(splits.more["before"]), len(series) - 11)
    ]
    assert metrics["year_before"] == pytest.approx(np.mean(year), rel=1e-5)
    assert metrics["autoregression"] == pytest.approx(future.mean(), rel=1e-5)
    assert (tmp_path / "forecasts.png").stat().st_size > 10000


def test_a_text_of_numbers_is_asked(tmp_path, data_dir):
    (tmp_path / "numbers.csv").write_text("1\n2.5\n3e1\n")
    asked = page.read_input(str(tmp_path / "numbers.csv"), page.Config(window=2))
    assert asked["numbers"].tolist() == [[2.5, 30]]
    quantiles = np.arange(60).reshape(1, 12, 5)
    assert page.show({"quantiles": quantiles}).startswith(
        "the next 12 months, each with its 90 % interval: 2 (0 to 4), "
    )
    for text, message in (("", "received \\[\\]"), ("1\n-3", "0 or more"), ("1\nnan", "0 or more"), ("a", "'a'")):
        (tmp_path / "numbers.csv").write_text(text)
        with pytest.raises(RecipeError, match=message):
            page.read_input(str(tmp_path / "numbers.csv"), page.Config())
    with pytest.raises(RecipeError, match="a text with a number in each line, or test:N, received 'nothing'"):
        page.read_input("nothing", page.Config())
    with pytest.raises(RecipeError, match="N from 0 to 462"):
        page.read_input("test:463", page.Config(), data_dir)


@pytest.mark.slow
def test_train_evaluate_and_predict(no_network, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [f"--data-dir={data_dir}"]
    assert cli.main(["train", NAME, "--epochs=2", "--units=8", "--window=36", "--device=cpu", *options]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert 16 < card["metrics"]["autoregression"] < 17
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", *options]) == 0
    assert f"test mae             {card['metrics']['test_mae']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "test:462", *options]) == 0
    assert "the next 12 months" in capsys.readouterr().out
