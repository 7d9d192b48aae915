"""The error that the command line prints without a traceback."""


class RecipeError(Exception):
    """Something the user can mend: the message says what was expected, what was received, and what to do."""


def install(extra):
    """How to install an extra of the project."""
    return f"install the extra `{extra}`, in the project's folder: pip install -e '.[{extra}]'"
