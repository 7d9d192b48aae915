"""The card of a training: what was run on what, and what came out."""

import dataclasses
import importlib.metadata
import numbers
import pathlib
import platform
import subprocess

from recipes._core import files
from recipes._core.errors import RecipeError
from recipes._core.train import training


def card(session, recipe, config, model, splits, metrics, history):
    """A dict for JSON with all that is needed to judge a model or to train it again.

    Args:
        session: `Session` of the run, with its `model.keras`.
        recipe: `Recipe`.
        config: its settings.
        model: as trained.
        splits: `Splits`.
        metrics: dict of figure name to float; the first one counts.
        history: list of a dict for each epoch.

    Raises:
        RecipeError: `metrics` is something else.
    """
    if not metrics or not all(isinstance(value, numbers.Real) for value in metrics.values()):
        raise RecipeError(f"Expected `evaluate` of {recipe.name} to return numbers by name, received {metrics!r}.")
    return {
        "recipe": session.recipe,
        **({"page": recipe.page} if recipe.page else {}),
        "metrics": metrics,
        "published": recipe.published.get(config.dataset, {}),
        "config": dataclasses.asdict(config),
        "precision": session.precision,
        "dataset": splits.facts,
        "parameters": model.count_params(),
        "model_sha256": files.sha256(session.folder / "model.keras"),
        "training": {
            "device": session.device,
            "seconds": round(sum(row["seconds"] for row in history), 1),
            "epochs": len(history),
            "epoch_kept": training.kept_epoch(history, config.monitor, config.patience),
        },
        "versions": {
            "python": platform.python_version(),
            **{
                name: importlib.metadata.version(name)
                for name in ("keras", "tensorflow", "tensorflow-datasets", "numpy")
            },
        },
        "commit": _commit(),
    }


def _commit():
    """The commit of the project's checkout, with a `+` where files differ from it; None outside a checkout."""
    here = pathlib.Path(__file__).resolve().parents[3]

    def git(*arguments):
        run = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, encoding="utf-8", check=True)
        return run.stdout.strip()

    try:
        if pathlib.Path(git("rev-parse", "--show-toplevel")) != here:
            return None  # installed inside somebody else's repository
        commit = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--", ".", ":!saved_models")  # where kept cards and exports come to lie
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")
