"""The page of sunspot numbers: its splits in time, its scale, its baselines, and what it says."""

import importlib.metadata
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes import stacked_lstm_sunspots as page
from recipes._core.command import cli
from recipes._core.data import datasets
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines
from recipes._core.export import export
from recipes._core.task import count
from recipes.datasets.sunspots import sunspots_dataset_builder

NAME = "stacked_lstm_sunspots"


def untrained(**settings):
    """A task that has seen no data, and the answers of a model of four units."""
    keras.utils.set_random_seed(0)
    task = page.Task(page.Config(units=4, **settings))
    return task, export.as_arrays(task.signatures(page.build_model(task.config, task)))


@pytest.fixture(scope="module")
def splits(data_dir):
    return page.load(page.Config(window=24), data_dir)


@pytest.fixture(scope="module")
def task(splits):
    task = page.Task(page.Config(window=24))
    task.learn(splits)
    return task


@pytest.fixture(scope="module")
def answer():
    return untrained()[1]


def test_the_series_is_whole(no_network, data_dir):
    table = datasets.read(datasets.prepare("sunspots", data_dir=data_dir), "train")
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


def test_nothing_of_a_later_split_is_seen_before(splits, task):
    series, (validation, test) = splits.test["series"], ((year - 1749) * 12 for year in (1950, 1970))
    assert len(series) == 3126
    np.testing.assert_array_equal(splits.train["series"], series[:validation])
    np.testing.assert_array_equal(splits.validation["series"], series[validation:test])
    longest = 24 + 2 * 12 - 1  # a window, its numbers to tell, and where it begins
    starts = np.arange(validation)[: validation - longest + 1 : 12]
    np.testing.assert_array_equal(splits.train["start"], starts)
    past, future = task.past(splits.test, slice(None)), task.future(splits.test)
    np.testing.assert_array_equal(past[0], series[test - 24 : test])
    np.testing.assert_array_equal(past[12], np.concatenate([past[0, 12:], future[0]]))
    np.testing.assert_allclose(future[-1, [0, -1]], [0.8, 2.6], rtol=1e-6)
    assert count(splits.validation) == 1
    assert count(splits.test) == len(past) == 463


def test_each_month_is_asked_for_the_twelve_after_it(splits, task):
    (inputs, targets), *_ = task.batches(splits.validation).epoch().as_numpy_iterator()
    series = splits.validation["series"]
    np.testing.assert_allclose(task.unscale(inputs["inputs"][0, :, 0]), series[:-12], rtol=1e-4, atol=1e-3)
    assert inputs["lengths"].tolist() == [228]
    for month in (0, 100, 227):
        expected = series[month + 1 : month + 13]
        np.testing.assert_allclose(task.unscale(targets[0, month]), expected, rtol=1e-4, atol=1e-3)


def test_training_windows_are_moved_and_stretched(splits, task):
    inputs, targets = next(task.batches(splits.train, training=True).epoch(0).as_numpy_iterator())
    numbers = task.unscale(inputs["inputs"][..., 0]).numpy()
    assert numbers.shape == (16, 24)
    assert targets.shape == (16, 24, 12)
    np.testing.assert_allclose(inputs["inputs"][:, 1:, 0], targets[:, :-1, 0], rtol=1e-6)
    views = np.lib.stride_tricks.sliding_window_view(splits.train["series"], 24)
    places = set()
    for window in numbers[:4]:
        likeness = (views @ window) / np.maximum(np.linalg.norm(views, axis=1) * np.linalg.norm(window), 1e-9)
        factor = window.sum() / views[likeness.argmax()].sum()
        assert likeness.max() > 1 - 1e-6
        assert np.exp(-0.6) <= factor <= np.exp(0.6)
        places.add(int(likeness.argmax()) % 12)
    assert len(places) > 1


def test_answers_are_sorted_numbers_that_know_no_padding():
    task, answer = untrained()
    numbers = np.full((2, 30), np.nan, np.float32)
    numbers[0, :20], numbers[1] = np.arange(20), np.arange(30)
    both = answer({"numbers": numbers, "lengths": np.array([20, 30], np.int32)})["quantiles"]
    assert both.shape == (2, 12, 5)
    assert np.all(np.diff(both, axis=-1) >= 0)
    assert np.all(both >= 0)
    alone = answer(task.request(numbers[:1, :20]))["quantiles"]
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


def test_evaluate_measures_the_median_and_the_interval(splits, task, monkeypatch, tmp_path):
    def autoregression(series, first, horizon, lags):
        np.testing.assert_allclose(series, (np.sqrt(splits.test["series"]) - 6) / 3, rtol=1e-5)
        assert (first, lags) == (2652, 132)
        return np.full((463, horizon), -2.0)

    monkeypatch.setattr(baselines, "autoregression", autoregression)
    past, future = task.past(splits.test, slice(None)), task.future(splits.test)

    def oracle(request):
        start = np.flatnonzero((past == request["numbers"][0]).all(axis=1))[0]
        exact = future[start : start + len(request["numbers"]), :, None]
        return {"quantiles": exact + np.array([-20, -10, 2, 10, 20], np.float32)}

    metrics = task.evaluate(oracle, splits, tmp_path)
    assert next(iter(metrics)) == "test_mae"
    assert metrics["test_mae"] == pytest.approx(2, rel=1e-4)
    assert metrics["test_pinball"] == pytest.approx(
        (0.05 * 20 + 0.25 * 10 + 0.5 * 2 + 0.25 * 10 + 0.05 * 20) / 5, rel=1e-4
    )
    assert metrics["coverage_of_90_percent"] == 1
    series = splits.test["series"]
    year = [np.abs(series[t : t + 12] - series[t - 12 : t]).mean() for t in range(2652, len(series) - 11)]
    assert metrics["year_before"] == pytest.approx(np.mean(year), rel=1e-5)
    cycle = [np.abs(series[t : t + 12] - series[t - 132 : t - 120]).mean() for t in range(2652, len(series) - 11)]
    assert metrics["cycle_before"] == pytest.approx(np.mean(cycle), rel=1e-5)
    last = [np.abs(series[t : t + 12] - series[t - 1]).mean() for t in range(2652, len(series) - 11)]
    assert metrics["persistence"] == pytest.approx(np.mean(last), rel=1e-5)
    assert metrics["autoregression"] == pytest.approx(future.mean(), rel=1e-5)
    assert (tmp_path / "forecasts.png").stat().st_size > 10000


def test_a_text_of_numbers_is_asked(tmp_path):
    (tmp_path / "numbers.csv").write_text("1\n2.5\n3e1\n")
    task = page.Task(page.Config(window=2))
    asked = task.read(str(tmp_path / "numbers.csv"))
    assert asked["numbers"].tolist() == [[2.5, 30]]
    quantiles = np.arange(60).reshape(1, 12, 5)
    assert task.show({"quantiles": quantiles}).startswith(
        "the next 12 months, each with its 90 % interval: 2 (0 to 4), "
    )
    for text, message in (("", "received \\[\\]"), ("1\n-3", "0 or more"), ("1\nnan", "0 or more"), ("a", "'a'")):
        (tmp_path / "numbers.csv").write_text(text)
        with pytest.raises(RecipeError, match=message):
            task.read(str(tmp_path / "numbers.csv"))
    with pytest.raises(RecipeError, match="a text with a number in each line, or test:N, received 'nothing'"):
        task.read("nothing")


def test_the_picture_begins_in_the_first_year_of_the_test(task):
    np.testing.assert_allclose(task.times(np.array([0, 2652])), [1749 + 1 / 24, 1970 + 1 / 24])


@pytest.mark.slow
def test_train_evaluate_and_predict(no_network, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [f"--data-dir={data_dir}"]
    settings = ["--epochs=2", "--units=8", "--window=36", "--device=cpu", "--export"]
    assert cli.main(["train", NAME, *settings, *options]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert 16 < card["metrics"]["autoregression"] < 17
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", *options]) == 0
    assert f"test mae             {card['metrics']['test_mae']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "test:462", *options]) == 0
    out = capsys.readouterr().out
    assert "the next 12 months" in out
    assert "in truth 1, 0, 1, 3, 4, 1, 2, 1, 1, 1, 3, 3" in out
    assert cli.main(["predict", NAME, "test:463", *options]) == 2
    assert "N from 0 to 462" in capsys.readouterr().err
