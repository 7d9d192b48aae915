"""Shakespeare, character by character: an LSTM layer that goes on with a text, and says how likely one is.

    python -m recipes train generative_lstm_shakespeare

Data: one million characters of his plays to train, 56 thousand to validate, 56 thousand to test, the text's last
twentieth. TFDS downloads 1.1 MB. The training text is cut in as many parts as a batch has rows, which are read side by
side: states are carried from batch to batch, and gradients go back as far as a batch does.
The figure is what the test text costs, read once from its beginning to its end, each character given all before it.
Result: 2.31, 2.33 and 2.35 bits per character with `--seed=0`, 1 and 2, 350,211 parameters, 192 to 286 seconds of
training on two CPU cores that were shared with other work. Counts of five characters need 2.55, xz 2.56 after the
training text and 3.14 without it. On the validation text the model needs 2.13 to 2.16, so the test text is the harder
one. Nothing reliable is published for this split.
"""

import dataclasses
import string

import keras

import archs
from archs._core import checks
from recipes._core import card, data, export, language, plots, training

DATASETS = {"tiny_shakespeare": ("train", "validation", "test")}
ALPHABET = language.Alphabet(string.ascii_letters + "\n !$&',-.3:;?")
METRIC = "test_bits_per_character"
PUBLISHED = {}


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "tiny_shakespeare"
    cell: str = "lstm"  # any cell of `python -m archs`
    features: int = 64  # of a character's embedding
    units: int = 256  # in each layer
    layers: int = 1
    dropout: float = 0.1
    window: int = 50  # characters that gradients go back; fewer make more steps of an epoch, which learns sooner
    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 8e-3  # falls to zero along a cosine
    clipnorm: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name in ("layers", "window", "epochs", "batch_size"):
            checks.positive_integer(name, getattr(self, name))
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("clipnorm", self.clipnorm)
        checks.between("seed", self.seed, 0, 2**32 - 1)


def load(cfg, data_dir=None):
    """The splits of the dataset, each one text; to train and validate, as streams of tokens."""
    builder = data.prepare(cfg.dataset, data_dir=data_dir)
    train, validation, test = (data.read(builder, split) for split in DATASETS[cfg.dataset])

    def streams(split):
        (document,) = ALPHABET.documents(split["text"])
        part = -(-(len(document) - 2) // cfg.batch_size)
        return language.streams([document[:-1]], cfg.batch_size, cfg.window, longest=part)  # a text cut off has no end

    return data.Splits(
        train=streams(train),
        validation=streams(validation),
        test=test,
        labels=ALPHABET.labels,
        facts=data.describe(builder, train, validation, test),
        more={"train": train},
    )


def build_model(cfg, steps):
    """The compiled model; `steps` is the number of training steps, over which the learning rate falls."""
    model = archs.generative_lstm(
        features=cfg.features,
        units=[cfg.units] * cfg.layers,
        outputs=ALPHABET.size,
        cell=cfg.cell,
        dropout=cfg.dropout,
        lengths=True,
        stateful=True,
        batch_size=cfg.batch_size,
    )
    schedule = keras.optimizers.schedules.CosineDecay(cfg.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule, clipnorm=cfg.clipnorm), loss=language.bits)
    return model


def serving(model, splits):
    """The signatures: a text goes on; what a text costs; and the model's own steps. See `language.signatures`."""
    return language.signatures(model, ALPHABET)


def sample(model, splits):
    return language.sample(model, ALPHABET, texts(splits.test)[0][:200])


def texts(split):
    return [text.decode() for text in split["text"].numpy()]


def read_input(text, cfg, data_dir=None):
    """A request from a text to go on with, the path of one, or `test:0`, the beginning of the test text."""
    return language.read_input(text, lambda: texts(load(cfg, data_dir).test))


def show(answer):
    """One answer of the signature, for a person."""
    return language.show(answer)


def evaluate(answer, splits, folder=None):
    """Bits per character of the test text, beside what counts and compressors need; writes a sample into `folder`."""
    test = texts(splits.test)
    metrics, costs = language.figures(answer, test, texts(splits.more["train"]), ALPHABET)
    if folder:
        plots.surprise(test[0], costs[0], folder / "surprise.png")
        prompt = "First Citizen:"
        (drawn,) = answer(language.request(prompt, max_new_tokens=2000))["text"]
        (folder / "sample.txt").write_text(prompt + drawn + "\n", encoding="utf-8")
    return metrics


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
    facts = card.card(session, cfg, model, splits, metrics, history) | {"alphabet": ALPHABET.characters}
    return export.export(functions, sample=sample(model, splits), card=facts, folder=session.exports)
