"""The next values of a series, as quantiles."""

import pathlib
import re

import keras
import numpy as np
import tensorflow as tf

from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines, plots
from recipes._core.export import signatures
from recipes._core.settings import Count
from recipes._core.task import Task, joined, slices

OWN = {"target": (str, ""), "columns": (str, ""), "horizon": (Count, 1), "window": (Count, 50)}


class Forecasting(Task):
    """The next `horizon` values of a series, of its first feature where it has several.

    A split is a part of one series, as `split` makes it: `series`, (time,) or (time, features), and before it `start`,
    (examples,), the time step at which each example begins. A window of training begins at random in one of the
    `horizon` time steps from there on; the validation is one example, the whole part; a forecast of the test knows what
    lies before its start, and has the whole series. The recipe has a setting `window`, the time steps that a forecast
    looks back. The model answers at each time step, with `outputs` numbers, so that it learns from all of a window.

    Attributes:
        horizon: how many time steps are forecast.
        quantiles: levels of the quantiles of each, ascending; the median stands in the middle.
        seasons: pairs of a name and a number of time steps, after which the series is alike; each is a baseline.
        step: what a time step is called, such as month.
        lowest: least number allowed; one for each feature, or one for all.
        digits: format of a number for a person.
        mean, deviation: of the training part; of each feature where there are several.
    """

    kept = ("mean", "deviation")
    own = OWN
    name = "forecasting"
    in_order = True
    horizon = 1
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    seasons = ()
    step = "time step"
    lowest = -np.inf
    digits = ".4g"

    def __init__(self, config):
        super().__init__(config)
        self.mean, self.deviation = 0.0, 1.0
        self.horizon = getattr(config, "horizon", self.horizon)

    @classmethod
    def columns_of(cls, config, tables):
        names = [name.strip() for name in config.columns.split(",") if name.strip()] or tables["train"].names
        target = config.target or names[0]
        names = [target, *(name for name in names if name != target)]
        series = [np.stack([table.numbers(name) for name in names], axis=-1) for table in tables.values()]
        ends = np.cumsum([len(part) for part in series])
        series = np.concatenate(series) if len(names) > 1 else np.concatenate(series)[:, 0]
        try:
            splits = split(series, ends[0], ends[1], config.window, config.horizon, facts=None)
        except RecipeError as error:
            raise RecipeError(f"{tables['train'].source}: {error}") from None
        return {name: getattr(splits, name) for name in tables}, []

    def model_arguments(self):
        return {"features": self.features, "outputs": self.outputs, "return_sequences": True}

    @property
    def features(self):
        """Number of values of a time step."""
        return np.size(self.mean)

    @property
    def outputs(self):
        """Size of the model's answer at each time step: quantiles for all time steps ahead."""
        return self.horizon * len(self.quantiles)

    @property
    def percent(self):
        """Share, in words, of what comes that should lie between the outer quantiles."""
        return f"{100 * (self.quantiles[-1] - self.quantiles[0]):.0f}"

    def scale(self, numbers):
        """Numbers (..., features), or of one feature (...), as the model reads and answers them: standardised."""
        return (numbers - self.mean) / self.deviation

    def unscale(self, scaled):
        """Numbers of the first feature from scaled ones."""
        mean, deviation = (float(np.ravel(values)[0]) for values in (self.mean, self.deviation))
        return scaled * deviation + mean

    def vary(self, numbers, seed):
        """Windows of training (batch, time, ...), changed at random by an int32 seed (2,)."""
        return numbers

    def times(self, steps):
        """Places on the axis of time in the picture, for time steps of the series."""
        return steps

    def learn(self, splits):
        series = np.asarray(splits.train["series"], np.float64)
        deviation = series.std(axis=0)
        self.mean, self.deviation = series.mean(axis=0).tolist(), np.where(deviation > 0, deviation, 1).tolist()
        if len(series) < 3 * self._lags():
            raise RecipeError(
                f"Expected {3 * self._lags()} {self.step}s or more for the training, three times as many as the "
                f"autoregression sees, received {len(series)}."
            )

    def _lags(self):
        return max(dict(self.seasons).values(), default=self.horizon)

    def inputs(self, numbers):
        """Inputs of the model, (batch, time, features), from numbers (batch, time, ...)."""
        scaled = self.scale(numbers)
        return scaled if scaled.shape.rank == 3 else scaled[..., None]

    def batches(self, columns, training=False):
        series = tf.constant(columns["series"], tf.float32)
        window = self.config.window if training else len(series) - self.horizon

        def example(start, seed):
            if training:
                start += tf.random.stateless_uniform(tf.shape(start), seed, 0, self.horizon, tf.int32)
            numbers = tf.gather(series, start[:, None] + tf.range(window + self.horizon))
            inputs = self.inputs(self.vary(numbers, seed + 1) if training else numbers)
            targets = tf.signal.frame(inputs[:, 1:, 0], self.horizon, 1)
            return {"inputs": inputs[:, :window], "lengths": tf.fill(tf.shape(start), window)}, targets

        size, seed = (self.config.batch_size, self.config.seed) if training else (1, None)
        return batching.Batches(tf.constant(columns["start"], tf.int32), size, example, seed)

    def pinball(self, truth, answer):
        """Mean over time steps ahead and quantiles of what Koenker and Bassett's quantile regression minimises."""
        answer = keras.ops.reshape(answer, (*keras.ops.shape(answer)[:-1], self.horizon, len(self.quantiles)))
        above = truth[..., None] - answer
        levels = keras.ops.array(self.quantiles, answer.dtype)
        return keras.ops.mean(keras.ops.maximum(levels * above, (levels - 1) * above), axis=(-1, -2))

    def compile(self, model, steps):
        model.compile(self.optimizer(steps), self.pinball)

    def signatures(self, model):
        """The past numbers and how many they are in, quantiles of the next out; and the model's own inputs."""
        names = ("numbers", "lengths")

        def serving_default(inputs):
            numbers, lengths = signatures.checked_signals(*inputs.values(), names=names)
            known = tf.boolean_mask(numbers, tf.sequence_mask(lengths, tf.shape(numbers)[1]))
            allowed = signatures.expect(known >= self.lowest, f"numbers: expected {self.lowest} or more", known)
            numbers = signatures.checked({"numbers": numbers}, allowed)["numbers"]
            answers = model({"inputs": self.inputs(numbers), "lengths": lengths}, training=False)
            last = tf.gather(answers, lengths - 1, axis=1, batch_dims=1)
            quantiles = self.unscale(tf.reshape(last, (-1, self.horizon, len(self.quantiles))))
            return {"quantiles": tf.sort(quantiles, axis=-1)}  # each was learned for itself, and may cross another

        specs = [((None, None, *np.shape(self.mean)), tf.float32), ((None,), tf.int32)]
        specs = [tf.TensorSpec(*spec, name=name) for spec, name in zip(specs, names, strict=True)]
        return {"serving_default": signatures.by_name(serving_default, specs), "logits": signatures.logits(model)}

    def request(self, numbers):
        """A request of `serving_default` for numbers (rows, time, ...), all known."""
        numbers = np.asarray(numbers, np.float32)
        return {"numbers": numbers, "lengths": np.full(len(numbers), numbers.shape[1], np.int32)}

    def past(self, columns, rows):
        """The windows before some forecasts of the test."""
        return columns["series"][columns["start"][rows, None] + np.arange(-self.config.window, 0)]

    def future(self, columns, rows=slice(None)):
        """The numbers that some forecasts of the test should tell."""
        return first_feature(columns["series"])[columns["start"][rows, None] + np.arange(self.horizon)]

    def sample(self, model, splits):
        logits = signatures.first(self.batches(splits.validation))
        return {"serving_default": self.test_request(splits.test, 0), "logits": logits}

    def test_request(self, columns, number):
        return self.request(self.past(columns, [number]))

    def truth(self, columns, number):
        return ", ".join(format(value, self.digits) for value in self.future(columns, [number])[0])

    def read(self, text):
        each = "a number" if self.features == 1 else f"{self.features} numbers"
        try:
            content = pathlib.Path(text).read_text(encoding="utf-8-sig")
            lines = [line.strip() for line in content.splitlines() if line.strip()]
            rows = [re.split(r"[\s,;]+", line) for line in lines]
            if rows[1:] and not any(map(_is_number, rows[0])):  # a header
                lines, rows = lines[1:], rows[1:]
            numbers = np.array(rows if self.features > 1 else " ".join(lines).split(), float)
            if numbers.ndim > 1 and numbers.shape[1] != self.features:
                raise ValueError(f"received {numbers.shape[1]}")
        except (OSError, ValueError) as error:
            raise RecipeError(
                f"Expected a text with {each} in each line, or test:N, received {text!r} ({error})."
            ) from None
        numbers = numbers.reshape(-1, *np.shape(self.mean))
        if not len(numbers) or not np.all((numbers >= self.lowest) & np.isfinite(numbers)):
            kind = "finite numbers" if np.all(np.isneginf(self.lowest)) else f"numbers of {self.lowest} or more"
            received = numbers[:5].tolist()
            raise RecipeError(f"Expected {kind} in {text!r}, a line for each {self.step}, received {received}.")
        return self.request(numbers[None, -self.config.window :])

    def show(self, answer):
        quantiles = np.asarray(answer["quantiles"][0])
        numbers = [[format(value, self.digits) for value in row] for row in quantiles]
        each = ", ".join(f"{row[len(row) // 2]} ({row[0]} to {row[-1]})" for row in numbers)
        return f"the next {self.horizon} {self.step}s, each with its {self.percent} % interval: {each}"

    def evaluate(self, answer, splits, folder=None):
        """Mean absolute error of the median, and how good the quantiles are; draws forecasts.

        The baselines: as it was last, and a season ago; an autoregression over the longest season, of the scaled
        numbers, fitted once, on all that lies before the test.
        """
        series, starts = splits.test["series"], splits.test["start"]
        future, ahead = self.future(splits.test), np.arange(self.horizon)
        requests = (self.request(self.past(splits.test, rows)) for rows in slices(len(starts), 128))
        quantiles = joined([answer(request) for request in requests])["quantiles"]
        if folder:
            few = slice(None, 40 * self.horizon, self.horizon)
            times, title = self.times(starts[few, None] + ahead), f"a forecast every {self.horizon} {self.step}s"
            plots.fan(times, future[few], quantiles[few], self.quantiles, title, folder / "forecasts.png")

        def mae(forecasts):
            return float(np.abs(forecasts - future).mean())

        def before(season):
            """Error of the last whole season before the start, repeated."""
            return mae(first_feature(series)[starts[:, None] + ahead % season - season])

        scaled = np.asarray(self.inputs(tf.constant(series[None], tf.float64)))[0, :, 0]
        autoregression = baselines.autoregression(scaled, starts[0], self.horizon, lags=self._lags())
        above = future[..., None] - quantiles
        levels = np.array(self.quantiles)
        return {
            "test_mae": mae(quantiles[..., len(levels) // 2]),
            "persistence": before(1),
            **{f"{name}_before": before(season) for name, season in self.seasons},
            "autoregression": mae(np.asarray(self.unscale(autoregression))),
            "test_pinball": float(np.maximum(levels * above, (levels - 1) * above).mean()),
            f"coverage_of_{self.percent}_percent": float(
                ((quantiles[..., 0] <= future) & (future <= quantiles[..., -1])).mean()
            ),
        }


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def first_feature(series):
    """The first feature of a series, (time,), which may have no other."""
    return series.reshape(len(series), -1)[:, 0]


def split(series, validation, test, window, horizon, facts):
    """The splits of a series by time: no part knows anything of a later one.

    Args:
        series: floats (time,) or (time, features).
        validation, test: time steps at which the two parts begin.
        window: time steps of an example of training.
        horizon: time steps that are forecast.
        facts: what `datasets.describe` says of the dataset.

    Raises:
        RecipeError: a number is not finite, or a part is too short.
    """
    series = np.asarray(series, np.float32)
    if not np.isfinite(series).all():
        gap = np.argwhere(~np.isfinite(series))[0]
        raise RecipeError(f"Expected a series of finite numbers, received {series[tuple(gap)]} at time step {gap[0]}.")
    needed = {"training": window + 2 * horizon - 1, "validation": horizon + 1, "test": horizon}
    lengths = (validation, test - validation, len(series) - test)
    for (part, least), length in zip(needed.items(), lengths, strict=True):
        if length < least:
            raise RecipeError(f"Expected {least} time steps or more for the {part}, received {max(length, 0)}.")

    def part(starts, series):
        return {"start": np.array(starts, np.int32), "series": series}

    return batching.Splits(
        train=part(range(0, validation - needed["training"] + 1, horizon), series[:validation]),
        validation=part([0], series[validation:test]),
        test=part(range(test, len(series) - horizon + 1), series),
        facts=facts,
    )
