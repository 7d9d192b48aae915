"""A language model over words: two LSTM layers, as Zaremba, Sutskever and Vinyals (2014) regularised them.

    python -m recipes train stacked_lstm_ptb --size=medium
    python -m recipes train stacked_lstm_ptb --dataset=tiny_shakespeare --size=tiny

The text is one stream, cut into 20 that are read side by side, a window at a time: states are carried from window to
window, gradients are not. Dropout is on what goes into each layer and out of the last, never on the recurrence.
Data: the Penn Treebank as Mikolov prepared it, 929,589 words to train, 73,760 to validate, 82,430 to test, the ends of
lines counted, with its 10,000 words. Of `tiny_shakespeare`, whose words and punctuation the page cuts apart, those that
were seen once are unknown; 262,014 to train, 15,226 to validate, 15,060 to test.
Result: on tiny_shakespeare, with the second command and `--seed=0`, 1 and 2, test perplexity 64.0, 64.1 and 63.6,
1,927,243 parameters, 225 to 248 seconds of training on two shared CPU cores; an interpolated Kneser-Ney model of
5-grams has 94.3, one of single words 210.5. The Penn Treebank, for which the paper has 114.5, 82.7 and 78.4 with its
small, medium and large model, is not free and was not measured here.
"""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

import archs
from archs._core import checks
from recipes._core import baselines, card, data, export, language, pictures, plots, signatures, training
from recipes._core.errors import RecipeError

DATASETS = {
    "penn_treebank": ("train", "validation", "test"),
    "tiny_shakespeare": ("train", "validation", "test"),
}
METRIC = "test_perplexity"
PUBLISHED = {
    "penn_treebank": {
        "Zaremba et al. 2014, no regularisation (--size=small)": 114.5,
        "Zaremba et al. 2014, medium": 82.7,
        "Zaremba et al. 2014, large": 78.4,
    }
}

LONGEST = 1_000_000  # words of a text that the signature takes
END, UNKNOWN = "<eos>", "<unk>"
# What the paper says of its three models, and one for a text of a quarter of a million words.
KNOBS = ("units", "dropout", "window", "init", "clipnorm", "epochs", "flat", "decay")
SIZES = {
    "tiny": (128, 0.3, 20, 0.1, 5.0, 6, 3, 2.0),
    "small": (200, 0.0, 20, 0.1, 5.0, 13, 4, 2.0),
    "medium": (650, 0.5, 35, 0.05, 5.0, 39, 6, 1.2),
    "large": (1500, 0.65, 35, 0.04, 10.0, 55, 14, 1.15),
}


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "penn_treebank"  # or tiny_shakespeare
    size: str = "small"  # or medium, large, tiny: what they say stands where a setting below is -1
    cell: str = "lstm"  # any cell of `python -m archs`
    layers: int = 2
    units: int = -1
    dropout: float = -1.0
    window: int = -1  # words of a stream in a batch, through which gradients go
    init: float = -1.0  # every weight starts evenly drawn from plus or minus so much
    epochs: int = -1
    flat: int = -1  # epochs with the full learning rate
    decay: float = -1.0  # after them each epoch divides it by this
    batch_size: int = 20  # streams
    learning_rate: float = 1.0
    clipnorm: float = -1.0  # of all gradients together
    seed: int = 0

    def __post_init__(self):
        checks.one_of("size", self.size, SIZES)
        knobs = self.knobs()
        for name in ("layers", "window", "epochs", "flat", "batch_size"):
            checks.positive_integer(name, knobs[name])
        for name in ("init", "decay", "learning_rate", "clipnorm"):
            checks.positive(name, knobs[name])
        checks.between("seed", self.seed, 0, 2**32 - 1)

    def knobs(self):
        """All settings, by name, with those of the size."""
        own = dataclasses.asdict(self)
        of_size = zip(KNOBS, SIZES[self.size], strict=True)
        return own | {name: value for name, value in of_size if own[name] == -1}


def load(cfg, data_dir=None):
    """The splits of the dataset: windows of `batch_size` streams; the test split stays text."""
    builder = data.prepare(cfg.dataset, data_dir=data_dir)
    texts = {split: data.read(builder, split)["text"] for split in DATASETS[cfg.dataset]}
    words = [split_words(text, cfg.dataset).flat_values for text in texts.values()]
    seen, _, counts = tf.unique_with_counts(words[0])
    is_known = seen != UNKNOWN
    if cfg.dataset == "tiny_shakespeare":  # which marks none as unknown
        is_known &= counts > 1
    vocabulary = tf.concat([[UNKNOWN], tf.boolean_mask(seen, is_known)], 0)
    hashes, order = np.unique(hashed(vocabulary), return_index=True)
    train, validation = (
        data.Batches(
            streams(numbers(part, tf.constant(hashes)), cfg.batch_size, cfg.knobs()["window"]),
            cfg.batch_size,
            lambda batch, seed: (batch["inputs"], batch["targets"]),
        )
        for part in words[:2]
    )
    return data.Splits(
        train=train,
        validation=validation,
        test={"text": texts["test"]},
        labels=[word.decode() for word in tf.gather(vocabulary, order).numpy()],
        facts=data.describe(builder, *({"text": text} for text in texts.values())),
        more={"hashes": tf.constant(hashes), "train": words[0]},
    )


def split_words(text, dataset):
    """Texts (batch,) as a ragged tensor of words, with an end at each line's."""
    if dataset == "tiny_shakespeare":  # Mikolov did the like with his text
        text = tf.strings.regex_replace(tf.strings.lower(text), r"([^\w\s'])", r" \1 ")
    return tf.strings.split(tf.strings.regex_replace(text, "\n", f" {END} "))


def hashed(words):
    """A number for each word: 62 bits, so that two words of a vocabulary have not the same one."""
    return tf.strings.to_hash_bucket_fast(words, 2**62)


def numbers(words, hashes):
    """The place of each word's hash among the sorted `hashes`, or that of the unknown word's."""
    wanted = hashed(words)
    place = tf.minimum(tf.searchsorted(hashes, wanted), len(hashes) - 1)
    unknown = tf.searchsorted(hashes, hashed([UNKNOWN]))
    return tf.where(tf.gather(hashes, place) == wanted, place, unknown)


def streams(text, count, window):
    """A text cut into `count` streams, and each into windows: (windows * count, window) of words and of next words.

    The streams' first windows come first, then their second ones.
    """
    length = (len(text) - 1) // count // window * window
    if not length:
        raise RecipeError(f"Expected a text of more than {count * window} words, received {len(text)}.")
    parts = {"inputs": text[: count * length], "targets": text[1 : count * length + 1]}
    split = {name: tf.reshape(part, (count, -1, window)) for name, part in parts.items()}
    return {name: tf.reshape(tf.transpose(part, (1, 0, 2)), (-1, window)) for name, part in split.items()}


def build_model(cfg, steps, vocabulary=2):
    """The compiled model; `steps` is the number of training steps, over which the learning rate falls."""
    knobs = cfg.knobs()
    model = archs.stacked_lstm(
        features=knobs["units"],
        units=[knobs["units"]] * cfg.layers,
        outputs=vocabulary,
        cell=cfg.cell,
        vocabulary=vocabulary,
        return_sequences=True,
        dropout=knobs["dropout"],
        stateful=True,
        batch_size=cfg.batch_size,
    )
    for weight in model.trainable_weights:
        weight.assign(keras.random.uniform(weight.shape, -knobs["init"], knobs["init"]))
    # The paper's loss is the sum over a window and this one the mean, so that its steps and gradients are as many times
    # smaller: with these two numbers the steps are the paper's.
    rate, clipnorm = cfg.learning_rate * knobs["window"], knobs["clipnorm"] / knobs["window"]
    falling = range(knobs["flat"], knobs["epochs"])
    rates = [rate / knobs["decay"] ** number for number in range(len(falling) + 1)]
    ends = [steps * epoch // knobs["epochs"] - 1 for epoch in falling]  # the last steps before it falls
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(ends, rates) if ends else rate
    model.compile(
        optimizer=keras.optimizers.SGD(schedule, global_clipnorm=clipnorm),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def serving(model, splits):
    """The signatures: texts in; how probable each of their words is, and which come next, out."""
    hashes, words = splits.more["hashes"], tf.constant(splits.labels)
    dataset, end = splits.facts["name"], splits.labels.index(END)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def serving_default(text):
        tokens = split_words(text, dataset)
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        tokens = tokens.with_flat_values(numbers(tokens.flat_values, hashes)).to_tensor()
        tokens, lengths = signatures.checked_lengths(tokens, lengths, LONGEST, names=("text", None))
        # A text begins behind the end of a line; behind its last word comes what is asked for.
        inputs = tf.pad(tokens, [[0, 0], [1, 0]], constant_values=end)
        costs, logits, _ = language.read(model, inputs, lengths + 1, targets=tf.pad(tokens, [[0, 0], [0, 1]]))
        inside = tf.sequence_mask(lengths)
        log_probabilities = tf.where(inside, -costs[:, :-1], 0)
        total = tf.reduce_sum(log_probabilities, axis=1)
        probabilities, following = tf.math.top_k(tf.nn.softmax(logits), min(10, len(words)))
        return {
            "words": tf.where(inside, tf.gather(words, tokens), ""),
            "log_probabilities": log_probabilities,
            "lengths": lengths,
            "perplexity": tf.exp(-total / tf.cast(lengths, tf.float32)),
            "next_words": tf.gather(words, following),
            "next_probabilities": probabilities,
        }

    return {"serving_default": serving_default, "step": language.step(model, len(splits.labels))}


def sample(model, splits):
    end = splits.labels.index(END)
    return {"serving_default": request(lines(splits)[0]), "step": language.first_step(model, end)}


def request(text):
    """What the signature takes, for a text."""
    return {"text": np.array([text])}


def lines(splits):
    """The lines of the test split that are not empty."""
    return [line.strip() for line in splits.test["text"][0].numpy().decode().splitlines() if line.strip()]


def read_input(text, cfg, data_dir=None):
    """A request from a text, or from `test:N`, the N-th line of the test split."""
    if text.startswith("test:"):
        known = lines(load(cfg, data_dir))
        return request(known[pictures.index(text, len(known))])
    if not text.strip():
        raise RecipeError(f"Expected a text of at least one word or test:N, received {text!r}.")
    return request(text)


def show(answer):
    """One answer of the signature, for a person."""
    words = " ".join(answer["words"][0])
    pairs = zip(answer["next_words"][0][:5], answer["next_probabilities"][0], strict=False)
    following = ", ".join(f"{word} {probability:.3f}" for word, probability in pairs)
    return f"{words!r}, perplexity {answer['perplexity'][0]:.1f}; next {following}"


def evaluate(answer, splits, folder=None):
    """Perplexity of the test split, read as one text, beside models that count; draws how hard its first words are."""
    answered = answer({"text": splits.test["text"].numpy()})
    if folder:
        beginning = slice(0, 60)
        plots.surprises(
            answered["words"][0, beginning], answered["log_probabilities"][0, beginning], folder / "surprises.png"
        )
    known = numbers(splits.more["train"], splits.more["hashes"]).numpy()
    truth = numbers(split_words(splits.test["text"], splits.facts["name"]).flat_values, splits.more["hashes"]).numpy()
    return {
        "test_perplexity": math.exp(-answered["log_probabilities"].mean()),
        "kneser_ney_5_gram": baselines.kneser_ney(known, truth, 5),
        "unigram": baselines.kneser_ney(known, truth, 1),
    }


def run(cfg, session):
    # 1. Data
    splits = load(cfg, session.data_dir)
    # 2. Model
    keras.utils.set_random_seed(cfg.seed)  # here: preparing the data may draw random numbers
    epochs = cfg.knobs()["epochs"]
    model = build_model(cfg, steps=epochs * len(splits.train), vocabulary=len(splits.labels))
    session.announce(model, splits)
    # 3. Fit
    history = training.fit(model, splits.train, validation=splits.validation, epochs=epochs, session=session)
    # 4. Evaluate
    perplexity = {"perplexity": "loss", "val_perplexity": "val_loss"}
    curves = [row | {name: math.exp(row[loss]) for name, loss in perplexity.items()} for row in history]
    plots.curves(curves, session.folder / "curves.png")
    functions = serving(model, splits)
    metrics = evaluate(export.as_arrays(functions), splits, session.folder)
    # 5. Export
    facts = card.card(session, cfg, model, splits, metrics, history)
    return export.export(functions, sample=sample(model, splits), card=facts, folder=session.exports)
