"""Exports in a folder, as a server sees them: read from the files, without loading a model."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib

from recipes._core.export import artifact, layout
from recipes._core.server.refusal import Refused, Why


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a model.

    Attributes:
        name, number: of the model, and its own.
        definitions: signatures by name, as TensorFlow's protocol buffers have them.
        signatures: the same as `artifact.signatures` has them; nothing is `joinable` of which the card does not say so.
        card: of the export; empty where there is none that can be read.
    """

    name: str
    number: int
    definitions: dict
    signatures: dict
    card: dict

    @classmethod
    def read(cls, path):
        path = pathlib.Path(path)
        meta, card = artifact.meta_graph(path), _card(path / "card.json")
        described, said = artifact.describe(meta), card.get("signatures")
        for name, sides in described.items():  # a card of another model says nothing of this one
            joinable = sides | {"joinable": True}
            if isinstance(said, dict) and said.get(name) == joinable:
                described[name] = joinable
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


def _card(path):
    if not path.exists():
        return {}
    try:
        card = json.loads(path.read_bytes())
        if not isinstance(card, dict):
            raise ValueError("no object")
        return card
    except (OSError, ValueError, RecursionError) as error:
        print(f"{path}: expected JSON ({str(error)[:100]}); the model is served without its card", flush=True)
        return {}


def stamp(path):
    """A number that changes when a file that a server reads is written, replaced, added or removed; 0 if none is."""
    path, found = pathlib.Path(path), []
    for place in (path, *(path / name for name in ("variables", "assets", "assets.extra"))):
        with contextlib.suppress(OSError), os.scandir(place) as files:  # there is none, or it is deleted in this moment
            for file in files:
                if place != path or file.name in ("saved_model.pb", "card.json"):
                    facts = file.stat()
                    found.append((file.path, facts.st_size, facts.st_mtime_ns, facts.st_ino))
    return hash(tuple(sorted(found))) if found else 0


class Models:
    """The models that are served: for each the version that answers where none is asked for, and the others there are.

    Args:
        folder: of all exports.
        names: of those to serve. Default: all, also those that come later.
    """

    def __init__(self, folder, names=()):
        self.folder, self._names = pathlib.Path(folder), names
        self._current, self._there, self._refused = {}, {}, {}
        self._paths = {}
        self._read = functools.lru_cache(lambda name, number, _: Version.read(self._paths[name][number]))

    def __iter__(self):
        return iter((name, number) for name, (number, _) in sorted(self._current.items()))

    def changes(self):
        """(name, number) of each version that is the newest of its model that may load, and does not answer yet.

        One that is being written on is left alone until it stays as it is from one call to the next.
        """
        self._paths, before = layout.on_disk(self.folder, self._names), self._there
        there = self._there = {
            name: {number: stamp(path) for number, path in paths.items()} for name, paths in self._paths.items()
        }
        for name in self._current.keys() - there.keys():
            del self._current[name]
        loading = {
            name: [each for each in numbers.items() if (name, *each) not in self._refused]
            for name, numbers in self._there.items()
        }
        newest = {name: max(numbers) for name, numbers in loading.items() if numbers}
        return [
            (name, new[0])
            for name, new in newest.items()
            if self._current.get(name) != new and before.get(name, {}).get(new[0], new[1]) == new[1]
        ]

    def switch(self, name, number):
        """Lets a version answer from now on."""
        found = self._there[name][number]
        self._read(name, number, found)
        self._current[name] = number, found

    def refuse(self, name, number, why):
        """Passes over a version as long as its files stay as they are."""
        self._refused[name, number, self._there[name][number]] = why

    def states(self, name, number=None):
        """(number, state in TensorFlow Serving's words, what is wrong) of a model's versions, the newest first."""
        numbers = self.numbers(name)
        if number is not None:
            numbers = [self.find(name, number).number]
        states = []
        for each in reversed(numbers):
            wrong = self._refused.get((name, each, self._there[name][each]), "")
            is_new = each > self._current[name][0]
            states.append((each, "END" if wrong else "LOADING" if is_new else "AVAILABLE", wrong))
        return states

    def numbers(self, name):
        """The version numbers of a model, ascending, as `changes` saw them last."""
        if name not in self._current:
            raise Refused(Why.NOT_FOUND, f"model: expected one of {_list(self._current)}, received {name[:100]!r}")
        return sorted(self._there[name])

    def find(self, name, number=None):
        """The `Version` of a model: that one, or the one that answers."""
        numbers = self.numbers(name)
        if number in (None, self._current[name][0]):
            return self._read(name, *self._current[name])
        if number not in numbers:
            raise Refused(Why.NOT_FOUND, f"version of {name}: expected one of {numbers}, received {number}")
        try:
            return self._read(name, number, self._there[name][number])
        except Exception as error:  # whatever a file that somebody put there may cause
            what = type(error).__name__
            raise Refused(Why.NOT_FOUND, f"version {number} of {name} cannot be read ({what})") from error


def _list(names):
    return ", ".join(sorted(names)) or "none: no model is served"
