"""Bach chorales, frame by frame: an LSTM layer says which of a piano's 88 keys will sound next.

    python -m recipes train stacked_lstm_chorales

Data: piano rolls of 382 chorales in the splits of Boulanger-Lewandowski et al. 2012, 229 to train, 76 to validate, 77
to test. TFDS downloads 0.1 MB. `--dataset=nottingham`, `piano_midi` and `muse_data` take their other collections.
The figure is the negative log-likelihood of a frame given all frames before it, in nats, summed over the keys and
averaged over the frames of the whole test split, but for the first of each piece, as Bai et al. 2018 compute it.
Result: 8.14 (8.12 to 8.16 over seeds 0, 1 and 2) with `--cell=lstm`, 8.36 (8.33 to 8.40) with `gru` and 8.36 (8.36 to
8.37) with `simple_rnn`; 248,888, 191,088 and 75,488 parameters, about 75, 80 and 38 seconds of training on two CPU
cores shared with other work. Each key with its frequency alone costs 11.09, with what it did in the frame before 10.49.
Bai et al. 2018 have 8.45, 8.43 and 8.91, Chung et al. 2014 8.67, 8.54 and 9.10. That LSTM and GRU are about equal holds
within 0.25; so does the simple network here, other than there.
"""

import archs
from recipes._core.data import midi
from recipes._core.settings import Count, Positive, Rate, Seed, one_of, settings
from recipes.tasks.piano_rolls import DATASETS, PianoRolls, load

__all__ = ["DATASETS", "PUBLISHED", "Config", "Task", "build_model", "load"]

PUBLISHED = {
    "jsb_chorales": {
        "Bai et al. 2018, LSTM": 8.45,
        "Bai et al. 2018, GRU": 8.43,
        "Bai et al. 2018, RNN": 8.91,
        "Chung et al. 2014, LSTM": 8.67,
        "Chung et al. 2014, GRU": 8.54,
        "Chung et al. 2014, RNN": 9.10,
    },
    "nottingham": {
        "Bai et al. 2018, LSTM": 3.29,
        "Bai et al. 2018, GRU": 3.46,
        "Bai et al. 2018, RNN": 4.05,
        "Chung et al. 2014, LSTM": 3.20,
        "Chung et al. 2014, GRU": 3.23,
        "Chung et al. 2014, RNN": 3.13,
    },
    "piano_midi": {
        "Chung et al. 2014, LSTM": 9.03,
        "Chung et al. 2014, GRU": 8.82,
        "Chung et al. 2014, RNN": 9.03,
    },
    "muse_data": {
        "Chung et al. 2014, LSTM": 6.23,
        "Chung et al. 2014, GRU": 5.99,
        "Chung et al. 2014, RNN": 6.23,
    },
}


@settings
class Config:
    dataset: one_of(*DATASETS) = "jsb_chorales"  # or nottingham, piano_midi, muse_data
    cell: str = "lstm"  # any cell of `python -m archs`
    units: Count = 200  # in each layer
    layers: Count = 1  # of more, the upper ones are long in learning anything
    dropout: Rate = 0.0  # of 4 keys that sound, none can be spared
    recurrent_dropout: Rate = 0.5  # or so few chorales are soon known by heart
    epochs: Count = 30
    batch_size: Count = 4
    learning_rate: Positive = 5e-3  # falls to zero along a cosine, so that the last epoch is the one to keep
    clipnorm: Positive = 1.0
    window: Count = 200  # longer pieces are trained on in parts of so many frames; no chorale is
    seed: Seed = 0


def build_model(config, task):
    return archs.stacked_lstm(
        features=midi.KEYS,
        units=[config.units] * config.layers,
        outputs=midi.KEYS,
        cell=config.cell,
        return_sequences=True,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        lengths=True,
    )


class Task(PianoRolls):
    """The roll of a piece in, the chances of each key in the next frame out; or a continuation, drawn at random."""

    gain = 5.0  # as only 4 of 88 keys sound in a frame, it brings the mean square of the inputs to 1
