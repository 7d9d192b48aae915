"""Every cell computes the same on the other backends of Keras. They are in the extras `jax` and `peers`."""

import os
import subprocess
import sys

import numpy as np
import pytest

import archs
from tests.core import backend_parity


@pytest.fixture(scope="module")
def expected():
    return backend_parity.computed()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_every_cell_on_another_backend(backend, expected, tmp_path):
    file = tmp_path / "computed.npz"
    command = [sys.executable, "-m", "tests.core.backend_parity", str(file)]
    run = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert run.returncode == 0, f"needs the extras `jax` and `peers`: {run.stderr[-3000:]}"
    received = np.load(file)
    assert sorted(received) == sorted(expected)
    assert {key.split(".")[0] for key in received} == set(archs.list_cells())
    for key in received:
        np.testing.assert_allclose(received[key], expected[key], rtol=1e-4, atol=1e-5, err_msg=key)
