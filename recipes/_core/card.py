"""The card of a training: what was run on what, and what came out."""

import dataclasses
import importlib.metadata
import pathlib
import platform
import subprocess
import sys


def card(session, config, model, splits, metrics, history):
    """A dict for JSON with all that is needed to judge a model or to train it again."""
    return {
        "recipe": session.recipe,
        "metrics": metrics,
        "published": sys.modules[type(config).__module__].PUBLISHED.get(config.dataset, {}),
        "config": dataclasses.asdict(config),
        "precision": session.precision,
        "dataset": splits.facts,
        "parameters": model.count_params(),
        "labels": list(splits.labels),
        "training": {"device": session.device, "seconds": round(sum(row["seconds"] for row in history), 1)},
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
    here = pathlib.Path(__file__).resolve().parents[2]

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
