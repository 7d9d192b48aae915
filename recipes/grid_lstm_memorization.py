"""Memorisation: a Grid LSTM reads random symbols and tells them once more, with memory in depth and time.

    python -m recipes train grid_lstm_memorization

N. Kalchbrenner, I. Danihelka, A. Graves, "Grid Long Short-Term Memory", 2015, on 2-LSTM blocks with the same weights in
all layers. Symbols of an alphabet of 64 are read; then they are to be written in their order, while nothing more is
read.
Data: 200,000 sequences to train, 1,000 to validate, 5,000 to test, drawn by our builder from fixed seeds, so nothing is
downloaded. They have 20 symbols, of which the first `--length` are taken; the paper has 20.
The figure is the share of test sequences that are reproduced without an error. `--cell=lstm`, or any other, has layers
of it on top of each other.
Result: not measured yet.
"""

import string

import tensorflow as tf

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Seed, between, one_of, settings
from recipes.tasks.symbol_sequences import SymbolSequences


@settings
class Config:
    dataset: one_of("symbol_sequences/memorization_20") = "symbol_sequences/memorization_20"
    cell: str = "grid_lstm"  # or any of `python -m archs`, in layers on top of each other
    length: between(int, 1, 20) = 6  # of a sequence
    units: Count = 100
    layers: Count = 4
    tied: bool = True  # of grid_lstm: whether all layers have the same weights
    epochs: Count = 3
    batch_size: Count = 32
    learning_rate: Positive = 3e-3  # falls to zero along a cosine
    clipnorm: Positive = 1.0
    seed: Seed = 0


def load(config, data_dir):
    """The symbols, (sequences, length), which are their own answer."""
    builder = datasets.prepare(config.dataset, data_dir=data_dir)
    splits = [datasets.read(builder, split)["symbols"][:, : config.length] for split in ("train", "validation", "test")]
    columns = [{"symbols": split, "answer": split, "length": tf.fill([len(split)], config.length)} for split in splits]
    return batching.Splits(*columns, facts=datasets.describe(builder, *columns))


def build_model(config, task):
    given = {"features": config.units, "outputs": task.outputs, "vocabulary": task.blank + 1}
    given |= {"return_sequences": True, "lengths": True}
    if config.cell != "grid_lstm":
        return archs.stacked_lstm(units=[config.units] * config.layers, cell=config.cell, **given)
    return archs.grid_lstm(units=config.units, depth=config.layers, tied=config.tied, **given)


class Task(SymbolSequences):
    """Symbols in, the same symbols out."""

    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    outputs = 64
    form = "symbols of A-Z, a-z, 0-9, + and /"

    def steps(self, columns):
        return columns["length"]
