"""A process that holds models and answers batches of requests."""

import collections
import concurrent.futures
import gc
import os
import pathlib
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from recipes._core import artifact
from recipes._core.server import joining, link, models
from recipes._core.server.refusal import Refused, Why
from recipes._core.signatures import words

_LOADED = 2  # versions of a model at a time: the newest, and the other one that was asked last


class Replica:
    """Answers with any version in a folder of exports; the newest of each model is loaded from the start.

    Args:
        folder: of all exports, absolute.
        names: of the models to load at the start. Default: all.
        sockets: folder where to listen for calls of `prepare` and `answer`, see `link`. Default: nowhere.
        threads: calls that are computed at a time.
    """

    def __init__(self, folder, names=(), sockets=None, threads=8):
        self._folder = pathlib.Path(folder)
        self._loaded = collections.defaultdict(collections.OrderedDict)
        self._loading, self._books = threading.Lock(), threading.Lock()
        self._threads = concurrent.futures.ThreadPoolExecutor(threads)
        for name, numbers in models.on_disk(folder, names).items():
            self.prepare(name, numbers[-1])  # the front asks again, and hears what is wrong
        if sockets:
            gc.freeze()  # as in the front
            link.listen(sockets, self._call)

    def _call(self, method, arguments, reply):
        def compute():
            try:
                value = getattr(self, method)(*arguments)
            except Exception as error:  # a fault of ours, of which the caller must hear
                value = Refused(Why.FAILED, words(error))
            reply(value)

        self._threads.submit(compute)

    def prepare(self, name, number):
        """Loads a version and warms it up; returns what is wrong with it, or None."""
        try:
            self._load(name, number)
        except Exception as error:  # whatever a file that somebody put there may cause
            return words(error)

    def answer(self, name, number, signature, requests):
        """For each of the requests, which have one `joining.key`, a dict of name to array, or `Refused`."""
        try:
            model = self._load(name, number)
        except Exception as error:  # deleted, or never whole
            return [Refused(Why.NOT_FOUND, f"version {number} of {name} does not load: {words(error)}")] * len(requests)
        if len(requests) > 1:
            try:
                answer = _call(model, signature, joining.join(requests))
                return joining.split(answer, [joining.rows(request) for request in requests])
            except tf.errors.OpError:
                pass  # of one of them, or of all together; each is asked alone
        answers = []
        for request in requests:
            try:
                answers.append(_call(model, signature, request))
            except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
                answers.append(Refused(Why.INVALID, words(error)))
            except tf.errors.ResourceExhaustedError as error:
                answers.append(Refused(Why.TOO_LARGE, f"more memory than there is: {words(error)}"))
            except Exception as error:  # a fault of ours must not take the process with it
                answers.append(Refused(Why.FAILED, words(error)))
        return answers

    def _load(self, name, number):
        """The model of a version, warmed up."""
        path = self._folder / name / str(number)
        model = self._held(name, number, path)
        if model is None:
            with self._loading:  # of one at a time
                model = self._held(name, number, path)
                if model is None:
                    stamp = _stamp(path)
                    model = tf.saved_model.load(str(path))
                    _warm_up(model, path / artifact.WARM_UP)
                    self._hold(name, number, model, stamp)
        return model

    def _held(self, name, number, path):
        """The model, where it is loaded and nothing else was written in its place."""
        with self._books:
            model, stamp = self._loaded[name].get(number, (None, None))
            if model is None or _stamp(path) not in (stamp, None):  # None: deleted, while it is still asked
                return None
            self._loaded[name].move_to_end(number)
            return model

    def _hold(self, name, number, model, stamp):
        with self._books:
            there = self._loaded[name]
            there[number] = model, stamp
            while len(there) > _LOADED:
                del there[next(other for other in there if other not in (number, max(there)))]


def _stamp(path):
    try:
        return (path / "saved_model.pb").stat().st_mtime_ns
    except OSError:
        return None


def _call(model, signature, inputs):
    answer = model.signatures[signature](**{name: tf.constant(array) for name, array in inputs.items()})
    return {name: value.numpy() for name, value in answer.items()}


def _warm_up(model, path):
    if path.exists():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            _call(model, request.model_spec.signature_name, inputs)
