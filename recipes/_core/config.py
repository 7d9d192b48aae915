"""From `--key=value` to the `Config` of a recipe."""

import dataclasses

from archs._core.registry import nearest
from recipes._core.errors import RecipeError

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def parse(recipe, settings):
    """The `Config` of a recipe's page from strings `--key=value`, checked against the types of its fields.

    Raises:
        RecipeError: a key or a dataset that does not exist, or a value of another type.
    """
    values = parse_values(recipe.Config, settings)
    dataset = values.get("dataset", recipe.Config.dataset)
    if dataset not in recipe.DATASETS:
        hint = nearest(dataset, recipe.DATASETS)
        raise RecipeError(f"Expected a dataset of this recipe, received {dataset!r}. {hint}")
    try:
        return recipe.Config(**values)
    except ValueError as error:
        raise RecipeError(str(error)) from None


def parse_values(cls, settings):
    """Field name to value, for the fields that `settings` name."""
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.removeprefix("--").replace("-", "_")
        if key not in fields:
            raise RecipeError(f"Expected a setting of this recipe, received {setting!r}. {nearest(key, fields)}")
        if not setting.startswith("--") or not equals:
            raise RecipeError(f"Expected --{key}=value, received {setting!r}.")
        values[key] = _value(key, fields[key], text)
    return values


def _value(key, kind, text):
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise RecipeError(f"Expected --{key} to be {_KINDS[kind]}, received {text!r}.") from None
