"""Sunspots of the next twelve months: LSTM layers over the monthly numbers forecast five quantiles of each.

    python -m recipes train stacked_lstm_sunspots

Data: monthly mean sunspot numbers from 1749 to June 2009 that ship in the package statsmodels, so nothing is
downloaded; trained on the years before 1950, validated on 1950 to 1969. The test forecasts from each month on that the
data tell twelve months of, the first from January 1970 and the last from July 2008, 463 forecasts, each from the
numbers before it; nothing is fitted again on the way.
Result: the median is off by 15.4, 15.7 and 15.6 with `--seed=0`, 1 and 2, in the mean over forecasts and months (test
MAE); 92 % of the numbers lie in the 90 % intervals. 74,300 parameters, 34 to 79 seconds of training on two CPU cores
that other work shared. An autoregression of statsmodels' over the 132 months of a cycle, on the same square roots and
fitted on all years before 1970, is off by 16.7; as it was last month, 21.6; a year before, 28.8; a cycle before, 29.2.
Nothing is published for this split.
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf

import archs
from archs._core import checks
from recipes._core import baselines, card, data, export, pictures, plots, signatures, training
from recipes._core.errors import RecipeError

# Name of the builder -> the first year of validation, and of the test.
DATASETS = {"sunspots": (1950, 1970)}

HORIZON = 12  # months
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CYCLE = 132  # months of a solar cycle, on average

METRIC = "test_mae"
PUBLISHED = {}


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "sunspots"
    cell: str = "lstm"  # any cell of `python -m archs`
    units: int = 128  # in each layer
    layers: int = 1
    dropout: float = 0.0  # of a single input it would hide whole months
    epochs: int = 40
    batch_size: int = 16
    learning_rate: float = 3e-3  # falls to zero along a cosine
    clipnorm: float = 1.0
    window: int = 264  # months that a forecast looks back: two cycles
    stretch: float = 0.6  # numbers of a window are multiplied by exp(-0.6) to exp(0.6), as cycles differ in height
    seed: int = 0

    def __post_init__(self):
        for name in ("layers", "epochs", "batch_size"):
            checks.positive_integer(name, getattr(self, name))
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("clipnorm", self.clipnorm)
        checks.between("window", self.window, 1, 1200)
        checks.between("stretch", self.stretch, 0, 2)
        checks.between("seed", self.seed, 0, 2**32 - 1)


def load(cfg, data_dir=None):
    """The splits of the series, as windows of months."""
    builder = data.prepare(cfg.dataset, embedded="sunspots", data_dir=data_dir)
    table = {name: np.asarray(column) for name, column in data.read(builder, "train").items()}
    numbers, (validation, test) = table["sunspots"], np.searchsorted(table["year"], DATASETS[cfg.dataset])

    def example(batch, seed):
        months = tf.shape(batch)[1] - HORIZON
        following = tf.signal.frame(batch[:, 1:], HORIZON, 1)
        return {"inputs": scale(batch[:, :months, None]), "lengths": tf.fill(tf.shape(batch)[:1], months)}, scale(
            following
        )

    def stretched_example(batch, seed):
        # Windows begin in any month, each time another.
        start = tf.random.stateless_uniform(tf.shape(batch)[:1], seed, 0, HORIZON, tf.int32)
        window = tf.gather(batch, start[:, None] + tf.range(cfg.window + HORIZON), axis=1, batch_dims=1)
        factor = tf.random.stateless_uniform((tf.shape(batch)[0], 1), seed + 1, -cfg.stretch, cfg.stretch)
        return example(window * tf.exp(factor), seed)

    train = np.lib.stride_tricks.sliding_window_view(numbers[:validation], cfg.window + 2 * HORIZON - 1)[::HORIZON]
    origins = np.arange(test, len(numbers) - HORIZON + 1)
    return data.Splits(
        train=data.Batches(tf.constant(train), cfg.batch_size, stretched_example, seed=cfg.seed),
        validation=data.Batches(tf.constant(numbers[None, validation:test]), 1, example),
        test={
            "past": numbers[origins[:, None] + np.arange(-cfg.window, 0)],
            "future": numbers[origins[:, None] + np.arange(HORIZON)],
        },
        facts=data.describe(builder, table),
        more={"before": numbers[:test], "year": DATASETS[cfg.dataset][1]},
    )


def scale(numbers):
    # The spread of a sunspot number grows as its root does.
    return (tf.sqrt(numbers) - 6) / 3


def unscale(scaled):
    return tf.square(tf.nn.relu(3 * scaled + 6))


def pinball(truth, answer):
    """Mean over months ahead and quantiles of what Koenker and Bassett's quantile regression minimises."""
    answer = keras.ops.reshape(answer, (*keras.ops.shape(answer)[:-1], HORIZON, len(QUANTILES)))
    above = truth[..., None] - answer
    levels = keras.ops.array(QUANTILES, answer.dtype)
    return keras.ops.mean(keras.ops.maximum(levels * above, (levels - 1) * above), axis=(-1, -2))


def build_model(cfg, steps):
    """The compiled model; `steps` is the number of training steps, over which the learning rate falls.

    It answers in each month, so that it learns from all months of a window.
    """
    model = archs.stacked_lstm(
        features=1,
        units=[cfg.units] * cfg.layers,
        outputs=HORIZON * len(QUANTILES),
        cell=cfg.cell,
        return_sequences=True,
        dropout=cfg.dropout,
        lengths=True,
    )
    schedule = keras.optimizers.schedules.CosineDecay(cfg.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule, clipnorm=cfg.clipnorm), loss=pinball)
    return model


def serving(model, splits):
    """The signatures: the numbers of the past months in, quantiles of the next twelve out."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None), tf.float32, name="numbers"),
            tf.TensorSpec((None,), tf.int32, name="lengths"),
        ]
    )
    def serving_default(numbers, lengths):
        numbers, lengths = signatures.checked_signals(numbers, lengths, names=("numbers", "lengths"))
        with tf.control_dependencies([tf.debugging.assert_non_negative(numbers, "numbers: expected 0 or more")]):
            inputs = scale(numbers)[..., None]
        answers = model({"inputs": inputs, "lengths": lengths}, training=False)
        last = tf.gather(answers, lengths - 1, axis=1, batch_dims=1)
        quantiles = unscale(tf.reshape(last, (-1, HORIZON, len(QUANTILES))))
        return {"quantiles": tf.sort(quantiles, axis=-1)}  # each was learned for itself, and may cross another

    return {"serving_default": serving_default, "logits": signatures.logits(model)}


def request(numbers):
    """What the signature takes, for numbers (rows, months), all known."""
    numbers = np.asarray(numbers, np.float32)
    return {"numbers": numbers, "lengths": np.full(len(numbers), numbers.shape[1], np.int32)}


def sample(model, splits):
    return {"serving_default": request(splits.test["past"][:1]), "logits": signatures.first(splits.validation)}


def read_input(text, cfg, data_dir=None):
    """A request from `test:N`, the N-th forecast of the test, or the path of a text with a number in each line."""
    if text.startswith("test:"):
        past = load(cfg, data_dir).test["past"]
        return request(past[pictures.index(text, len(past)), None])
    try:
        numbers = [float(line) for line in pathlib.Path(text).read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"Expected a text with a number in each line, or test:N, received {text!r} ({error})."
        ) from None
    if not numbers or not all(0 <= number < np.inf for number in numbers):
        raise RecipeError(f"Expected numbers of 0 or more in {text!r}, a line for each month, received {numbers[:5]}.")
    return request([numbers[-cfg.window :]])


def show(answer):
    """One answer of the signature, for a person."""
    low, _, middle, _, high = np.asarray(answer["quantiles"][0]).T
    months = [f"{m:.0f} ({a:.0f} to {b:.0f})" for a, m, b in zip(low, middle, high, strict=True)]
    return f"the next {HORIZON} months, each with its 90 % interval: {', '.join(months)}"


def evaluate(answer, splits, folder=None):
    """Mean absolute error of the median, and how good the quantiles are; draws forecasts into `folder`.

    The baselines: as it was last, a year ago, a cycle ago; an autoregression over a cycle, on the same square roots,
    fitted on all years before the test.
    """
    past, future, before = splits.test["past"], splits.test["future"], splits.more["before"]
    quantiles = np.concatenate([answer(request(past[i : i + 128]))["quantiles"] for i in range(0, len(past), 128)])
    if folder:
        plots.fan(future[::HORIZON], quantiles[::HORIZON], splits.more["year"], folder / "forecasts.png")
    series = np.concatenate([before, future[:, 0], future[-1, 1:]])
    origins = len(before) + np.arange(len(future))
    roots = baselines.autoregression(np.sqrt(series), len(before), HORIZON, lags=CYCLE)

    def mae(forecasts):
        return float(np.abs(forecasts - future).mean())

    above = future[..., None] - quantiles
    levels = np.array(QUANTILES)
    return {
        "test_mae": mae(quantiles[..., 2]),
        "persistence": mae(past[:, -1:]),
        "year_before": mae(series[origins[:, None] + np.arange(HORIZON) - 12]),
        "cycle_before": mae(series[origins[:, None] + np.arange(HORIZON) - CYCLE]),
        "autoregression": mae(np.maximum(roots, 0) ** 2),
        "test_pinball": float(np.maximum(levels * above, (levels - 1) * above).mean()),
        "coverage_of_90_percent": float(((quantiles[..., 0] <= future) & (future <= quantiles[..., -1])).mean()),
    }


def run(cfg, session):
    # 1. Data
    splits = load(cfg, session.data_dir)
    # 2. Model
    keras.utils.set_random_seed(cfg.seed)
    model = build_model(cfg, steps=cfg.epochs * len(splits.train))
    session.announce(model, splits)
    # 3. Fit
    history = training.fit(model, splits.train, validation=splits.validation, epochs=cfg.epochs, session=session)
    # 4. Evaluate
    plots.curves(history, session.folder / "curves.png")
    functions = serving(model, splits)
    metrics = evaluate(export.as_arrays(functions), splits, session.folder)
    # 5. Export
    facts = card.card(session, cfg, model, splits, metrics, history)
    return export.export(functions, sample=sample(model, splits), card=facts, folder=session.exports)
