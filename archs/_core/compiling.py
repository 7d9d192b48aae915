"""Which loops are compiled by XLA, for how many time steps, and in which parts of the batch."""

import functools
import os

import tensorflow as tf

# Units of a loop that is compiled, on a CPU. To compile takes seconds, which a loop of fewer units does not win back; a
# loop of more units spends its time within the products, which XLA does not make faster.
UNITS = range(32, 512)
# A batch of at least so many rows is cut in two, one for each of two cores: one product is too small to use both.
ROWS = 16
ROWS_MORE = 8  # Where the graph does not know the number of rows, it is rounded up to a multiple of it.
ROOMS = [2**n for n in range(4, 31)]


@functools.cache
def _is_available():
    """Tells whether TensorFlow has XLA, and no GPU: there Keras compiles whole models."""
    with tf.init_scope():
        if tf.config.list_logical_devices("GPU"):
            return False
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


def pays(units):
    """Tells whether a loop of so many units is to be compiled in the graph that is being built."""
    return units in UNITS and _is_available() and not is_within_xla()


def room(time):
    """The number of steps to compile for, a power of two, so that sequences of many lengths share few loops."""
    rooms = tf.constant(ROOMS)
    return tf.reduce_min(tf.where(rooms >= time, rooms, rooms[-1]))


def parts(x):
    """The numbers of rows of the parts of a batch (time, batch, ...); -1 for all."""
    rows = x.shape[1]
    alone = _cores() == 1 or tf.config.threading.get_inter_op_parallelism_threads() == 1
    if (rows is not None and rows < ROWS) or alone:
        return [-1]
    rows = tf.shape(x)[1] if rows is None else rows
    return [rows // 2, rows - rows // 2]


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
