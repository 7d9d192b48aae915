"""What a folder of exports holds, as a server sees it: read from the files, without loading a model."""

import dataclasses
import functools
import json
import pathlib

from recipes._core import artifact, export
from recipes._core.server.refusal import Refused, Why


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a model.

    Attributes:
        name, number: of the model, and its own.
        definitions: signatures by name, as TensorFlow's protocol buffers have them.
        signatures: the same as `artifact.describe` has them.
        card: of the export; empty where there is none.
    """

    name: str
    number: int
    definitions: dict
    signatures: dict
    card: dict

    @classmethod
    def read(cls, path):
        path = pathlib.Path(path)
        meta, card = artifact.meta_graph(path), {}
        if (path / "card.json").exists():
            card = json.loads((path / "card.json").read_text())
        described = artifact.describe(meta)
        definitions = {name: meta.signature_def[name] for name in described}
        return cls(path.parent.name, int(path.name), definitions, described, card)

    def signature(self, name):
        """The signature of that name, or the default one; returns the name, too."""
        name = name or "serving_default"
        if name not in self.signatures:
            raise Refused(
                Why.INVALID, f"signature_name: expected one of {_list(self.signatures)}, received {name[:100]!r}"
            )
        return name, self.signatures[name]


def on_disk(folder, names=()):
    """Name -> version numbers, ascending, of each model in a folder that has a version.

    Args:
        folder: of all exports.
        names: of the models to look for. Default: all.
    """
    paths = [pathlib.Path(folder) / name for name in names] or sorted(pathlib.Path(folder).glob("[!.]*/"))
    found = {path.name: export.versions(path) for path in paths}
    return {name: numbers for name, numbers in found.items() if numbers}


class Models:
    """The models that are served: for each the version that answers where none is asked for, and the others there are.

    Args:
        folder: of all exports.
        names: of those to serve. Default: all, also those that come later.
    """

    def __init__(self, folder, names=()):
        self.folder, self._names = pathlib.Path(folder), names
        self._current, self._there = {}, {}
        self._read = functools.lru_cache(maxsize=100)(
            lambda name, number: Version.read(self.folder / name / str(number))
        )

    def __iter__(self):
        return iter(sorted(self._current.items()))

    def changes(self):
        """(name, number) of each version that is the newest of its model, and not yet the one that answers."""
        self._there = on_disk(self.folder, self._names)
        for name in self._current.keys() - self._there.keys():
            del self._current[name]
        newest = {name: numbers[-1] for name, numbers in self._there.items()}
        return [(name, number) for name, number in newest.items() if self._current.get(name) != number]

    def switch(self, name, number):
        """Lets a version answer from now on."""
        self._read(name, number)
        self._current[name] = number

    def numbers(self, name):
        """The version numbers of a model, ascending, as `changes` saw them last."""
        if name not in self._current:
            raise Refused(Why.NOT_FOUND, f"model: expected one of {_list(self._current)}, received {name[:100]!r}")
        return self._there[name]

    def find(self, name, number=None):
        """The `Version` of a model: that one, or the one that answers."""
        numbers = self.numbers(name)
        if number is None:
            number = self._current[name]
        elif number not in numbers:
            raise Refused(Why.NOT_FOUND, f"version of {name}: expected one of {numbers}, received {number}")
        try:
            return self._read(name, number)
        except (OSError, ValueError) as error:
            raise Refused(
                Why.NOT_FOUND, f"version {number} of {name} cannot be read ({type(error).__name__})"
            ) from error


def _list(names):
    return ", ".join(sorted(names)) or "none: no model is served"
