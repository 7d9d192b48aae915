"""Checks of arguments where they enter: each returns the value or says what was expected and received."""

import math
import numbers


def positive_integer(name, value):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"Expected `{name}` to be a positive integer, received {value!r}.")
    return int(value)


def rate(name, value):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(f"Expected `{name}` to be a rate in [0, 1), received {value!r}.")
    return float(value)


def number(name, value):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"Expected `{name}` to be a number, received {value!r}.")
    return value


def positive(name, value):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"Expected `{name}` to be a positive number, received {value!r}.")
    return value


def between(name, value, low, high):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"Expected `{name}` to be from {low} to {high}, received {value!r}.")
    return value


def one_of(name, value, known):
    if value not in known:
        raise ValueError(f"Expected `{name}` to be one of {', '.join(map(repr, known))}, received {value!r}.")
    return value
