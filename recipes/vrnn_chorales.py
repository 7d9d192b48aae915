"""Bach chorales, frame by frame: a VRNN, whose latent variables let the keys of a chord depend on each other.

    python -m recipes train vrnn_chorales

Data: as of `stacked_lstm_chorales`, 229 chorales to train, 76 to validate, 77 to test; `--dataset=nottingham`,
`piano_midi` and `muse_data` take their other collections. As there, the first frame of a piece is read and not scored.
The figure is the bound of the negative log-likelihood of a frame, in nats, summed over the keys and averaged over the
frames of the whole test split; beside it its two parts, and the importance-weighted estimate with 100 draws a piece.
Result: with `--seed=0` 7.18, of which 4.02 for the keys and 3.15 for the latent variables; importance-weighted 6.97.
`stacked_lstm_chorales`, which has none, has 8.14. With `--warmup=0` they are not used, and it is 8.23. 141,032
parameters, 479 seconds of training on one of two overloaded CPU cores.
The published figures are of the same files. A deep Markov model has latent variables that alone carry the past.
"""

import archs
from recipes._core.data import midi
from recipes._core.settings import Count, Positive, Rate, Seed, between, one_of, settings
from recipes.tasks.latent_sequences import LatentRolls
from recipes.tasks.piano_rolls import DATASETS, load

__all__ = ["PUBLISHED", "Config", "Task", "build_model", "load"]


PUBLISHED = {
    "jsb_chorales": {
        "Krishnan et al. 2017, deep Markov model, bound": 6.93,
        "Krishnan et al. 2017, deep Markov model, importance-weighted": 6.39,
        "Bayer & Osendorfer 2014, STORN, importance-weighted": 6.91,
    },
}


@settings
class Config:
    dataset: one_of(*DATASETS) = "jsb_chorales"  # or nottingham, piano_midi, muse_data
    cell: str = "lstm"  # any cell of `python -m archs`
    units: Count = 100
    latents: Count = 32
    hidden: Count = 64
    posterior: one_of("residual", "plain") = "residual"  # its mean counts from the prior's; plain: as in the paper
    recurrent_dropout: Rate = 0.3
    warmup: between(float, 0, 1) = 0.6  # share of the training in which the weight of the divergence rises from 0 to 1
    epochs: Count = 100
    batch_size: Count = 8
    learning_rate: Positive = 2e-3  # falls to zero along a cosine
    clipnorm: Positive = 1.0
    window: Count = 200  # longer pieces are trained on in parts of so many frames; no chorale is
    seed: Seed = 0


def build_model(config, task):
    return archs.vrnn(
        features=midi.KEYS,
        units=config.units,
        latents=config.latents,
        hidden=config.hidden,
        residual_posterior=config.posterior == "residual",
        cell=config.cell,
        recurrent_dropout=config.recurrent_dropout,
        lengths=True,
    )


class Task(LatentRolls):
    """The roll of a piece in, how likely it is and what its latent variables say of it; or rolls, drawn at random."""
