"""Trees on TensorFlow: their nodes in the order of levels, and the loop over the levels with its gradient.

The level of a node is its height, 0 at leaves. All nodes of a level, of all trees of a batch, are one step of the loop.
On the way back only the gradients by the states of children go from level to level. All else, the weights' above all,
is one step of all nodes at once: when the states are known, no node waits for another.
"""

import dataclasses

import keras
import tensorflow as tf

from archs._core import compiling
from archs._core.node import multiply
from archs._core.policy import InPolicyOf
from archs._core.step import Step

WIDTH = 32  # nodes of a step where XLA compiles the loop, which needs to know their number


@dataclasses.dataclass
class Levels:
    """The nodes of a batch of trees in the order of their levels, lowest first, padding left out where it can be.

    Attributes:
        order: int32 (count,), the place of each node in the batch, row * nodes + node.
        children: int32 (count, arity), their places in this order; `count` for none.
        ends: int32 (count,), the place after the last node of its level.
        starts: int32 (count,), that of the first node of its level.
        leaves: number of nodes without children.
        total: number of nodes, `count` but for padding at the end, where XLA compiles.
        places: int32 (batch, nodes), the place of each node of the batch in this order, `count` of padding.
        roots: int32 (batch,), likewise.
        mask: bool (batch, nodes), False at padding.
    """

    order: tf.Tensor
    children: tf.Tensor
    ends: tf.Tensor
    starts: tf.Tensor
    leaves: tf.Tensor
    total: tf.Tensor
    places: tf.Tensor
    roots: tf.Tensor
    mask: tf.Tensor


def levels_of(children):
    """`Levels` of trees, from the children (batch, nodes, arity) of each node, -1 for none.

    Raises:
        ValueError: there is a row that is no tree; within a graph, InvalidArgumentError. Not where XLA compiles.
    """
    batch, nodes, arity = _shape(children)
    count = batch * nodes
    is_place = (children >= -1) & (children < nodes)
    expected = "from 0 to below the number of nodes, or -1 for none"
    children = _checked(children, is_place, expected, nodes * arity, children)
    has_child = tf.reduce_any(children >= 0, axis=-1)
    first = tf.range(batch)[:, None, None] * nodes
    flat = tf.reshape(tf.where(children >= 0, children + first, count), (count, arity))
    parents = tf.math.unsorted_segment_sum(tf.ones_like(flat), flat, count + 1)[:count]
    flat = _checked(flat, parents < 2, "of one node each", nodes, "a node with two parents,")
    mine = tf.repeat(tf.range(count), arity)
    parent = tf.tensor_scatter_nd_update(tf.fill([count + 1], count), tf.reshape(flat, (-1, 1)), mine)
    parent = tf.concat([parent[:count], [count]], 0)
    has_parent = tf.reshape(parent[:count] < count, (batch, nodes))
    is_alone = ~tf.reduce_any(has_child, axis=1, keepdims=True) & (tf.range(nodes) == 0)
    mask = has_child | has_parent | is_alone
    is_root = mask & ~has_parent
    roots = tf.reduce_sum(tf.cast(is_root, tf.int32), axis=1)
    parent = _checked(parent, roots == 1, "of trees with one root each", 1, roots)

    # By steps that double, 2 ** k from each node up: its height is the longest way below it.
    def climb(reach, above, heights):
        longer = tf.math.unsorted_segment_max(heights + reach, above, count + 1)
        return 2 * reach, tf.gather(above, above), tf.maximum(heights, longer)

    start = tf.constant(1), parent, tf.zeros(count + 1, tf.int32)
    _, above, heights = tf.while_loop(
        lambda reach, above, _: tf.reduce_any(above < count) & (reach < nodes), climb, start
    )
    heights = _checked(heights, above[:count] == count, "without cycles", nodes, "one")
    heights = tf.where(tf.reshape(mask, (-1,)), heights[:count], nodes)
    is_padded = compiling.is_within_xla()  # it knows no number of nodes but that of all
    total = tf.reduce_sum(tf.cast(mask, tf.int32))
    order = tf.argsort(heights, stable=True)
    rank = tf.math.invert_permutation(order)
    size = count
    if not is_padded:
        order, size = order[:total], total
    rank = tf.minimum(tf.concat([rank, [size]], 0), size)
    heights = tf.gather(heights, order)
    of_level = tf.cumsum(tf.math.unsorted_segment_sum(tf.ones_like(heights), heights, nodes + 1))
    return Levels(
        order=order,
        children=tf.gather(rank, tf.gather(flat, order)),
        ends=tf.gather(of_level, heights),
        starts=tf.where(heights > 0, tf.gather(of_level, tf.maximum(heights - 1, 0)), 0),
        leaves=of_level[0],
        total=total,
        places=tf.where(mask, tf.reshape(rank[:count], (batch, nodes)), size),
        roots=tf.gather(rank, tf.reduce_max(tf.where(is_root, first[..., 0] + tf.range(nodes), 0), axis=1)),
        mask=mask,
    )


def _checked(values, holds, expected, per_row, received):
    """`values`, if all of `holds` do, `per_row` of a row; `received` is in words, or has one value for each of them."""
    if compiling.is_within_xla():
        return values
    wrong = tf.where(tf.reshape(~holds, (-1,)))[:, 0]
    rows = tf.unique(wrong // tf.cast(per_row, tf.int64))[0]
    words = f"Expected `children` {expected}, received"
    if isinstance(received, str):
        told = [f"{words} {received} in the rows", rows]
    else:
        told = [words, tf.gather(tf.reshape(received, (-1,)), wrong), "in the rows", rows]
    if tf.executing_eagerly():
        if not tf.reduce_all(holds):
            told = [part if isinstance(part, str) else ", ".join(map(str, part.numpy()[:5])) for part in told]
            raise ValueError(f"{' '.join(told)}.")
        return values
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(holds), told, summarize=5)]):
        return tf.identity(values)


class TreeLoop:
    """The loop of one node cell over the levels of a batch of trees."""

    def __init__(self, node, levels):
        self.node, self.levels = node, levels
        self.is_padded = compiling.is_within_xla()
        self.dtype = tf.as_dtype(node.compute_dtype)
        self.wide = self.dtype if self.dtype == tf.float64 else tf.float32
        self.in_wide = InPolicyOf(node, self.wide.name)
        self.size = tf.shape(levels.order)[0]

    def run(self, x):
        """The output of each node, (count, units), from what `project` returned, with its gradient."""
        weights = [tf.convert_to_tensor(v) for v in self.node.variables]

        @tf.custom_gradient
        def run(x, *weights):
            states = self.forward(*_unwatched([x, *weights]))

            def gradient(by):
                return first(x, *weights, tf.convert_to_tensor(by))  # that of a few rows comes as slices

            @tf.custom_gradient
            def first(x, *given):
                *weights, by = given
                by_x, by_weights = self.backward(*_unwatched([x, by]), _unwatched(weights), states)

                def second(*by_firsts):
                    places = [x, *weights, by]
                    with tf.GradientTape() as outer:
                        outer.watch(places)
                        with tf.GradientTape() as inner:
                            inner.watch(places)
                            output = self.forward(x, *weights)[0]
                        firsts = inner.gradient(output, places[:-1], by, unconnected_gradients="zero")
                    return outer.gradient(firsts, places, by_firsts, unconnected_gradients="zero")

                return [by_x, *by_weights], second

            return states[0], gradient

        return run(x, *weights)

    def step(self, x, children, present, weights, product):
        """The new states of nodes, computed in single precision at least."""
        step = Step(self.node, product=product)

        def recur(x, *children):
            return self.node.recur(x, children, present, step)

        with keras.StatelessScope(zip(self.node.variables, weights, strict=True)):
            return list(self.in_wide([x, *children], function=recur))

    def multiplied(self, a, kernel):
        """The product in the compute dtype: it is what costs time."""
        return tf.cast(multiply(tf.cast(a, self.dtype), tf.cast(kernel, self.dtype)), self.wide)

    def of_leaves(self, x, weights):
        """The states of nodes without children, whose products with states are zeros; and the products' kernels."""
        kernels = []

        def product(a, kernel):
            kernels.append(tf.convert_to_tensor(kernel))
            return tf.zeros((*_shape(a)[:-1], kernel.shape[-1]), self.wide)

        shape = tf.shape(x)[0], _shape(self.levels.children)[-1]
        nothing = [tf.zeros((*shape, self.node.units), self.wide)] * len(self.node.states)
        return self.step(x, nothing, tf.zeros(shape, tf.bool), weights, product), kernels

    def rows(self, start, stop):
        """The places from `start` to before `stop`; where XLA compiles, `WIDTH` of them, the last ones beyond all."""
        if not self.is_padded:
            return tf.range(start, stop)
        rows = start + tf.range(WIDTH)
        return tf.where(rows < stop, rows, self.size + 1)

    def forward(self, x, *weights):
        """The states of all nodes, each (count, units)."""
        levels = self.levels
        x = tf.cast(x, self.wide)
        states, kernels = self.of_leaves(x if self.is_padded else x[: levels.leaves], weights)
        kernels = [tf.cast(kernel, self.dtype) for kernel in kernels]
        # After all nodes, a child that is none, zeros; and a place for what is computed in vain.
        x, children = _longer(x, 0), _longer(levels.children, self.size)
        empty = self.size + 2 - tf.shape(states[0])[0]
        buffers = [tf.concat([s, tf.zeros((empty, self.node.units), self.wide)], 0) for s in states]

        def body(start, buffers):
            stop = levels.ends[start]
            rows = self.rows(start, stop)
            of_rows = tf.gather(children, rows)
            given = iter(kernels)
            new = self.step(
                tf.gather(x, rows),
                [tf.gather(buffer, of_rows) for buffer in buffers],
                of_rows < self.size,
                weights,
                lambda a, _: self.multiplied(a, next(given)),
            )
            places = rows[:, None]
            buffers = [tf.tensor_scatter_nd_update(b, places, s) for b, s in zip(buffers, new, strict=True)]
            return tf.minimum(stop, start + WIDTH) if self.is_padded else stop, buffers

        _, buffers = tf.while_loop(lambda start, _: start < levels.total, body, (levels.leaves, buffers))
        return [buffer[: self.size] for buffer in buffers]

    def backward(self, x, by, weights, states):
        """The gradients by x and by the weights, from that by the outputs."""
        levels, node = self.levels, self.node
        first = 0 if self.is_padded else levels.leaves
        wide = [tf.cast(weight, self.wide) for weight in weights]
        x, dtype = tf.cast(x, self.wide), x.dtype
        states = [_longer(state, 0) for state in states]
        kernels, products = [], []

        def product(a, kernel):
            kernels.append(tf.convert_to_tensor(kernel))
            products.append(self.multiplied(a, kernel))
            return products[-1]

        children = levels.children[first:]
        x_inner, present = x[first:], children < self.size
        with tf.GradientTape() as tape:
            tape.watch([x_inner, *wide])
            new = self.step(x_inner, [tf.gather(s, children) for s in states], present, wide, product)
        turned = [tf.cast(tf.transpose(kernel), self.dtype) for kernel in kernels]
        kept = [_longer(z, 0) for z in (x_inner, *products)]
        children = _longer(children, self.size)
        by_states = [_longer(tf.cast(by, self.wide), 0)]
        by_states += [tf.zeros_like(by_states[0]) for _ in node.states[1:]]

        def body(stop, by_states):
            start = levels.starts[stop - 1]
            start = tf.maximum(start, stop - WIDTH) if self.is_padded else start
            rows = self.rows(start, stop)
            x_rows, *z_rows = [tf.gather(a, rows - first) for a in kept]
            of_rows = tf.gather(children, rows - first)
            replayed = iter(zip(z_rows, turned, strict=True))
            old = [tf.gather(s, of_rows) for s in states]
            with tf.GradientTape() as tape:
                tape.watch(old)
                new = self.step(x_rows, old, of_rows < self.size, wide, lambda a, _: self.given(a, *next(replayed)))
            by_new = [tf.gather(b, rows) for b in by_states]
            by_old = tape.gradient(new, old, by_new, unconnected_gradients="zero")
            places = tf.reshape(of_rows, (-1, 1))
            by_old = [tf.reshape(b, (-1, node.units)) for b in by_old]
            # What is added for a child that is none is never read.
            return start, [tf.tensor_scatter_nd_add(b, places, a) for b, a in zip(by_states, by_old, strict=True)]

        _, by_states = tf.while_loop(lambda stop, _: stop > levels.leaves, body, (tf.identity(levels.total), by_states))
        by_states = [b[: self.size] for b in by_states]
        by_x, *by_weights = tape.gradient(
            new, [x_inner, *wide], [b[first:] for b in by_states], unconnected_gradients="zero"
        )
        if not self.is_padded:
            x_leaves = x[:first]
            with tf.GradientTape() as tape:
                tape.watch([x_leaves, *wide])
                new, _ = self.of_leaves(x_leaves, wide)
            by_leaves = tape.gradient(
                new, [x_leaves, *wide], [b[:first] for b in by_states], unconnected_gradients="zero"
            )
            by_x = tf.concat([by_leaves[0], by_x], 0)
            by_weights = [a + b for a, b in zip(by_weights, by_leaves[1:], strict=True)]
        return tf.cast(by_x, dtype), [tf.cast(b, w.dtype) for b, w in zip(by_weights, weights, strict=True)]

    def given(self, a, z, turned):
        """`z` as the product of `a` with a kernel, of which only the turned one is at hand."""
        return tf.custom_gradient(lambda a: (tf.identity(z), lambda by_z: self.multiplied(by_z, turned)))(a)


def _shape(a):
    return [size if size is not None else tf.shape(a)[axis] for axis, size in enumerate(a.shape)]


def _longer(a, fill):
    """`a` with two more rows."""
    return tf.concat([a, tf.fill([2, *_shape(a)[1:]], tf.cast(fill, a.dtype))], 0)


def _unwatched(tensors):
    """The tensors, hidden from tapes."""
    return list(tensors) if tf.executing_eagerly() else [tf.stop_gradient(a) for a in tensors]
