"""Signals: read from a person's file, and looked at between their rows."""

import math
import warnings

import numpy as np
import tensorflow as tf
from scipy.io import wavfile
from scipy.signal import resample_poly

from recipes._core.errors import RecipeError


def interpolate(signals, places):
    """Signals (batch, time, ...) at fractional time steps `places` (batch, n): a tensor (batch, n, ...)."""
    last = tf.shape(signals)[1] - 1
    below = tf.clip_by_value(tf.cast(tf.floor(places), tf.int32), 0, last)
    part = places - tf.cast(below, places.dtype)
    for _ in signals.shape[2:]:
        part = part[..., None]
    lower, upper = (tf.gather(signals, at, axis=1, batch_dims=1) for at in (below, tf.minimum(below + 1, last)))
    return lower + part * (upper - lower)


def resample(signals, lengths, steps):
    """Signals (batch, time, ...) of different lengths, each at as many places, evenly from first to last time step."""
    places = tf.linspace(0.0, tf.cast(lengths, tf.float32) - 1, steps, axis=1)
    return interpolate(signals, places)


def read_wav(path, rate):
    """The samples of a WAV file, mixed down and resampled to `rate`: float32 (samples,) in [-1, 1].

    Raises:
        RecipeError: there is no such file, it is no WAV file, or there is no sound in it.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=wavfile.WavFileWarning):  # of chunks that are no sound
            found, samples = wavfile.read(path)
    except (OSError, ValueError, EOFError) as error:
        raise RecipeError(f"Expected the path of a WAV file or test:N, received {path!r} ({error}).") from None
    if samples.dtype.kind in "iu":
        limits = np.iinfo(samples.dtype)
        middle = 128 if samples.dtype.kind == "u" else 0
        samples = (samples.astype(np.float32) - middle) / (limits.max - middle + 1)
    if samples.ndim > 1:
        samples = samples.mean(axis=1)
    if not len(samples) or not np.any(samples):
        raise RecipeError(f"Expected a WAV file with sound in it, but {path!r} has {len(samples)} samples of silence.")
    common = math.gcd(rate, found)
    return resample_poly(samples, rate // common, found // common).astype(np.float32)
