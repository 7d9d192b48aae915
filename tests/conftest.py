"""Sampling: of the largest tests some cases are fast, the others slow."""

import collections

import pytest


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
