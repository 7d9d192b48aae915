"""Repeat copy: a Neural Turing Machine tells what it has read as often as a number says, and when it is done.

    python -m recipes train ntm_repeat_copy

A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, section 4.2. Vectors of 8 bits are read, 1 to 10 of
them, then a delimiter and a number from 1 to 10, scaled to mean 0 and variance 1; then the vectors are to be written so
often, and an end marker after them, while nothing more is read.
Data: 100,000 sequences to train and 1,000 to validate; to test, 200 each of 10 vectors 10 times, of 20 vectors 10
times, and of 10 vectors 20 times. Our builder draws them from fixed seeds, so nothing is downloaded.
The figure is what a sequence of 10 vectors 10 times costs, the most that is trained on, in bits; a coin for each bit
and marker has 909. Beside it: how many bits are wrong, also of more vectors and of more repeats.
Result: not measured yet.
"""

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Seed, one_of, settings
from recipes.tasks.bit_sequences import RepeatCopy

TESTS = "test_10x10+test_20x10+test_10x20"


@settings
class Config:
    dataset: one_of("bit_sequences/repeat_copy") = "bit_sequences/repeat_copy"
    model: one_of("ntm", "stacked_lstm") = "ntm"  # which has a memory; stacked_lstm is layers of `cell` without one
    cell: str = "none"  # or any other cell; none: a feed-forward controller of ntm, LSTM layers of stacked_lstm
    units: Count = 100
    layers: Count = 1  # of stacked_lstm
    memory_locations: Count = 128
    memory_width: Count = 20
    epochs: Count = 2
    batch_size: Count = 32
    learning_rate: Positive = 3e-3  # falls to zero along a cosine
    clipnorm: Positive = 10.0
    seed: Seed = 0


def load(config, data_dir):
    """The vectors of bits, (sequences, vectors, 8), how many a sequence has, and how often they are to be written."""
    builder = datasets.prepare(config.dataset, data_dir=data_dir)
    splits = [datasets.read(builder, split) for split in ("train", "validation", TESTS)]
    return batching.Splits(*splits, facts=datasets.describe(builder, *splits))


def build_model(config, task):
    sizes = {"features": task.channels, "outputs": task.outputs}
    if config.model == "stacked_lstm":
        layers = [config.units] * config.layers
        cell = "lstm" if config.cell == "none" else config.cell
        return archs.stacked_lstm(units=layers, cell=cell, return_sequences=True, lengths=True, **sizes)
    return archs.ntm(
        units=config.units,
        cell=None if config.cell == "none" else config.cell,
        memory_locations=config.memory_locations,
        memory_width=config.memory_width,
        lengths=True,
        **sizes,
    )


class Task(RepeatCopy):
    """Vectors and a number in, the vectors so often and an end marker out."""
