"""Bach chorales, frame by frame: a STORN, whose latent variables have the same prior in each frame.

    python -m recipes train storn_chorales

Data: as of `stacked_lstm_chorales`, 229 chorales to train, 76 to validate, 77 to test; `--dataset=nottingham`,
`piano_midi` and `muse_data` take their other collections. As there, the first frame of a piece is read and not scored.
The figure is the bound of the negative log-likelihood of a frame, in nats, summed over the keys and averaged over the
frames of the whole test split; beside it its two parts, and the importance-weighted estimate with 100 draws a piece.
Result: with `--seed=0` 7.37, of which 5.38 for the keys and 1.99 for the latent variables; importance-weighted 7.23.
`stacked_lstm_chorales`, which has none, has 8.14. 179,352 parameters, 356 seconds of training on one of two overloaded
CPU cores.
Bayer & Osendorfer have 6.91 on the same files, importance-weighted with a number of draws that is not known to us, and
without the first frame of each 100.
"""

import archs
from recipes._core.data import midi
from recipes._core.settings import Count, Positive, Rate, Seed, between, one_of, settings
from recipes.tasks.latent_sequences import LatentRolls
from recipes.tasks.piano_rolls import DATASETS, load

__all__ = ["PUBLISHED", "Config", "Task", "build_model", "load"]

PUBLISHED = {
    "jsb_chorales": {"Bayer & Osendorfer 2014, STORN, importance-weighted": 6.91},
    "nottingham": {"Bayer & Osendorfer 2014, STORN, importance-weighted": 2.85},
    "piano_midi": {"Bayer & Osendorfer 2014, STORN, importance-weighted": 7.13},
    "muse_data": {"Bayer & Osendorfer 2014, STORN, importance-weighted": 6.16},
}


@settings
class Config:
    dataset: one_of(*DATASETS) = "jsb_chorales"  # or nottingham, piano_midi, muse_data
    cell: str = "lstm"  # any cell of `python -m archs`
    units: Count = 100  # of each of the two recurrences
    latents: Count = 32
    recurrent_dropout: Rate = 0.3
    warmup: between(float, 0, 1) = 0.6  # share of the training in which the weight of the divergence rises from 0 to 1
    epochs: Count = 80
    batch_size: Count = 8
    learning_rate: Positive = 2e-3  # falls to zero along a cosine
    clipnorm: Positive = 1.0
    window: Count = 200  # longer pieces are trained on in parts of so many frames; no chorale is
    seed: Seed = 0


def build_model(config, task):
    return archs.storn(
        features=midi.KEYS,
        units=config.units,
        latents=config.latents,
        cell=config.cell,
        recurrent_dropout=config.recurrent_dropout,
        lengths=True,
    )


class Task(LatentRolls):
    """The roll of a piece in, how likely it is and what its latent variables say of it; or rolls, drawn at random."""
