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

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Rate, Seed, one_of, settings
from recipes.tasks.language_modelling import CharacterModelling


@settings
class Config:
    dataset: one_of("tiny_shakespeare") = "tiny_shakespeare"
    cell: str = "lstm"  # any cell of `python -m archs`
    features: Count = 64  # of a character's embedding
    units: Count = 256  # in each layer
    layers: Count = 1
    dropout: Rate = 0.1
    window: Count = 50  # characters that gradients go back; fewer make more steps of an epoch, which learns sooner
    epochs: Count = 5
    batch_size: Count = 32
    learning_rate: Positive = 8e-3  # falls to zero along a cosine
    clipnorm: Positive = 1.0
    seed: Seed = 0


def load(config, data_dir):
    """The plays, one text in each split."""
    builder = datasets.prepare(config.dataset, data_dir=data_dir)
    splits = [datasets.read(builder, split) for split in ("train", "validation", "test")]
    return batching.Splits(*splits, facts=datasets.describe(builder, *splits))


def build_model(config, task):
    return archs.generative_lstm(
        features=config.features,
        units=[config.units] * config.layers,
        outputs=len(task.labels),
        cell=config.cell,
        dropout=config.dropout,
        lengths=True,
        stateful=True,
        batch_size=config.batch_size,
    )


class Task(CharacterModelling):
    """A prompt in, the text that goes on with it out."""

    whole = False
    prompt = "First Citizen:"
