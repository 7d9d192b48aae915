"""Errors that the command line prints without a traceback."""

import contextlib
import errno
import os
import re
import sys


class RecipeError(Exception):
    """Something the user can mend: the message says what was expected, what was received, and what to do."""


def install(extra):
    """Sentence that says how to install an extra of the project."""
    pip = f"python3 -m pip --python {sys.executable}"  # an environment may have no pip of its own
    return f"install the extra `{extra}`, in the project's folder: {pip} install -e '.[{extra}]'"


def reason(error):
    """The first line of an error's message, without the places in TensorFlow's graph."""
    text = re.sub(r"\{\{.*?\}\}\s*", "", getattr(error, "message", None) or str(error)).strip()
    return re.sub(r"\s*\[Op:.*", "", text.partition("\n")[0]).rstrip(".")[:500] or type(error).__name__


def is_of_machine(error):
    """True of an error of files, space or memory, Python's or TensorFlow's: the user can mend it, and not the code."""
    tensorflow = sys.modules.get("tensorflow")
    if not tensorflow or not isinstance(error, tensorflow.errors.OpError):
        return isinstance(error, OSError | MemoryError)
    text = str(error)
    causes = (f"; {os.strerror(number)}" for number in errno.errorcode)  # `<path>; No space left on device`
    return (
        isinstance(error, tensorflow.errors.DataLossError)
        or any(cause in text for cause in causes)
        or any(beginning in text for beginning in ("File system scheme", "OOM when allocating"))
    )


def other_version(folder, error):
    """The RecipeError of a run or an export that the recipe as it is now can do nothing with."""
    return RecipeError(
        f"{folder} is of another version of this recipe ({reason(error)}). It stays as it is: train anew, or take the "
        "code that it was made with."
    )


@contextlib.contextmanager
def told(words, *kinds):
    """Turns errors of `kinds` into a RecipeError: `words`, and the reason in brackets."""
    try:
        yield
    except kinds as error:
        raise RecipeError(f"{words} ({reason(error)}).") from error
