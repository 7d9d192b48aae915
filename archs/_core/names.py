"""Names that were not found, and the nearest of those there are."""

import difflib


def nearest(word, words):
    """A sentence that names the words most like `word`, or all of them where none is."""
    words = sorted(words)
    lowered = {w.lower(): w for w in words}
    close = [lowered[w] for w in difflib.get_close_matches(str(word).lower(), lowered, n=3, cutoff=0.5)]
    return f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(words)}."
