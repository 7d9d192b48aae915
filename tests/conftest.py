"""Sampling: of the largest tests some cases are fast, the others slow. And memory, which is freed now and then."""

import collections
import gc
import itertools

import keras
import pytest

_ended = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a test that is marked `sampled(n)`, every n-th case stays fast and the others are slow."""
    numbers = collections.Counter()
    for item in items:
        if mark := item.get_closest_marker("sampled"):
            test = item.nodeid.partition("[")[0]
            if numbers[test] % mark.args[0]:
                item.add_marker("slow")
            numbers[test] += 1


def pytest_collection_finish():
    """Leaves what was imported out of each garbage collection to come: TensorFlow has a million objects."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown():
    """Frees what TensorFlow keeps of each function that ever ran, in a long run gigabytes."""
    if next(_ended) % 50 == 0:
        keras.backend.clear_session()
