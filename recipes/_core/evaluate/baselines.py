"""Baselines that a model has to beat."""

import collections
import gzip
import lzma

import numpy as np
import statsmodels  # noqa: F401  # here its lack is told before a training; `autoregression` imports the rest
import tensorflow as tf
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression


def majority_class(train_labels, test_labels):
    """Accuracy of always answering the most frequent training label."""
    return float(np.mean(test_labels == np.bincount(train_labels).argmax()))


def logistic_regression(train_inputs, train_labels, test_inputs, test_labels):
    """Test accuracy of a multinomial logistic regression on flattened inputs (examples, ...)."""
    flat = (np.reshape(inputs, (len(inputs), -1)).astype(np.float32) for inputs in (train_inputs, test_inputs))
    train_inputs, test_inputs = flat
    return float(
        LogisticRegression(max_iter=1000, tol=1e-3).fit(train_inputs, train_labels).score(test_inputs, test_labels)
    )


def bag_of_words(train_words, train_labels, test_words, test_labels):
    """Test accuracy of a logistic regression on how often each word is in a text, by tf-idf.

    Args:
        train_words, test_words: the words of each text, lists of lists.
        train_labels, test_labels: int arrays (texts,).
    """
    counts = TfidfVectorizer(analyzer=lambda words: words, sublinear_tf=True)
    train_inputs, test_inputs = counts.fit_transform(train_words), counts.transform(test_words)
    model = LogisticRegression(C=10, max_iter=1000).fit(train_inputs, train_labels)
    return float(model.score(test_inputs, test_labels))


def most_frequent(train_items, train_labels, test_items, test_labels):
    """Test accuracy of answering each item, such as a word, with its most frequent training label.

    An item that was not seen is answered as most of those that were seen once, or, where there are none, as most are.
    """
    counts = collections.defaultdict(collections.Counter)
    for (item, label), count in collections.Counter(zip(train_items, train_labels, strict=True)).items():
        counts[item][label] = count
    once = collections.Counter(label for labels in counts.values() if labels.total() == 1 for label in labels)
    unseen = (once or collections.Counter(train_labels)).most_common(1)[0][0]
    answers = {item: labels.most_common(1)[0][0] for item, labels in counts.items()}
    right = [answers.get(item, unseen) == label for item, label in zip(test_items, test_labels, strict=True)]
    return float(np.mean(right))


def autoregression(series, first, horizon, lags):
    """Forecasts (origins, horizon) of an autoregression, from `first` on from each origin that `series` has room for.

    It is fitted once, on what lies before `first`; each forecast knows all that lies before its origin.
    """
    from statsmodels.tsa.ar_model import AutoReg  # takes seconds, which only this baseline is to cost

    constant, *weights = AutoReg(series[:first], lags=lags).fit().params  # that of the nearest lag first
    known = np.lib.stride_tricks.sliding_window_view(series, lags)[first - lags : len(series) - lags - horizon + 1]
    for _ in range(horizon):
        following = constant + known[:, -lags:] @ weights[::-1]
        known = np.concatenate([known, following[:, None]], axis=1)
    return known[:, lags:]


def nearest_picture(known, asked, side=32):
    """For each of the pictures `asked` the number of that of `known` which is nearest by the squares of its pixels.

    Args:
        known, asked: uint8 arrays (examples, height, width, ...).
        side: that they are scaled to.
    """

    def scaled(pictures):
        pictures = tf.reshape(tf.convert_to_tensor(pictures), [*pictures.shape[:3], -1])
        return tf.reshape(tf.image.resize(pictures, (side, side), "area"), [len(pictures), -1]) / 255

    known, asked = scaled(known), scaled(asked)
    lengths = tf.reduce_sum(known**2, axis=1)
    return np.concatenate(
        [
            tf.argmin(lengths - 2 * tf.matmul(asked[start : start + 500], known, transpose_b=True), axis=1).numpy()
            for start in range(0, len(asked), 500)
        ]
    )


def dtw_1nn(train_inputs, train_labels, test_inputs, test_labels, band):
    """Test accuracy of answering as the training example that is nearest by dynamic time warping.

    Args:
        train_inputs, test_inputs: float arrays (examples, steps, features), all of as many steps.
        train_labels, test_labels: int arrays (examples,).
        band: how many steps two examples may be apart (Sakoe & Chiba 1978).
    """
    nearest = [
        _dtw(test_inputs[start : start + 50], train_inputs, band).argmin(axis=1)
        for start in range(0, len(test_inputs), 50)
    ]
    return float(np.mean(train_labels[np.concatenate(nearest)] == test_labels))


def _dtw(one, other, band):
    """The least sum of squared distances along a warping path, of each of `one` to each of `other`."""
    steps = one.shape[1]
    one_squares, other_squares = ((signals**2).sum(axis=2) for signals in (one, other))
    before = np.full((steps + 1, len(one), len(other)), np.inf, np.float32)
    before[0] = 0
    for row in range(steps):
        now = np.full_like(before, np.inf)
        for column in range(max(0, row - band), min(steps, row + band + 1)):
            distance = one_squares[:, row, None] + other_squares[:, column] - 2 * one[:, row] @ other[:, column].T
            now[column + 1] = distance + np.minimum(np.minimum(before[column], before[column + 1]), now[column])
        before = now
    return before[steps]


# How many bytes are left of some bytes. gzip sees 32 KB back, xz with this setting 64 MB.
COMPRESSORS = {
    "gzip": lambda text: len(gzip.compress(text, 9)),
    "xz": lambda text: len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)),
}


def ngram_bits(known, asked, order, size, edge):
    """Bits of each token of `asked` but the edges, given the `order - 1` before it, counted in `known`.

    Each order is interpolated with that below (Witten & Bell 1991): a context that was followed by many different
    tokens trusts its own counts less. Below the lowest, all tokens are equally likely.

    Args:
        known, asked: int arrays of tokens, documents with an edge before each.
        order: how many tokens are counted together.
        size: number of tokens.
        edge: the token before and behind a document, beyond which nothing is seen.
    """
    chances = np.full(np.sum(asked != edge), 1 / size)
    for known_grams, asked_grams in zip(*(_grams(tokens, order, size, edge) for tokens in (known, asked)), strict=True):
        grams, counts = np.unique(known_grams, return_counts=True)
        contexts, first, kinds = np.unique(grams // size, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        place, seen = _find(contexts, asked_grams // size)
        total, kinds = totals[place] * seen, kinds[place] * seen
        place, seen = _find(grams, asked_grams)
        chances = np.where(total > 0, (counts[place] * seen + kinds * chances) / np.maximum(total + kinds, 1), chances)
    return -np.log2(chances)


def _grams(tokens, order, size, edge):
    """For 1, 2, ... `order` tokens, an integer for each token but the edges with those before it in its document."""
    places = np.flatnonzero(tokens != edge)
    grams, before = np.zeros(len(places), np.int64), places
    for length in range(order):
        grams = grams + tokens[before].astype(np.int64) * size**length
        yield grams
        before = np.where(tokens[before] == edge, before, before - 1)  # edges all the way


def _find(table, values):
    """Finds the place of each of the values in a sorted table, and tells which are there."""
    places = np.minimum(np.searchsorted(table, values), len(table) - 1)
    return places, table[places] == values


def kneser_ney(train, test, order):
    """Perplexity of a test text by an interpolated Kneser-Ney model (Chen & Goodman 1999) over n-grams.

    Args:
        train, test: int arrays of tokens; those of `test` are also in `train`.
        order: of the longest n-grams; 1 for how often each token is.
    """
    train, test = np.asarray(train).tolist(), np.asarray(test).tolist()
    counts = collections.Counter(zip(*(train[start:] for start in range(order)), strict=False))
    probabilities = 1 / len(set(train))
    levels = [counts]
    for _ in range(order - 1):  # of a shorter n-gram it counts how many different tokens it comes after
        levels.append(collections.Counter(gram[1:] for gram in levels[-1]))
    context = (train[-(order - 1) :] if order > 1 else []) + test
    grams = np.array(list(zip(*(context[start:] for start in range(order)), strict=False)))
    for length, counts in enumerate(reversed(levels), 1):
        once, twice = (list(counts.values()).count(times) for times in (1, 2))
        discount = once / (once + 2 * twice) if order > 1 and once else 0
        totals, different = collections.Counter(), collections.Counter()
        for gram, count in counts.items():
            totals[gram[:-1]] += count
            different[gram[:-1]] += 1
        asked = [tuple(gram) for gram in grams[:, order - length :].tolist()]
        found = np.array([counts.get(gram, 0) for gram in asked])
        total, kinds = (np.array([table[gram[:-1]] for gram in asked]) for table in (totals, different))
        seen = np.maximum(total, 1)
        share = np.where(total > 0, discount * kinds / seen, 1)
        probabilities = np.maximum(found - discount, 0) / seen + share * probabilities
    return float(np.exp(-np.log(probabilities).mean()))
