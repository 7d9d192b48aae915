"""Settings of a recipe: a frozen dataclass whose fields have their range in their types.

>>> @settings
... class Config:
...     dataset: one_of("mnist_5k", "mnist") = "mnist_5k"
...     epochs: Count = 20
...     shift: between(int, 0, 27) = 2
>>> Config(shift=30)
Traceback (most recent call last):
ValueError: Expected `shift` to be an integer from 0 to 27, received 30.
"""

import dataclasses
import functools
import types
import typing

from archs._core import checks
from archs._core.names import nearest
from recipes._core.errors import RecipeError

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def between(kind, low, high):
    """The type of a setting from `low` to `high`, of `kind` int or float."""
    check = checks.integer_between if kind is int else checks.between
    return typing.Annotated[kind, functools.partial(check, low=low, high=high)]


def one_of(*values):
    """The type of a setting that is one of some texts."""
    return typing.Annotated[str, functools.partial(checks.one_of, known=values)]


Count = typing.Annotated[int, checks.positive_integer]
Positive = typing.Annotated[float, checks.positive]
Rate = typing.Annotated[float, checks.rate]  # from 0 to below 1
Seed = between(int, 0, 2**32 - 1)

# Settings that every recipe has, see `page.EVERY`; a page may give them other defaults.
EVERY = {"monitor": (str | None, None), "patience": (Count | None, None), "warm_start": (str | None, None)}


def settings(cls):
    """Makes a class of annotated fields a frozen dataclass that checks each field which is not None by its type.

    It has the fields of `EVERY`, too.

    Raises:
        ValueError: when it is made with a value out of range.
    """
    for name, (kind, default) in EVERY.items():
        if not hasattr(cls, name):
            cls.__annotations__[name] = kind
            setattr(cls, name, default)
    own = cls.__dict__.get("__post_init__")

    def check(self):
        for name, (kind, checks_of_field, is_optional) in types_of(cls).items():
            value = getattr(self, name)
            if value is None and is_optional:
                continue
            is_right = isinstance(value, int | float if kind is float else kind)
            if not is_right or (isinstance(value, bool) and kind is not bool):
                raise ValueError(f"Expected `{name}` to be {_KINDS[kind]}, received {value!r}.")
            for one in checks_of_field:
                one(name, value)
        if own:
            own(self)

    cls.__post_init__ = check
    return dataclasses.dataclass(frozen=True)(cls)


def types_of(cls):
    """Name of each setting -> its kind, int, float, bool or str; the list of its checks; and whether it may be None."""
    result = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) or _is_union(hint) else (hint,)
        (option,) = (one for one in options if one is not type(None))
        if typing.get_origin(option) is typing.Annotated:
            kind, *found = typing.get_args(option)
        else:
            kind, found = option, []
        result[name] = kind, found, len(options) > 1
    return result


def _is_union(hint):
    return typing.get_origin(hint) is typing.Union


def parse(cls, arguments):
    """The settings `cls` from strings `--key=value` or `--key value`, checked.

    Raises:
        RecipeError: a key that does not exist, or a value of another type or out of range.
    """
    try:
        return cls(**parse_values(cls, arguments))
    except ValueError as error:
        raise RecipeError(str(error)) from None


def parse_values(cls, arguments):
    """Field name to value, for the settings that `arguments` name."""
    kinds = types_of(cls)
    values, left = {}, list(arguments)
    while left:
        argument = left.pop(0)
        key, equals, text = argument.partition("=")
        key = key.removeprefix("--").replace("-", "_")
        if key not in kinds:
            raise RecipeError(f"Expected a setting of this recipe, received {argument!r}. {nearest(key, kinds)}")
        if argument.startswith("--") and not equals and left and not left[0].startswith("--"):
            equals, text = " ", left.pop(0)
        if not argument.startswith("--") or not equals:
            raise RecipeError(f"Expected --{key}=value, received {argument!r}.")
        kind, _, is_optional = kinds[key]
        values[key] = _value(key, kind, is_optional, text)
    return values


def _value(key, kind, is_optional, text):
    if is_optional and text.lower() == "none":
        return None
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = _KINDS[kind] + " or none" * is_optional
        raise RecipeError(f"Expected --{key} to be {expected}, received {text!r}.") from None
