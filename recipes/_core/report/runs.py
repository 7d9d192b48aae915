"""Cards of runs and pages of their recipes, read as text: no TensorFlow is needed."""

import ast
import dataclasses
import itertools
import json
import math
import pathlib
import re
import statistics
import sys

from recipes._core import page

_SHARES = {"accuracy", "coverage", "error", "exact", "rate", "right"}  # in a metric's name: it is a share, shown in %


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The page of a recipe; of a recipe whose page is gone, only the name."""

    name: str
    text: str = "There is no page of this recipe."
    published: dict = dataclasses.field(default_factory=dict)
    defaults: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, name, tree):
        """From the syntax tree of the page."""
        said = {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PUBLISHED":
                said["published"] = ast.literal_eval(node.value)
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                fields = [field for field in node.body if isinstance(field, ast.AnnAssign) and field.value]
                defaults = {field.target.id: ast.literal_eval(field.value) for field in fields}
                said["defaults"] = json.loads(json.dumps(defaults))  # a tuple is a list in a card
        return cls(name, ast.get_docstring(tree), **said)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, as its card tells of it.

    Attributes:
        recipe: `Recipe`.
        path: of the card: `<recipe>/<time of the run>/card.json`, or of a kept one `<recipe>/cards/<what>.json`.
        card: a dict, whole.
        metric: the key of `metrics` that counts, the first. The others are in its unit, or name theirs.
        metrics, config, data, versions, parameters, seconds, device: from the card.
        dataset: as the configuration calls it.
    """

    recipe: Recipe
    path: pathlib.Path
    card: dict
    metric: str
    metrics: dict
    config: dict
    data: dict
    versions: dict
    dataset: str
    parameters: int
    seconds: float
    device: str

    @property
    def cell(self):
        return str(self.config.get("cell"))

    @property
    def seed(self):
        return self.config.get("seed")

    @property
    def time(self):
        return re.sub(r"^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)\d\d", r"\1-\2-\3 \4:\5", self.path.parent.name)

    @property
    def commit(self):
        commit = str(self.card.get("commit") or "")
        return commit[:7] + "+" * commit.endswith("+")

    def changed(self, *but):
        """`key=value` of each setting that is not the recipe's default."""
        config = self.config | {"precision": self.card.get("precision", "float32")}
        defaults = page.NONE_OF_EVERY | self.recipe.defaults | {"precision": "float32"}
        keys = [key for key in config if key not in but and (key not in defaults or config[key] != defaults[key])]
        return tuple(f"{key}={config[key]}" for key in keys)

    @property
    def settings(self):
        """Settings that a run is compared under: all that was changed but for the data, the cell and the seed."""
        return self.changed("dataset", "cell", "seed")

    def is_share(self, name=None):
        """True of an entry of the metrics that is a share: by its own name, or as the metric that it stands beside."""
        return bool(_SHARES & {*self.metric.split("_"), *(name or "").split("_")})

    @property
    def published(self):
        """[(source, figure, the same as text)] for the run's data."""
        figures = self.recipe.published.get(self.dataset, {})
        return [(name, x, f"{100 * x:.6g} %" if self.is_share() else f"{x:g}") for name, x in figures.items()]


def read(path, trees):
    """The `Run` of a card; of a file that is none, None and a line on stderr.

    Args:
        path: of the card.
        trees: name of a recipe -> syntax tree of its page.
    """
    name = path.parents[1].name
    recipe = Recipe.of(name, trees[name]) if name in trees else Recipe(name)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        metrics = {key: float(value) for key, value in card["metrics"].items()}
        return Run(
            recipe=recipe,
            path=path,
            card=card,
            metric=next(iter(metrics)),
            metrics=metrics,
            config=dict(card["config"]),
            data=dict(card["dataset"]),
            versions=dict(card["versions"]),
            dataset=card["config"].get("dataset") or card["dataset"]["name"],
            parameters=int(card["parameters"]),
            seconds=float(card["training"]["seconds"]),
            device=str(card["training"]["device"]),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        print(f"skipped: {path} is not the card of a run ({type(error).__name__}: {error})", file=sys.stderr)
        return None


class Configuration(tuple):
    """Runs that differ in the seed alone."""

    def values(self, name=None):
        return [run.metrics[name or run.metric] for run in self if (name or run.metric) in run.metrics]

    def figure(self, name=None):
        """Mean, and range where there is one, of an entry of the metrics; default: of the one that counts."""
        return mean_and_range(self.values(name), self[0].is_share(name))

    @property
    def seconds(self):
        return statistics.fmean(run.seconds for run in self)


def by_dataset(runs):
    """For each recipe and dataset the list of its `Configuration`s.

    The default one is the first, and those that differ in the cell alone stand next to one another.
    """

    def dataset(run):
        return run.recipe.name, run.dataset != run.recipe.defaults.get("dataset"), run.dataset

    def configuration(run):
        return len(run.settings), run.settings, run.cell != run.recipe.defaults.get("cell"), run.cell

    runs = sorted(runs, key=lambda run: (dataset(run), configuration(run), str(run.seed)))
    return [
        [Configuration(same) for _, same in itertools.groupby(group, configuration)]
        for _, group in itertools.groupby(runs, dataset)
    ]


def mean_and_range(values, share):
    """Such as `97.6 %` and `97.2 to 97.9 %`; the second is empty where all read alike."""
    mean, low, high = (_number(f(values), share) for f in (statistics.fmean, min, max))
    unit = " %" * share
    return mean + unit, f"{low} to {high}{unit}" if low != high else ""


def _number(value, share):
    if share or not math.isfinite(value):
        return f"{100 * value:.1f}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value) or 1)))}f}"


def words(name):
    return name.replace("_", " ")
