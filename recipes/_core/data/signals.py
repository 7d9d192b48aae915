"""Signals: read from a person's file, standardised, and looked at between their rows."""

import csv
import math
import warnings

import numpy as np
import tensorflow as tf
from scipy.io import wavfile
from scipy.signal import resample_poly

from recipes._core.errors import RecipeError, told


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


def centred(signals, lengths):
    """Signals (batch, time, features) less the mean of each feature in time; zeros past each length."""
    inside = tf.sequence_mask(lengths, tf.shape(signals)[1], tf.float32)[..., None]
    mean = tf.reduce_sum(signals * inside, axis=1, keepdims=True) / tf.cast(lengths, tf.float32)[:, None, None]
    return (signals - mean) * inside


def standardised(signals, lengths):
    """As `centred`, with 1 as the variance of each feature; one that hardly changes stays near zero."""
    signals = centred(signals, lengths)
    square = tf.reduce_sum(signals**2, axis=1, keepdims=True) / tf.cast(lengths, tf.float32)[:, None, None]
    return signals / tf.sqrt(square + 1e-3)


def read_csv(path, columns, meaning):
    """The rows of a CSV file of numbers without a header, float32 (rows, columns); empty lines do not count.

    Args:
        path: of the file.
        columns: how many numbers a row has.
        meaning: of a row, such as `"x,y,z in m/s²"`, for the error.

    Raises:
        RecipeError: there is no such file or no row in it, or a line is something else, which the message names.
    """
    wanted, rows = f"Expected rows of {columns} finite numbers, {meaning}", []
    with (
        told(f"Expected the path of a CSV file or test:N, received {path!r}", OSError, UnicodeDecodeError, csv.Error),
        open(path, newline="", encoding="utf-8-sig") as file,
    ):
        reader = csv.reader(file)
        for row in filter(None, reader):
            rows.append(_finite(row))
            if len(rows[-1]) != columns:
                raise RecipeError(f"{wanted}, received {','.join(row)[:100]!r} in line {reader.line_num} of {path!r}.")
    if not rows:
        raise RecipeError(f"{wanted}, but {path!r} has none.")
    return np.stack(rows)


def _finite(texts):
    """Texts as float32 numbers; none at all where one of them is no finite number."""
    try:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
            values = np.array(texts, np.float32)
    except ValueError:
        return np.zeros(0, np.float32)
    return values if np.isfinite(values).all() else values[:0]


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
