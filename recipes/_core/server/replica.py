"""A process that holds models and answers batches of requests."""

import collections
import dataclasses
import os
import pathlib
import threading
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from recipes._core.export import artifact, joining, layout
from recipes._core.export.signatures import words
from recipes._core.server import models
from recipes._core.server.refusal import Refused, Why

_LOOK = 1  # seconds after which an answering version is compared with its files again
_LOADED = 2  # versions of a model at a time: the newest, and the other one that was asked last


class Replica:
    """Answers with any version in a folder of exports; the newest of each model is loaded from the start.

    Args:
        folder: of all exports, absolute.
        names: of the models to load at the start. Default: all.
    """

    def __init__(self, folder, names=()):
        self._folder = pathlib.Path(folder)
        self._loaded = collections.defaultdict(collections.OrderedDict)
        self._loading, self._books = threading.Lock(), threading.Lock()
        for name, numbers in layout.on_disk(folder, names).items():
            self.prepare(name, max(numbers))  # the front asks again, and hears what is wrong

    def call(self, method, *arguments):
        """Returns what a method does, or the fault in it as `Refused`."""
        try:
            return getattr(self, method)(*arguments)
        except Exception as error:  # a fault of ours, of which the caller must hear
            return _fault(error)

    def ready(self):
        """Returns when the replica answers calls at all."""

    def prepare(self, name, number):
        """Loads a version as its files are now, and warms it up; returns what is wrong with it, or None."""
        try:
            self._load(name, number)
        except Exception as error:  # whatever a file that somebody put there may cause
            return words(error)

    def answer(self, name, number, signature, requests):
        """For each of the requests, which have one `joining.key`, a dict of name to array, or `Refused`."""
        model = self._held(name, number)
        try:
            model = model or self._load(name, number)
        except Exception as error:  # deleted, or never whole
            return [Refused(Why.NOT_FOUND, f"version {number} of {name} does not load: {words(error)}")] * len(requests)
        if len(requests) > 1:
            counts = [joining.rows(request) for request in requests]
            try:
                answer = artifact.call(model, signature, joining.join(requests))
                if joining.has_rows(answer, sum(counts)):
                    return joining.split(answer, counts)
            except tf.errors.OpError:
                pass  # of one of them, or of all together; each is asked alone
        answers = []
        for request in requests:
            try:
                answers.append(artifact.call(model, signature, request))
            except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
                answers.append(Refused(Why.INVALID, _told(error, request)))
            except tf.errors.ResourceExhaustedError as error:
                answers.append(Refused(Why.TOO_LARGE, f"more memory than there is: {words(error)}"))
            except Exception as error:  # a fault of ours must not take the process with it
                answers.append(_fault(error))
        return answers

    def _load(self, name, number):
        """The model of a version as its files are now, warmed up."""
        path = layout.versions(self._folder / name).get(number)
        if path is None:
            raise FileNotFoundError(f"Expected a folder of version {number}.")
        with self._loading:  # of one at a time
            stamp = models.stamp(path)
            with self._books:
                held = self._loaded[name].get(number)
            if held and held.stamp == stamp:
                return held.model
            model = artifact.load(path)
            _warm_up(model, path / artifact.WARM_UP)
            self._hold(name, number, _Held(model, stamp, stamp, time.monotonic()))
            return model

    def _held(self, name, number):
        """The model, if it is loaded, as its files are now, or were when these could last be loaded."""
        with self._books:
            held = self._loaded[name].get(number)
            if held is None:
                return None
            self._loaded[name].move_to_end(number)
            is_due = time.monotonic() - held.looked > _LOOK
            if is_due:
                held.looked = time.monotonic()
        if is_due:
            path = layout.versions(self._folder / name).get(number)
            before, held.seen = held.seen, models.stamp(path) if path else 0
            # Deleted or being written on, it is still asked.
            if held.seen == before and held.seen not in (0, held.stamp, held.refused):
                try:
                    return self._load(name, number)
                except Exception:
                    held.refused = held.seen
        return held.model

    def _hold(self, name, number, held):
        with self._books:
            there = self._loaded[name]
            there[number] = held
            while len(there) > _LOADED:
                del there[next(other for other in there if other not in (number, max(there)))]


@dataclasses.dataclass
class _Held:
    """A loaded model; the stamps of the files it is of, of those seen last, and of those that did not load."""

    model: object
    stamp: int
    seen: int
    looked: float
    refused: int = 0


def _warm_up(model, path):
    if path.exists():
        for signature, inputs in artifact.requests(path):
            try:
                artifact.call(model, signature, inputs)
            except Exception as error:  # whatever a file that somebody put there may cause
                raise ValueError(f"a request for {signature!r} in {path}: {words(error)}") from None


def _told(error, request):
    """The words of an error; an empty text that no check refused fails somewhere in a model, in TensorFlow's words."""
    told = words(error)
    empty = [
        name
        for name, array in request.items()
        if array.dtype.kind in "OSU" and not all(text.strip() for text in array.ravel())
    ]
    return f"{empty[0]}: expected text, received an empty one" if empty and "expected" not in told else told


def _fault(error):
    return Refused(Why.FAILED, words(error), "".join(traceback.format_exception(error)))
