"""Files and folders: the options that name them, and writing that leaves the old file or the whole new one."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

from recipes._core.errors import RecipeError, reason

PATTERN = "*?[]\\"  # what TensorFlow reads as a pattern where it looks for files


def path(text):
    """A path from the command line, in which `~` is the home folder."""
    return pathlib.Path(os.path.expanduser(text))


def folder(text):
    """As `path`, of a folder that TensorFlow writes to and reads from.

    Raises:
        RecipeError: TensorFlow would take the name for something else.
    """
    found = path(text)
    if "://" in text:
        raise RecipeError(f"Expected a folder of this machine, received {text!r}.")
    if set(PATTERN) & set(text):
        raise RecipeError(f"Expected a folder without any of {PATTERN} in its name, received {text!r}.")
    if os.fsencode(found) != str(found).encode(errors="surrogateescape"):
        raise RecipeError(f"Expected a name in UTF-8, received {text!r}. Set a locale such as C.UTF-8.")
    return found


def check_writable(*folders):
    """Tries what is done later in each folder, or where it will be made: to write a file and to rename a folder.

    Raises:
        RecipeError: one of them cannot be written to.
    """
    for place in folders:
        there = pathlib.Path(place)
        while not os.path.lexists(there):
            there = there.parent
        trials = []
        try:
            trials.append(pathlib.Path(tempfile.mkdtemp(prefix=".try-", dir=there)))
            write(trials[0] / "file", "-")
            trials.append(trials[0].rename(f"{trials[0]}-renamed"))
        except OSError as error:
            raise RecipeError(
                f"Expected a folder that can be written to, received {place} ({error.strerror})."
            ) from None
        finally:
            for trial in trials:
                shutil.rmtree(trial, ignore_errors=True)


@contextlib.contextmanager
def locked(file, waiting=None):
    """Holds a lock, which ends with the process in whatever way; where a file system has none, goes on without.

    Args:
        file: path of the file that stands for it, which is made.
        waiting: what to print before it waits for another process. None: never wait.

    Raises:
        BlockingIOError: another process holds it, and there is nothing to wait for.
    """
    with pathlib.Path(file).open("w", encoding="utf-8") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise
            print(waiting, flush=True)
            fcntl.flock(opened, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


def write(file, text):
    """Writes a text in UTF-8; whoever reads it, also after a full disk, finds the old file or the whole new one."""
    file = pathlib.Path(file)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def write_json(file, value):
    """Writes a dict as a JSON file, a line per key."""
    lines = (f"  {json.dumps(key)}: {json.dumps(part, ensure_ascii=False)}" for key, part in value.items())
    write(file, "{\n" + ",\n".join(lines) + "\n}\n")


def sha256(file):
    """The sha256 of a file's content, as hexadecimal digits."""
    with pathlib.Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_json(file):
    """The dict in a JSON file.

    Raises:
        RecipeError: the file is damaged.
        OSError: there is none.
    """
    try:
        value = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{file} is damaged: expected JSON, but {reason(error)}.") from None
    if not isinstance(value, dict):
        raise RecipeError(f"{file} is damaged: expected a dict in JSON, received a {type(value).__name__}.")
    return value
