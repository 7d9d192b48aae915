"""A language model over words: two LSTM layers, as Zaremba, Sutskever and Vinyals (2014) regularised them.

    python -m recipes train stacked_lstm_ptb --size=medium
    python -m recipes train stacked_lstm_ptb --dataset=tiny_shakespeare --size=tiny

The text is one stream, cut into 20 that are read side by side, a window at a time: states are carried from window to
window, gradients are not. Dropout is on what goes into each layer and out of the last, never on the recurrence.
Data: the Penn Treebank as Mikolov prepared it, 929,589 words to train, 73,760 to validate, 82,430 to test, the ends of
lines counted, with its 10,000 words. Of `tiny_shakespeare`, whose words and punctuation are cut apart, those that
were seen once are unknown; 262,014 to train, 15,226 to validate, 15,060 to test.
Result: on tiny_shakespeare, with the second command and `--seed=0`, 1 and 2, test perplexity 64.0, 64.1 and 63.6,
1,927,243 parameters, 225 to 248 seconds of training on two shared CPU cores; an interpolated Kneser-Ney model of
5-grams has 94.3, one of single words 210.5. The Penn Treebank, for which the paper has 114.5, 82.7 and 78.4 with its
small, medium and large model, is not free and was not measured here.
"""

import dataclasses

import keras

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Rate, Seed, one_of, settings
from recipes.tasks.language_modelling import WordModelling, lines

PUBLISHED = {
    "penn_treebank": {
        "Zaremba et al. 2014, no regularisation (--size=small)": 114.5,
        "Zaremba et al. 2014, medium": 82.7,
        "Zaremba et al. 2014, large": 78.4,
    }
}


@settings
class Config:
    dataset: one_of("penn_treebank", "tiny_shakespeare") = "penn_treebank"
    size: one_of("tiny", "small", "medium", "large") = "small"  # what `SIZES` says stands where a setting below is None
    cell: str = "lstm"  # any cell of `python -m archs`
    layers: Count = 2
    units: Count | None = None
    dropout: Rate | None = None
    window: Count | None = None  # words of a stream in a batch, through which gradients go
    init: Positive | None = None  # every weight starts evenly drawn from plus or minus so much
    epochs: Count | None = None
    flat: Count | None = None  # epochs with the full learning rate
    decay: Positive | None = None  # after them each epoch divides it by this
    batch_size: Count = 20  # streams
    learning_rate: Positive = 1.0
    clipnorm: Positive | None = None  # of all gradients together
    seed: Seed = 0


# What the paper says of its three models, and one for a text of a quarter of a million words.
SIZES = {
    "tiny": Config(units=128, dropout=0.3, window=20, init=0.1, clipnorm=5.0, epochs=6, flat=3, decay=2.0),
    "small": Config(units=200, dropout=0.0, window=20, init=0.1, clipnorm=5.0, epochs=13, flat=4, decay=2.0),
    "medium": Config(units=650, dropout=0.5, window=35, init=0.05, clipnorm=5.0, epochs=39, flat=6, decay=1.2),
    "large": Config(units=1500, dropout=0.65, window=35, init=0.04, clipnorm=10.0, epochs=55, flat=14, decay=1.15),
}


def load(config, data_dir):
    """The lines of the texts."""
    builder = datasets.prepare(config.dataset, data_dir=data_dir)
    splits = [datasets.read(builder, split) for split in ("train", "validation", "test")]
    facts = datasets.describe(builder, *splits)
    return batching.Splits(*({"text": lines(split["text"])} for split in splits), facts=facts)


def build_model(config, task):
    config, size = task.config, len(task.labels)
    model = archs.stacked_lstm(
        features=config.units,
        units=[config.units] * config.layers,
        outputs=size,
        cell=config.cell,
        vocabulary=size,
        return_sequences=True,
        dropout=config.dropout,
        stateful=True,
        batch_size=config.batch_size,
    )
    for weight in model.trainable_weights:
        weight.assign(keras.random.uniform(weight.shape, -config.init, config.init))
    return model


class Task(WordModelling):
    """A text in; how probable each of its words is, and which come next, out."""

    def __init__(self, config):
        missing = [name for name, value in vars(config).items() if value is None]
        super().__init__(dataclasses.replace(config, **{name: getattr(SIZES[config.size], name) for name in missing}))
        self.tokenized = config.dataset == "penn_treebank"

    def optimizer(self, steps):
        # The paper's loss is the sum over a window and this one the mean, so that its steps and gradients are as many
        # times smaller: with these two numbers the steps are the paper's.
        config = self.config
        rate, clipnorm = config.learning_rate * config.window, config.clipnorm / config.window
        falling = range(config.flat, config.epochs)
        rates = [rate / config.decay**number for number in range(len(falling) + 1)]
        ends = [steps * epoch // config.epochs - 1 for epoch in falling]  # the last steps before it falls
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(ends, rates) if ends else rate
        return keras.optimizers.SGD(schedule, global_clipnorm=clipnorm)
