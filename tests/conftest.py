"""Sampling: of the largest tests some cases are fast, the others slow. And memory, which is freed now and then."""

import collections
import gc
import itertools
import zlib

import keras
import pytest

_ended = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Of a test that is marked `sampled(n)`, and of each test of conformance, some cases stay fast, others are slow.

    Of a test of conformance it is every third, of each test others, so that every cell is in some tests. With `-k`,
    which asks for a cell by name, all cases stay fast.
    """
    if config.option.keyword:
        return
    cases = collections.defaultdict(list)
    for item in items:
        if not item.get_closest_marker("slow"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for test, of_test in cases.items():
        mark = of_test[0].get_closest_marker("sampled")
        n = mark.args[0] if mark else 3 if test.startswith("tests/conformance/") else 1
        first = zlib.crc32(test.encode()) % min(n, len(of_test))
        for number, item in enumerate(of_test):
            if (number - first) % n:
                item.add_marker("slow")


def pytest_collection_finish():
    _free()


def pytest_runtest_teardown():
    if next(_ended) % 50 == 0:
        _free()


def _free():
    """Frees what TensorFlow keeps of each function that ever ran, in a long run gigabytes.

    What is left, a million objects from the start, is left out of each garbage collection to come.
    """
    keras.backend.clear_session()
    gc.freeze()
