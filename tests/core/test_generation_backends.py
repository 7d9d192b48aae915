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


DECODING = """
import sys
import numpy as np
import keras
import archs

model = archs.encoder_decoder_lstm(4, 6, 3, vocabulary=7, lengths=True, decoder_units=[5])
weights = np.load(sys.argv[1])
model.set_weights([weights[name] for name in sorted(weights)])
x = {"inputs": np.array([[1, 2, 3], [4, 0, 0]]), "lengths": np.array([3, 1])}
settings = {"start": 0, "end": 2, "max_length": 4}
likeliest = archs.decoding.sample(model, x, top_k=1, **settings)
greedy = archs.decoding.beam_search(model, x, **settings)
for name, values in likeliest.items():
    a, b = (keras.ops.convert_to_numpy(value) for value in (values, greedy[name][:, 0]))
    np.testing.assert_allclose(a, b, atol=1e-5)
drawn = [archs.decoding.sample(model, x, seed=seed, temperature=2.0, **settings)["tokens"] for seed in (1, 1, 2, 3, 4)]
drawn = [keras.ops.convert_to_numpy(tokens).tolist() for tokens in drawn]
assert drawn[0] == drawn[1] and len({str(tokens) for tokens in drawn}) > 1
try:
    archs.decoding.sample(model, x, seed=[1, 2], **settings)
except ValueError as error:
    print(error)
tagger = archs.bidirectional_lstm(4, 6, 3, vocabulary=7, lengths=True)
print(float(archs.losses.CTC()(np.array([[1, 2], [2, 0]]), keras.ops.zeros((2, 3, 3)))))
answers = tagger(x)
assert archs.losses.CTC(reduction=None)(np.array([[1, 2], [2, 0]]), answers).shape == (2,)
print(*keras.ops.convert_to_numpy(archs.decoding.ctc_decode(tagger, x)["lengths"]))
print(*keras.ops.convert_to_numpy(likeliest["log_probabilities"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_sequences_are_written_on_another_backend(backend, tmp_path):
    model = archs.encoder_decoder_lstm(4, 6, 3, vocabulary=7, lengths=True, decoder_units=[5])
    np.savez(tmp_path / "weights.npz", **{f"{n:02}": w for n, w in enumerate(model.get_weights())})
    command = [sys.executable, "-W", "error::UserWarning", "-c", DECODING, str(tmp_path / "weights.npz")]
    run = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert run.returncode == 0, f"needs the extras `jax` and `peers`: {run.stderr[-3000:]}"
    assert "Expected `seed` to be an integer from 0 to 2147483647, received [1, 2]" in run.stdout
    x = {"inputs": np.array([[1, 2, 3], [4, 0, 0]]), "lengths": np.array([3, 1])}
    expected = archs.decoding.beam_search(model, x, start=0, end=2, max_length=4)["log_probabilities"][:, 0]
    np.testing.assert_allclose(np.array(run.stdout.splitlines()[-1].split(), float), expected, atol=1e-4)
    loss = archs.losses.CTC()(np.array([[1, 2], [2, 0]]), np.zeros((2, 3, 3), "float32"))
    assert float(run.stdout.splitlines()[-3]) == pytest.approx(float(loss), rel=1e-5)
