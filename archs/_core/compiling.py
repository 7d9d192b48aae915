"""Choice of the loops that XLA compiles, for how many time steps, and in which parts of the batch."""

import functools
import os

import tensorflow as tf

# Units of a loop that is compiled, on a CPU. To compile takes seconds, which a loop of fewer units does not win back; a
# loop of more units spends its time within the products, which XLA does not make faster.
UNITS = range(32, 512)
# A batch of at least so many rows is cut in two, one for each of two cores: one product is too small to use both.
ROWS = 16
ROWS_MORE = 8  # Where the graph does not know the number of rows, there is room for a multiple of it.
ROOMS = [2**n for n in range(4, 31)]


@functools.cache
def _has_gpu():
    with tf.init_scope():
        return bool(tf.config.list_logical_devices("GPU"))


@functools.cache
def _has_xla():
    with tf.init_scope():
        try:
            tf.function(lambda: tf.constant(1) + 1, jit_compile=True)()
        except tf.errors.OpError:
            return False
    return True


def is_within_xla():
    """Tells whether the graph that is being built is compiled as a whole, which TensorFlow tells nowhere in public."""
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = getattr(graph, "_get_control_flow_context", lambda: None)()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False


def pays(units, training):
    """Tells whether a loop of so many units is to be compiled unasked; on a GPU, Keras compiles whole models."""
    return training and units in UNITS and not _has_gpu() and _has_xla()


def room(time):
    """The number of steps to compile for, a power of two, so that sequences of many lengths share few loops."""
    rooms = tf.constant(ROOMS)
    return tf.reduce_min(tf.where(rooms >= time, rooms, rooms[-1]))


def parts(rows, count):
    """The numbers of rows of the parts of a batch, and the number that there is to be room for in each.

    Args:
        rows: of the batch, or None where the graph does not know it.
        count: the same, as a tensor.
    """
    alone = _cores() == 1 or tf.config.threading.get_inter_op_parallelism_threads() == 1 or _has_gpu()
    if rows is None:
        room = (count + ROWS_MORE - 1) // ROWS_MORE * ROWS_MORE  # ONNX divides negative numbers otherwise
        if alone:
            return [count], room
        room //= 2
        return [tf.minimum(room, count), count - tf.minimum(room, count)], room
    room = rows if alone or rows < ROWS else -(-rows // 2)
    return [room, rows - room] if room < rows else [rows], room


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
