"""A folder of exports, and a front over it."""

import pytest

from recipes._core.export import export
from recipes._core.server import front, models
from tests.recipes.server.small import Counting, write


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Exports of two models, `small` in two versions."""
    folder = tmp_path_factory.mktemp("served")
    for name, number, factor in (("small", 1, 2.0), ("small", 2, 3.0), ("other", 1, 5.0)):
        write(folder, name, number, factor)
    (folder / "only_cards/cards").mkdir(parents=True)
    assert export.versions(folder / "small") == [1, 2]
    return folder


@pytest.fixture(scope="session")
def counting(folder):
    return Counting(folder)


@pytest.fixture
def make_front(folder, counting):
    """A function that makes a `Front` over `folder`, with all of its models; call it in an event loop."""

    def make(**options):
        counting.batches, counting.gate = [], None
        served = models.Models(folder)
        for name, number in served.changes():
            served.switch(name, number)
        return front.Front(served, counting, **options)

    return make
