"""Trees in brackets as arrays, by operations of TensorFlow, so that an export reads them.

Two forms. With labels, as in a treebank: `(3 (2 A) (4 (2 good) (2 film)))`, each bracket begins with a label, which
may be left out, and a word stands in a bracket of its own. With heads: `(MAX 2 9 (MIN 4 7))`, each bracket begins with
the word of its node, and other words are leaves.
"""

import dataclasses
import functools

import tensorflow as tf

from recipes._core.export.signatures import expect


@dataclasses.dataclass
class Trees:
    """Trees of a batch of texts. Their nodes are in the order of the text, the root first.

    Attributes:
        words: strings (batch, nodes), "" where a node has none, and at padding.
        labels: strings (batch, nodes), likewise.
        children: int32 (batch, nodes, arity), places of nodes in the row, -1 for none.
        parents: int32 (batch, nodes), -1 for none.
        counts: int32 (batch,), the number of nodes.
        spans: int32 (batch, nodes, 2), the first of the leaves below each node, and the one after the last.
        leaves: ragged strings (batch, None), the words of the leaves.
        pieces: strings (batch, time), the words and brackets of the text, "" after its end.
    """

    words: tf.Tensor
    labels: tf.Tensor
    children: tf.Tensor
    parents: tf.Tensor
    counts: tf.Tensor
    spans: tf.Tensor
    leaves: tf.RaggedTensor
    pieces: tf.Tensor

    def phrases(self):
        """The words below each node, strings (batch, nodes)."""
        first = self.leaves.row_starts()[:, None, None] + tf.cast(self.spans, tf.int64)
        spans = tf.reshape(first, (-1, 2))
        words = tf.gather(self.leaves.flat_values, tf.ragged.range(spans[:, 0], spans[:, 1]))
        return tf.reshape(tf.strings.reduce_join(words, axis=-1, separator=" "), tf.shape(self.words))


def parse(texts, arity, *, heads=False, longest=None, name="tree"):
    """The `Trees` of texts (batch,).

    Args:
        texts: strings.
        arity: the largest number of children of a node.
        heads: whether brackets begin with the word of their node; else with a label.
        longest: the largest number of nodes, or None.
        name: what the caller calls the texts, for errors.

    Raises:
        InvalidArgumentError: a text is no tree of this form.
    """
    pieces = tf.strings.split(tf.strings.regex_replace(texts, r"([()])", r" \1 ")).to_tensor()
    time = tf.shape(pieces)[1]
    opens, closes = tf.cast(pieces == "(", tf.int32), tf.cast(pieces == ")", tf.int32)
    depth = tf.cumsum(opens - closes, axis=1)
    is_there = pieces != ""
    is_atom = is_there & (opens + closes == 0)
    last = tf.reduce_sum(tf.cast(is_there, tf.int32), axis=1) - 1
    is_end = tf.range(time) >= last[:, None]
    form = "(MAX 2 9 (MIN 4 7))" if heads else "(3 (2 A) (4 (2 good) (2 film)))"
    of_form = f"a tree in brackets, such as {form}"
    expects = functools.partial(expect_texts, texts, name)
    with tf.control_dependencies(
        [
            expect(tf.size(texts) > 0, f"{name}: expected at least one row, received an empty batch"),
            expect(last >= 0, f"{name}: expected {of_form}, received an empty text"),
            expects(opens[:, :1] == 1, of_form),
            expects((depth > 0) | is_end, "one tree in each text, with one outermost bracket"),
            expects((depth == 0) | ~is_end, "as many brackets closed as opened"),
        ]
    ):
        opens = tf.identity(opens)
    follows = tf.pad(opens[:, :-1], [[0, 0], [1, 0]]) == 1  # a bracket that is opened
    is_node = (opens == 1) | (is_atom & ~follows) if heads else opens == 1
    counts = tf.reduce_sum(tf.cast(is_node, tf.int32), axis=1)
    if longest is not None:
        message = f"{name}: expected at most {longest} nodes in a tree"
        with tf.control_dependencies([expect(counts <= longest, message, counts)]):
            counts = tf.identity(counts)
    # Places of the nodes in the text, and their depths, that of a leaf without a bracket one more.
    places = _masked(tf.broadcast_to(tf.range(time), tf.shape(pieces)), is_node, time)
    levels = tf.where(is_atom, depth + 1, depth)
    of_nodes = tf.gather(tf.pad(levels, [[0, 0], [0, 1]]), places, batch_dims=1)
    is_real = places < time
    of_nodes = tf.where(is_real, of_nodes, time + 2)
    # By depth, then by place: what stands before a place, and a level higher, is its parent.
    keys = of_nodes * (time + 1) + places
    order = tf.argsort(keys, axis=1)
    keys = tf.gather(keys, order, batch_dims=1)

    def owners(depths, places):
        found = tf.searchsorted(keys, depths * (time + 1) + places, side="left") - 1
        return tf.gather(order, tf.maximum(found, 0), batch_dims=1)

    is_child = is_real & (of_nodes > 1)
    parents = tf.where(is_child, owners(of_nodes - 1, places), -1)
    # The number of a child: how many nodes before it have its parent.
    size = tf.shape(places)[1]
    families = tf.where(is_child, parents, size)
    by_family = tf.argsort(families, axis=1, stable=True)
    sorted_families = tf.gather(families, by_family, batch_dims=1)
    ranks = tf.range(size) - tf.searchsorted(sorted_families, sorted_families, side="left")
    where = tf.where(sorted_families < size)
    numbers = tf.gather_nd(ranks, where)
    of_children = tf.gather(texts, where[:, 0])
    with tf.control_dependencies(
        [expect_texts(of_children, name, numbers[:, None] < arity, f"at most {arity} parts in a bracket")]
    ):
        rows = tf.cast(where[:, 0], tf.int32)
    index = tf.stack([rows, tf.gather_nd(sorted_families, where), tf.minimum(numbers, arity - 1)], axis=1)
    shape = tf.concat([tf.shape(places), [arity]], 0)
    children = tf.tensor_scatter_nd_update(tf.fill(shape, -1), index, tf.gather_nd(by_family, where))
    is_leaf = is_real & tf.reduce_all(children < 0, axis=-1)
    padded = tf.pad(pieces, [[0, 0], [0, 3]], constant_values="")
    first, second, third = (tf.gather(padded, places + step, batch_dims=1) for step in range(3))
    if heads:
        words, labels = tf.where(first == "(", second, first), tf.zeros_like(first)
        well = (words != "(") & (words != ")")
        expected = f"a word after each bracket that opens, as in {form}"
    else:
        is_labelled = _is_word(second) & (~is_leaf | _is_word(third))
        words = tf.where(is_leaf, tf.where(is_labelled, third, second), "")
        labels = tf.where(is_labelled, second, "")
        atoms = tf.math.unsorted_segment_sum(
            tf.cast(is_atom, tf.int32),
            owners(depth, tf.broadcast_to(tf.range(time), tf.shape(depth)))
            + tf.range(tf.shape(pieces)[0])[:, None] * size,
            tf.size(places),
        )
        well = tf.reshape(atoms, tf.shape(places)) == tf.cast(is_leaf, tf.int32) + tf.cast(is_labelled, tf.int32)
        well &= ~is_leaf | _is_word(words)
        expected = f"a word in a bracket of its own, behind its label, as in {form}"
    with tf.control_dependencies([expects(well | ~is_real, expected)]):
        words = tf.identity(tf.where(is_real, words, ""))
    # Leaves before each place in the text, and the place where the bracket of a node closes.
    rows = tf.broadcast_to(tf.range(tf.shape(pieces)[0])[:, None], tf.shape(places))
    starts = tf.stack([rows, places], axis=-1)
    of_text = tf.zeros((tf.shape(pieces)[0], time + 1), tf.int32)
    before = tf.tensor_scatter_nd_update(of_text, starts, tf.cast(is_leaf, tf.int32))
    before = tf.cumsum(before, axis=1, exclusive=True)
    is_close = tf.where(closes == 1)
    ends = tf.cast(is_close[:, 1], tf.int32)
    closed = tf.gather_nd(owners(depth + 1, tf.broadcast_to(tf.range(time), tf.shape(depth))), is_close)
    closed = tf.stack([tf.cast(is_close[:, 0], tf.int32), closed], axis=1)
    ends = tf.tensor_scatter_nd_update(tf.minimum(places + 1, time), closed, ends)
    spans = tf.stack([tf.gather(before, places, batch_dims=1), tf.gather(before, ends, batch_dims=1)], axis=-1)
    return Trees(
        words=words,
        labels=tf.where(is_real, labels, ""),
        children=children,
        parents=parents,
        counts=counts,
        spans=tf.where(is_real[..., None], spans, 0),
        leaves=tf.ragged.boolean_mask(words, is_leaf),
        pieces=pieces,
    )


def expect_texts(texts, name, condition, expected):
    """As `expect`, of a condition (batch, n) on what stands in texts (batch,), whose beginnings an error tells."""
    holds = tf.reduce_all(condition, axis=1)
    return expect(holds, f"{name}: expected {expected}", tf.strings.substr(texts, 0, 100))


def _is_word(pieces):
    return (pieces != "(") & (pieces != ")") & (pieces != "")


def _masked(values, mask, fill):
    return tf.ragged.boolean_mask(values, mask).to_tensor(fill)
