"""Python source, character by character: an LSTM layer learns from the standard library to write the like of it.

    python -m recipes train generative_lstm_python

Data: the Python standard library, 166 files that lie beside the interpreter, so nothing is downloaded; 138 files of 3.6
million characters to train, 15 to validate, 13 of 0.6 million to test, by a hash of their names; another version of
Python has other files. Rows of a batch read file after file side by side: states are carried from batch to batch and
begin anew with each file; gradients go back as far as a batch does.
The figure is what the test files cost, each read once from its beginning to its end.
Result: 1.75, 1.79 and 1.73 bits per character with `--seed=0`, 1 and 2, 360,162 parameters, 8 minutes of training on
two CPU cores, 11 to 12 where another training shared them; 1.72 and 1.78 with `--epochs=6` and `--seed=0` and 1. On the
same test files gzip needs 1.85, xz 1.57, and 1.39 after the training files, since both find again what a file has said
long before; counts of five characters need 2.12.
"""

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Rate, Seed, one_of, settings
from recipes.tasks.language_modelling import CharacterModelling


@settings
class Config:
    dataset: one_of("python_source") = "python_source"
    cell: str = "lstm"  # any cell of `python -m archs`
    features: Count = 64  # of a character's embedding
    units: Count = 256  # in each layer
    layers: Count = 1
    dropout: Rate = 0.0
    window: Count = 50  # characters that gradients go back; fewer make more steps of an epoch, which learns sooner
    longest: Count = 10_000  # longer files are read in parts, so that all rows of a batch have as much to read
    epochs: Count = 4
    batch_size: Count = 32
    learning_rate: Positive = 8e-3  # falls to zero along a cosine
    clipnorm: Positive = 1.0
    seed: Seed = 0


def load(config, data_dir):
    """The files, each a text."""
    builder = datasets.prepare(config.dataset, embedded="python_source", data_dir=data_dir)
    splits = [datasets.read(builder, split) for split in ("train", "validation", "test")]
    return batching.Splits(*splits, facts=datasets.describe(builder, *splits))


def build_model(config, task):
    return archs.generative_lstm(
        features=config.features,
        units=[config.units] * config.layers,
        outputs=len(task.labels),
        cell=config.cell,
        dropout=config.dropout,
        lengths=True,
        stateful=True,
        batch_size=config.batch_size,
    )


class Task(CharacterModelling):
    """A prompt in, the code that goes on with it out."""

    alphabet = "\n" + "".join(map(chr, range(ord(" "), 127)))  # ASCII
    prompt = "class "

    def part(self, documents):
        return self.config.longest
