"""Sentiment of every phrase of a film review: a recursive network, or with --tensor=true the RNTN, up the parse tree.

    python -m recipes train recursive_net_sst

R. Socher, A. Perelygin, J. Y. Wu, J. Chuang, C. D. Manning, A. Y. Ng, C. Potts, "Recursive Deep Models for Semantic
Compositionality Over a Sentiment Treebank", EMNLP 2013, sections 4.1 and 4.3.
Data: sst_trees, the Stanford Sentiment Treebank: 8,544 trees to train, 1,101 to validate, 2,210 to test, with a label
from 0, very negative, to 4, very positive, at every node. Words that are once in the training trees are unknown.
The figure is the share of sentences, the roots, with the right label of five; beside it that of those not neutral which
are on the right side, and that of all phrases.
Result: with `--seed=0` 41.7 %, 80.8 % of those not neutral, 79.0 % of all phrases; a bag of words has 40.6 %. 264,125
parameters, 91 seconds of training on one of two overloaded CPU cores. The RNTN was not trained yet.
Socher et al. 2013 report 43.2 % and 82.4 % for the recursive network, 45.7 % and 85.4 % for the RNTN.
"""

import keras

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Rate, Seed, one_of, settings
from recipes.tasks.trees import Trees

PUBLISHED = {"sst_trees": {"RNN, Socher et al. 2013": 0.432, "RNTN, Socher et al. 2013": 0.457}}


@settings
class Config:
    dataset: one_of("sst_trees") = "sst_trees"
    tensor: bool = False  # whether the parts of a phrase also multiply each other
    units: Count = 30  # of a node, and of a word's embedding
    dropout: Rate = 0.25
    epochs: Count = 8
    batch_size: Count = 25
    learning_rate: Positive = 0.01  # of AdaGrad
    clipnorm: Positive = 1.0
    monitor: str | None = "val_root_accuracy"
    seed: Seed = 0


def load(config, data_dir):
    """The trees in brackets, strings (examples,)."""
    builder = datasets.prepare(config.dataset, data_dir=data_dir)
    splits = [datasets.read(builder, split) for split in ("train", "validation", "test")]
    return batching.Splits(*splits, facts=datasets.describe(builder, *splits), labels=list("01234"))


def build_model(config, task):
    return archs.recursive_net(
        features=config.units,
        units=config.units,
        outputs=max(2, len(task.labels)),
        tensor=config.tensor,
        vocabulary=len(task.words),
        return_nodes=True,
        dropout=config.dropout,
    )


class Task(Trees):
    """Trees in, the sentiment of every phrase out."""

    def optimizer(self, steps):
        """AdaGrad, as in the paper; a small epsilon, for gradients of words that are rare are small, too."""
        rate, clipnorm = self.config.learning_rate, self.config.clipnorm
        return keras.optimizers.Adagrad(rate, initial_accumulator_value=0.0, epsilon=1e-12, clipnorm=clipnorm)
