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

import dataclasses

import keras

import archs
from archs._core import checks
from recipes._core import card, data, export, language, plots, training

DATASETS = {"python_source": ("train", "validation", "test")}
ALPHABET = language.Alphabet("\n" + "".join(map(chr, range(ord(" "), 127))))  # ASCII
METRIC = "test_bits_per_character"
PUBLISHED = {}


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "python_source"
    cell: str = "lstm"  # any cell of `python -m archs`
    features: int = 64  # of a character's embedding
    units: int = 256  # in each layer
    layers: int = 1
    dropout: float = 0.0
    window: int = 50  # characters that gradients go back; fewer make more steps of an epoch, which learns sooner
    longest: int = 10_000  # longer files are read in parts, so that all rows of a batch have as much to read
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 8e-3  # falls to zero along a cosine
    clipnorm: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name in ("layers", "window", "longest", "epochs", "batch_size"):
            checks.positive_integer(name, getattr(self, name))
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("clipnorm", self.clipnorm)
        checks.between("seed", self.seed, 0, 2**32 - 1)


def load(cfg, data_dir=None):
    """The splits of the dataset; to train and validate, as streams of tokens."""
    builder = data.prepare(cfg.dataset, embedded="python_source", data_dir=data_dir)
    train, validation, test = (data.read(builder, split) for split in DATASETS[cfg.dataset])

    def streams(split):
        files = ALPHABET.documents(split["text"])
        return language.streams(files, cfg.batch_size, cfg.window, cfg.longest, cfg.seed)

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
    """A request from code to go on with, the path of it, or `test:N`, the beginning of the N-th test file."""
    return language.read_input(text, lambda: texts(load(cfg, data_dir).test))


def show(answer):
    """One answer of the signature, for a person."""
    return language.show(answer)


def evaluate(answer, splits, folder=None):
    """Bits per character of the test files, beside what counts and compressors need; writes a sample into `folder`."""
    test = texts(splits.test)
    metrics, costs = language.figures(answer, test, texts(splits.more["train"]), ALPHABET)
    if folder:
        plots.surprise(test[0], costs[0], folder / "surprise.png")
        prompt = "class "
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
