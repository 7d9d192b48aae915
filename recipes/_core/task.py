"""The task of a recipe: all that is the same whatever the data and the model are."""

import keras
import numpy as np


class Task:
    """Task of a model: all that follows from what it is trained to do.

    A subclass per task stands in `recipes/tasks`; a page's `Task` is a subclass of one of them, with what is peculiar
    to its data.

    Attributes:
        methods: names of the methods that a subclass defines; with `own`, also `columns_of` and `model_arguments`.
        config: settings of the recipe.
        kept: names of the attributes that answers need, taken from the data by `learn`; JSON can hold their values.
            They are saved with a run and an export, which therefore need no dataset.
        are_classes: whether `labels` are classes, which a training that starts from another's weights has of its own
            data, and no vocabulary.
        labels: names of the classes, where there are classes.
        own: settings for data of one's own, name -> (type, default). None: the task needs a page.
        name: what `--task` calls the class, where it has `own`; of one class alone.
        key: the setting that names a column; rows with the same value of it stay in one split. Or None.
        in_order: whether the rows of a file are in the order of time: the last ones are tested.
    """

    methods = ("batches", "compile", "signatures", "sample", "test_request", "read", "show", "evaluate")
    kept = ("labels",)
    are_classes = True
    own = None
    name = None
    key = None
    in_order = False

    def __init__(self, config):
        self.config = config
        self.labels = []

    @classmethod
    def columns_of(cls, config, tables):
        """The columns of each split, from tables of one's own.

        Args:
            config: with the settings `own`.
            tables: name of each split -> `Table`.

        Returns:
            A dict of name of each split to its columns, and the list of the labels, empty where there are none.

        Raises:
            RecipeError: a table does not have what the task needs.
        """
        raise NotImplementedError

    def model_arguments(self):
        """Arguments of a factory of `archs` for data of one's own, besides units, cell and dropout: a dict."""
        raise NotImplementedError

    @property
    def epochs(self):
        """Number of epochs to train."""
        return self.config.epochs

    def learn(self, splits):
        """Takes from the data what answers need, such as labels and a vocabulary: the attributes `kept`."""
        self.labels = list(splits.labels)

    def state(self):
        """The attributes `kept`, a dict for JSON."""
        return {name: getattr(self, name) for name in self.kept}

    def restore(self, state):
        """Sets the attributes `kept` to those of `state`.

        Raises:
            LookupError: one is missing.
        """
        for name in self.kept:
            setattr(self, name, state[name])

    def batches(self, columns, training=False):
        """`Batches` of a split for `fit`: inputs and targets of the model.

        Args:
            columns: a split as the page's `load` returns it.
            training: whether to shuffle by the seed, and to vary the examples at random.
        """
        raise NotImplementedError

    def optimizer(self, steps):
        """Adam with a learning rate that falls to zero along a cosine over `steps` training steps.

        With the setting `schedule`, "constant", it stays as it is, and callbacks may change it.
        """
        rate = self.config.learning_rate
        if getattr(self.config, "schedule", "cosine") == "cosine":
            rate = keras.optimizers.schedules.CosineDecay(rate, steps)
        return keras.optimizers.Adam(rate, clipnorm=self.config.clipnorm)

    def compile(self, model, steps):
        """Compiles a model for `steps` training steps."""
        raise NotImplementedError

    def callbacks(self):
        """Further Keras callbacks of the training."""
        return []

    def curves(self, history):
        """The rows of a history as they are drawn: a list of dicts of figure name to value."""
        return history

    def signatures(self, model):
        """Name -> `tf.function` with an input signature of named inputs, that returns a dict; one `serving_default`."""
        raise NotImplementedError

    def sample(self, model, splits):
        """Name of each signature -> a request, a dict of input name to array."""
        raise NotImplementedError

    def test_request(self, columns, number):
        """A request of `serving_default` for one example of the test split."""
        raise NotImplementedError

    def truth(self, columns, number):
        """The right answer for one example of the test split, as `show` would put it; None where there is none."""
        return None

    def read(self, text):
        """A request of `serving_default` from what a person gives: a path, or a text.

        Raises:
            RecipeError: nothing can be made of it.
        """
        raise NotImplementedError

    def show(self, answer):
        """The first answer of `serving_default`, for a person."""
        raise NotImplementedError

    def evaluate(self, answer, splits, folder=None):
        """Figures of the test split: the one that counts first, baselines after it, in its unit.

        Args:
            answer: function (request, signature="serving_default") -> dict of output name to array.
            splits: what the page's `load` returned.
            folder: that pictures are drawn into, or None.

        Returns:
            A dict of name to float.
        """
        raise NotImplementedError


def slices(count, size):
    """Slices of at most `size` that cover `count` examples."""
    return [slice(start, start + size) for start in range(0, count, size)]


def joined(answers):
    """The answers to several requests as one: a dict of output name to array (examples, ...)."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def count(columns):
    """Number of examples of a split."""
    return len(next(iter(columns.values())))
