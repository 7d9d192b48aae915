"""Pieces of text, such as words, letters or actions, as numbers and back."""

import collections

import tensorflow as tf

_MARK = r"[^\p{L}\p{M}\p{N}\p{Z}'\s]"  # all but letters and their accents, digits, spaces; a word keeps its apostrophe
_CLOSED = (
    (r" ([,.;:!?)\]}%…])", r"\1"),
    (r"([(\[{#$]) ", r"\1"),
    (r" ([-/]) ", r"\1"),
    (r'" ([^"]*) "', r'"\1"'),  # quotation marks of one form are taken in pairs
)


class Vocabulary:
    """Numbers each piece by its place in a list.

    The table travels with an export whose signatures use it.

    >>> words = Vocabulary(["<unk>", "the", "cat"], unknown="<unk>")
    >>> words.numbers(tf.constant(["the", "dog"])).numpy()
    array([1, 0], dtype=int32)
    >>> words.texts(tf.constant([[1, 2]])).numpy()
    array([b'the cat'], dtype=object)

    Args:
        pieces: list of different str; `pieces[n]` has the number n.
        unknown: the piece whose number all others get. None: others get -1.
    """

    def __init__(self, pieces, unknown=None):
        self.pieces = list(pieces)
        default = -1 if unknown is None else self.pieces.index(unknown)
        with tf.init_scope():  # a signature that is traced may be the first to ask for it
            rows = tf.lookup.KeyValueTensorInitializer(self.pieces, range(len(self.pieces)), tf.string, tf.int32)
            self._table = tf.lookup.StaticHashTable(rows, default)
            self._pieces = tf.constant(self.pieces)

    def __len__(self):
        return len(self.pieces)

    def numbers(self, pieces):
        """The int32 numbers of a tensor or ragged tensor of strings, of the same shape."""
        return tf.ragged.map_flat_values(self._table.lookup, pieces)

    def names(self, numbers):
        """The pieces of an int tensor of numbers, of the same shape."""
        return tf.gather(self._pieces, numbers)

    def texts(self, numbers):
        """The texts (...) of numbers (..., time): their pieces with spaces between them."""
        return tf.strings.strip(tf.strings.reduce_join(self.names(numbers), axis=-1, separator=" "))


def words_and_marks(texts):
    """The words and punctuation marks (..., None), ragged, of a tensor of texts: each mark is a piece of its own.

    >>> words_and_marks(tf.constant(["A man's T-shirt, (red)."])).to_list()
    [[b'A', b"man's", b'T', b'-', b'shirt', b',', b'(', b'red', b')', b'.']]
    """
    apart = tf.strings.regex_replace(texts, f"({_MARK})", r" \1 ")
    return tf.strings.split(tf.strings.regex_replace(apart, r"\p{Z}", " "))


def closed_up(texts):
    """Texts whose words and marks have spaces between them, with spaces where a person writes them.

    >>> closed_up(tf.constant("A man's T - shirt , ( red ) .")).numpy()
    b"A man's T-shirt, (red)."
    """
    for pattern, rewrite in _CLOSED:
        texts = tf.strings.regex_replace(texts, pattern, rewrite)
    return texts


def lower(texts, zero="\N{REPLACEMENT CHARACTER}"):
    """A tensor or ragged tensor of texts in UTF-8 in lower case, with `zero` in place of the character 0."""
    # `tf.strings.lower` stops at that character, and drops the rest.
    return tf.strings.lower(tf.strings.regex_replace(texts, r"\x00", zero), "utf-8")


def most_frequent(pieces, size=None, times=1):
    """The different pieces of an iterable, the most frequent first, equally frequent ones by the alphabet.

    Args:
        pieces: str.
        size: how many at most. None: all.
        times: how often one must be there to count.
    """
    counts = collections.Counter(pieces)
    ordered = sorted(counts, key=lambda piece: (-counts[piece], piece))
    return [piece for piece in ordered[:size] if counts[piece] >= times]
