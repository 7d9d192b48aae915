"""Spoken digits as raw sound, in vectors of 200 samples: a VRNN, beside an RNN with the same density of a vector.

    python -m recipes train vrnn_spoken_digit
    python -m recipes train vrnn_spoken_digit --model=rnn

Data: spoken_digit of TFDS, 2,500 recordings at 8 kHz, 50 takes of each digit by each of five speakers. Takes 0 to 4 of
all are to test, 5 to 7 to validate.
The figure is the log-likelihood of a vector of 200 samples, in nats, averaged over the vectors of the whole test split;
the samples are divided by their standard deviation in the training split. Of the VRNN it is the bound from below, with
the importance-weighted estimate of 20 draws a recording beside it; of the RNN it is exact. A vector has a density, so
that the figure may be of either sign.
Result: with `--seed=0` at least 47.6, importance-weighted 51.5; 834,328 parameters, 536 seconds of training on one of
two overloaded CPU cores. `--model=rnn`, which has as many units and fewer parameters, has -135.3, still getting better
when its training ended.
"""

import numpy as np

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Seed, between, one_of, settings
from recipes.tasks.latent_sequences import LatentSounds


@settings
class Config:
    dataset: one_of("spoken_digit") = "spoken_digit"
    model: one_of("vrnn", "storn", "rnn") = "vrnn"  # rnn: without latent variables
    cell: str = "lstm"  # any cell of `python -m archs`
    density: one_of("gaussian", "mixture") = "gaussian"
    components: Count = 1  # of a mixture
    units: Count = 200
    latents: Count = 32
    hidden: Count = 200  # of vrnn
    warmup: between(float, 0, 1) = 0.6  # share of the training in which the weight of the divergence rises from 0 to 1
    epochs: Count = 20
    batch_size: Count = 32
    learning_rate: Positive = 1e-3  # falls to zero along a cosine
    clipnorm: Positive = 1.0
    seed: Seed = 0


def load(config, data_dir):
    """The recordings as floats in [-1, 1], (recordings, samples)."""
    builder = datasets.prepare(config.dataset, data_dir=data_dir)
    recordings = {"train": [], "validation": [], "test": []}
    for example in datasets.examples(builder, "train"):  # its only split
        take = int(example["audio/filename"].decode().removesuffix(".wav").rpartition("_")[2])
        split = "test" if take < 5 else "validation" if take < 8 else "train"
        recordings[split].append({"samples": example["audio"].astype(np.float32) / 2**15})
    splits = [batching.columns(split) for split in recordings.values()]
    return batching.Splits(*splits, datasets.describe(builder, *splits))


def build_model(config, task):
    sizes = {"features": task.features, "cell": config.cell, "lengths": True}
    if config.model == "rnn":
        size = archs.losses.Density(config.density, task.features, config.components).size
        return archs.stacked_lstm(units=[config.units], outputs=size, return_sequences=True, **sizes)
    sizes |= {"density": config.density, "components": config.components, "latents": config.latents}
    if config.model == "storn":
        return archs.storn(units=config.units, **sizes)
    return archs.vrnn(units=config.units, hidden=config.hidden, residual_posterior=True, **sizes)


class Task(LatentSounds):
    """Samples at 8 kHz in, how likely they are and what their latent variables say of them; or sounds, drawn."""

    @property
    def density(self):
        return self.config.density

    @property
    def components(self):
        return self.config.components
