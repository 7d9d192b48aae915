"""Recipes: one page per trained model, `python -m recipes list`; for data of one's own in Python, `recipes.train`."""

import importlib

_PLACES = {"train": "api", "load_run": "api", "Run": "train.run", "RecipeError": "errors"}


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Here, since the command line answers much without TensorFlow.
    return getattr(importlib.import_module(f"recipes._core.{_PLACES[name]}"), name)


def __dir__():
    return sorted([*globals(), *_PLACES])
