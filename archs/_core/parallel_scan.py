"""Time loops without a loop: the parallel scan of a linear recurrence."""

from keras import ops

_CHUNK = 16


def linear_scan(a, b):
    """All states of h_t = a_t * h_{t-1} + b_t from h_0 = 0, with as much work as a loop over time but in parallel.

    Its gradient is another scan, backwards, so that nothing but `a` and the states is kept for it.

    Args:
        a: float tensor (batch, time, units); finite. Of any time > 0, also one that is not static.
        b: float tensor of the same shape.

    Returns:
        A tensor like `b`.
    """

    @ops.custom_gradient
    def scan(a, b):
        h = _states(a, b)

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            following = ops.concatenate([a[:, 1:], ops.zeros_like(a[:, :1])], axis=1)
            by_b = ops.flip(linear_scan(ops.flip(following, 1), ops.flip(upstream, 1)), 1)
            before = ops.concatenate([ops.zeros_like(h[:, :1]), h[:, :-1]], axis=1)
            return by_b * before, by_b

        return h, gradient

    return scan(a, b)


def _states(a, b):
    """Scans chunks of time side by side, one step of each at once, then joins them by a scan over their ends."""
    batch, time, units = ops.shape(b)
    chunks = (time + _CHUNK - 1) // _CHUNK
    padding = [[0, 0], [0, chunks * _CHUNK - time], [0, 0]]

    def steps(x):
        return ops.unstack(ops.reshape(ops.pad(x, padding), (batch, chunks, _CHUNK, units)), _CHUNK, axis=2)

    h, decay = [], []
    for a_t, b_t in zip(steps(a), steps(b), strict=True):
        h.append(a_t * h[-1] + b_t if h else b_t)
        decay.append(a_t * decay[-1] if decay else a_t)
    starts = _doubling(decay[-1], h[-1], chunks)
    starts = ops.concatenate([ops.zeros_like(starts[:, :1]), starts[:, :-1]], axis=1)
    joined = ops.stack(h, axis=2) + ops.stack(decay, axis=2) * starts[:, :, None]
    return ops.reshape(joined, (batch, chunks * _CHUNK, units))[:, :time]


def _doubling(a, b, time):
    """The scan of a short sequence: each round joins neighbours twice as far apart."""

    def join(offset, a, b):
        reached = (ops.arange(time) >= offset)[None, :, None]
        b = ops.where(reached, a * ops.roll(b, offset, axis=1) + b, b)
        a = ops.where(reached, a * ops.roll(a, offset, axis=1), a)
        return 2 * offset, a, b

    return ops.while_loop(lambda offset, a, b: offset < time, join, (1, a, b))[2]
