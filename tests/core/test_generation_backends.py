"""Language models on the other backends of Keras. They are in the extras `jax` and `peers`."""

import os
import subprocess
import sys

import numpy as np
import pytest

import archs

CODE = """
import sys
import numpy as np
import keras
import archs

model = archs.generative_lstm(4, 6, 7, mask_zero=True)
weights = np.load(sys.argv[1])
model.set_weights([weights[name] for name in sorted(weights)])
try:
    archs.generation.generate(model, [[1, 2]], max_new_tokens=2)
except NotImplementedError as error:
    print(error)
try:
    archs.generation.prefill(model, [[1, 7]])
except ValueError as error:
    print(error)
_, states = archs.generation.prefill(model, [[0, 1, 2]])
print(*keras.ops.convert_to_numpy(archs.generation.step(model, [3], states)[0][0]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_text_goes_on_on_another_backend(backend, tmp_path):
    model = archs.generative_lstm(4, 6, 7, mask_zero=True)
    np.savez(tmp_path / "weights.npz", **{f"{n:02}": w for n, w in enumerate(model.get_weights())})
    command = [sys.executable, "-W", "error::UserWarning", "-c", CODE, str(tmp_path / "weights.npz")]
    run = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert run.returncode == 0, f"needs the extras `jax` and `peers`: {run.stderr[-3000:]}"
    assert f"Expected Keras' backend to be TensorFlow for `generate`, received '{backend}'" in run.stdout
    assert "Expected tokens from 0 to 6, received 7" in run.stdout
    received = np.array(run.stdout.splitlines()[-1].split(), float)
    np.testing.assert_allclose(received, model(np.array([[1, 2, 3]]))[0, -1], atol=1e-5)
