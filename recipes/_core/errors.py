"""The error that the command line prints without a traceback."""

import sys


class RecipeError(Exception):
    """Something the user can mend: the message says what was expected, what was received, and what to do."""


def install(extra):
    """How to install an extra of the project."""
    pip = f"python3 -m pip --python {sys.executable}"  # an environment may have no pip of its own
    return f"install the extra `{extra}`, in the project's folder: {pip} install -e '.[{extra}]'"
