"""The fused time loop of TensorFlow: a cell's recurrence with the products of its weights' gradients out of the loop.

Autodiff of a time loop adds every recurrent product's weight gradient to an accumulator in each step. Here the loop
keeps what goes into a product and what comes out of it, and the gates; on the way back it takes these as given,
differentiates the rest of the step alone, and after the loop one large product over all steps gives the gradient of the
weights. A cell says nothing about it: all that counts is that its recurrent products go through
`Step.recurrent_product` and its gates through `Step.activate`. Where what the products multiply with differs between
steps, the loop is left to autodiff.
"""

import keras
import tensorflow as tf

from archs._core import external_memory
from archs._core.policy import InPolicyOf
from archs._core.step import Step, multiply, scaled_tanh


def _aside(function):
    """What `function` returns; its operations do not stay in the graph that is built, where nothing reads them."""
    if tf.executing_eagerly():
        return function()
    returned = []
    tf.function(lambda: returned.append(function()), autograph=False).get_concrete_function()
    return returned[0]


class _Loop:
    """One cell over one batch of sequences; time is the first axis of all that has one.

    `weights` are the values of the cell's variables and, after them, what it prepared of an external memory; `kernels`
    are those that its products multiply with, in their order.
    """

    def __init__(self, cell, mask, training, masks, keep_outputs, add_bias):
        self.cell, self.training, self.masks = cell, training, masks
        self.mask = mask if mask is None else mask[..., None]
        self.keep_outputs, self.add_bias = keep_outputs, add_bias
        self.dtype = tf.as_dtype(cell.compute_dtype)
        self.wide = self.dtype if self.dtype == tf.float64 else tf.float32
        self.in_wide = InPolicyOf(cell, self.wide.name)
        self.is_fused = True

    def step(self, weights, x, states, t=None, product=multiply, squash=scaled_tanh):
        """The new states, with `product(a, kernel)` for every recurrent product and `squash` for gates.

        Of the step t; without t of one that is not masked.
        """
        cell, variables = self.cell, self.cell.variables
        memory = self.widened(weights[len(variables) :]) or None
        step = Step(cell, self.training, masks=self.masks, memory=memory, product=product, squash=squash)

        def recur(x, *states):
            return cell.recur(cell.add_bias(x) if self.add_bias else x, states, step)

        with keras.StatelessScope(zip(variables, weights, strict=False)):
            new = self.in_wide([x, *states], function=recur)
        if self.mask is None or t is None:
            return list(new)
        is_read = tf.gather(self.mask, t)
        return [tf.where(is_read, a, b) for a, b in zip(new, states, strict=True)]

    def widened(self, tensors):
        return [tf.cast(a, self.wide) if a.dtype.is_floating else a for a in tensors]

    def of_product(self, kernel):
        """The kernel as it is multiplied with: what costs time in the compute dtype."""
        return tf.cast(kernel, self.dtype if _is_large(kernel) else self.wide)

    def recorded(self, weights, x, states):
        """Kernels of the products of a step, and the arguments of its calls of `squash`."""
        kernels, gates = [], []

        def product(a, kernel):
            kernels.append(tf.convert_to_tensor(kernel))
            return multiply(a, kernel)

        def squash(*arguments):
            gates.append(arguments)
            return scaled_tanh(*arguments)

        self.step(weights, x[0], states, product=product, squash=squash)
        return kernels, gates

    def kernels(self, weights, x, states):
        return self.recorded(weights, x, states)[0]

    def count_gates(self, weights, x, states):
        return len(_aside(lambda: self.recorded(weights, x, states)[1]))

    def kernels_are_weights(self, weights, x, states):
        """Whether no gradient leads from the kernels to what differs between steps."""

        def gradients():
            with tf.GradientTape() as tape:
                places = _floats([x, *states])
                tape.watch(places)
                kernels = self.kernels(weights, x, states)
            return tape.gradient(kernels, places) if kernels else []

        return all(by is None for by in _aside(gradients))

    def forward(self, x, states, weights, keep_all):
        """Outputs or None, final states, and with `keep_all` what `backward` needs.

        In half precision only the products are of it, and what is kept; the states are not rounded from step to step,
        since a cell may amplify that.
        """
        time = _time(x)
        starts, states = states, self.widened(states)
        kernels = [self.of_product(k) for k in self.kernels(weights, x, states)] if self.is_fused else []
        kept = len(states) if keep_all else int(self.keep_outputs)
        histories = [tf.TensorArray(s.dtype, time, element_shape=s.shape) for s in starts[:kept]]
        large = [i for i, kernel in enumerate(kernels) if keep_all and _is_large(kernel)]
        outcomes = {i: tf.TensorArray(self.dtype, time) for i in large}
        count = self.count_gates(weights, x, states) if keep_all else 0
        gates = [tf.TensorArray(self.dtype, time) for _ in range(count)]

        def body(t, states, histories, outcomes, gates):
            products, squashed = [], []

            def product(a, kernel):
                kernel = kernels[len(products)] if self.is_fused else self.of_product(kernel)
                products.append(multiply(tf.cast(a, kernel.dtype), kernel))
                return tf.cast(products[-1], self.wide)

            def squash(*arguments):
                squashed.append(scaled_tanh(*arguments))
                return squashed[-1]

            new = self.step(weights, tf.gather(x, t), states, t, product, squash)
            for s, old in zip(new, states, strict=True):
                s.set_shape(old.shape)
            histories = [array.write(t, tf.cast(s, array.dtype)) for array, s in zip(histories, new, strict=False)]
            outcomes = {i: array.write(t, products[i]) for i, array in outcomes.items()}
            gates = [array.write(t, tf.cast(y, self.dtype)) for array, y in zip(gates, squashed, strict=False)]
            return t + 1, new, histories, outcomes, gates

        loop = (0, list(states), histories, outcomes, gates)
        _, finals, histories, outcomes, gates = tf.while_loop(
            lambda t, *_: t < time, body, loop, maximum_iterations=time
        )
        histories = [array.stack() for array in histories]
        outputs = histories[0] if self.keep_outputs else None
        before = [tf.concat([s[None], h[:-1]], 0) for s, h in zip(starts, histories, strict=False)] if keep_all else []
        saved = before, {i: array.stack() for i, array in outcomes.items()}, [array.stack() for array in gates]
        return outputs, [tf.cast(s, start.dtype) for s, start in zip(finals, starts, strict=True)], saved

    def backward(self, x, states, weights, saved, by_outputs, by_finals):
        """Gradients by x, states and weights, which add up over time: computed in single precision at least."""
        time, dtypes, wide, widened = _time(x), [weight.dtype for weight in weights], self.wide, self.widened
        before, outcomes, gates = saved
        weights, by_finals = widened(weights), widened(by_finals)
        with tf.GradientTape() as tape:
            tape.watch(_floats(weights))
            kernels = self.kernels(weights, x[:1], widened(states))
        turned = [tf.linalg.matrix_transpose(kernel) if _is_large(kernel) else kernel for kernel in kernels]

        def step_back(t, gates_t, by_new):
            """The replayed step t, and its gradients by x, states and weights."""
            x_t, *old = widened([tf.gather(a, t) for a in (x, *before)])
            products = dict(zip(outcomes, widened([tf.gather(z, t) for z in outcomes.values()]), strict=True))
            replay = _Replay(kernels, turned, products, widened(gates_t))
            with replay.tape:
                replay.tape.watch(_floats([x_t, *old, *weights]))
                new = self.step(weights, x_t, old, t, replay.product, replay.squash)
            by = replay.tape.gradient(new, [x_t, *old, *weights], output_gradients=by_new)
            zeros = [tf.zeros_like(a) if b is None else b for a, b in zip([x_t, *old], by, strict=False)]
            return replay, old, zeros[0], zeros[1:], by[1 + len(old) :]

        # What one step looks like: which weights it has a gradient for, and what need not be kept twice.
        replay, old, by_x, _, by_weights = step_back(0, [y[0] for y in gates], list(by_finals))
        own_weights = [i for i, by in enumerate(by_weights) if by is not None]
        same = next((i for i in outcomes if replay.by_outcomes[i] is by_x), None)
        entered = {i: next((k for k, s in enumerate(old) if s is replay.entering[i]), None) for i in outcomes}

        def body(t, gates_t, by_states, sums, by_small, by_xs, inputs, by_zs):
            if by_outputs is not None:
                by_states = [by_states[0] + tf.cast(tf.gather(by_outputs, t), wide), *by_states[1:]]
            replay, _, by_x, by_old, by_weights = step_back(t, gates_t, by_states)
            entering, by_outcomes = replay.entering, replay.by_outcomes
            sums = [s + by_weights[i] for s, i in zip(sums, own_weights, strict=True)]
            by_small = {i: s + entering[i] * by_outcomes[i] for i, s in by_small.items()}
            by_xs = by_xs if same is not None else by_xs.write(t, tf.cast(by_x, self.dtype))
            inputs = {i: array.write(t, tf.cast(entering[i], self.dtype)) for i, array in inputs.items()}
            by_zs = {i: array.write(t, tf.cast(by_outcomes[i], self.dtype)) for i, array in by_zs.items()}
            # Loaded one step ahead: XLA on a CPU would load each gate again in each place that reads it.
            gates_t = [tf.gather(y, tf.maximum(t - 1, 0)) for y in gates]
            return t - 1, gates_t, by_old, sums, by_small, by_xs, inputs, by_zs

        arrays = {i: tf.TensorArray(z.dtype, time) for i, z in outcomes.items()}
        if same is not None:
            # Saves XLA the zeros that an array starts with, and their memory.
            arrays[same] = arrays[same].unstack(tf.cast(x, self.dtype))
        small = {i: by for i, by in replay.by_outcomes.items() if i not in outcomes}
        loop = (
            time - 1,
            [y[time - 1] for y in gates],
            list(by_finals),
            [tf.zeros_like(weights[i]) for i in own_weights],
            {i: tf.zeros(tf.shape(by), wide) for i, by in small.items()},
            tf.TensorArray(self.dtype, time if same is None else 0),
            {i: tf.TensorArray(self.dtype, time) for i, k in entered.items() if k is None},
            arrays,
        )
        _, _, by_states, sums, by_small, by_xs, inputs, by_zs = tf.while_loop(
            lambda t, *_: t >= 0, body, loop, maximum_iterations=time
        )
        by_zs = {i: array.stack() for i, array in by_zs.items()}
        by_kernels = [tf.reduce_sum(by_small[i], 0) if i in by_small else None for i in range(len(kernels))]
        for i, k in entered.items():
            by_kernels[i] = _by_kernel(inputs[i].stack() if k is None else before[k], by_zs[i], kernels[i], wide)
        by_weights = tape.gradient(kernels, weights, output_gradients=by_kernels)
        for i, total in zip(own_weights, sums, strict=True):
            by_weights[i] = total if by_weights[i] is None else by_weights[i] + total
        by_weights = [by if by is None else tf.cast(by, dtype) for by, dtype in zip(by_weights, dtypes, strict=True)]
        by_states = [tf.cast(by, s.dtype) for by, s in zip(by_states, states, strict=True)]
        return tf.cast(by_zs[same] if same is not None else by_xs.stack(), x.dtype), by_states, by_weights


class _Replay:
    """A step on the way back: the outcomes of its products and its gates are given, and no gradient is taken of them.

    Attributes:
        tape: which records the step.
        entering: what went into each product.
        by_outcomes: gradients by what came out of each, once the tape was asked for gradients.
    """

    def __init__(self, kernels, turned, outcomes, gates):
        self._kernels, self._turned, self._outcomes, self._gates = kernels, turned, outcomes, iter(gates)
        self.tape, self.entering, self.by_outcomes = tf.GradientTape(), [], {}

    def product(self, a, kernel):
        i = len(self.entering)
        self.entering.append(a)
        self.tape.watch(a)  # a constant, too: what comes out counts
        z = self._outcomes[i] if i in self._outcomes else multiply(a, self._kernels[i])
        self.by_outcomes[i] = tf.zeros_like(z)

        def by_entering(by_z):
            self.by_outcomes[i] = by_z
            return tf.reshape(multiply(by_z, self._turned[i]), (-1, a.shape[-1]))

        return _given(z, a, by_entering)

    def squash(self, z, scale, offset):
        y = next(self._gates)
        return _given(y, z, lambda by_y: by_y * (scale**2 - (y - offset) ** 2))


def _given(value, a, gradient):
    """`value` as a function of `a` whose gradient is `gradient`."""
    return tf.custom_gradient(lambda a: (tf.identity(value), gradient))(a)


def _time(x):
    """The number of time steps, an int where the graph knows it."""
    return x.shape[0] or tf.shape(x)[0]


def _is_large(kernel):
    """Whether a product costs more than its outcome's place in memory."""
    return len(kernel.shape) > 1


def _floats(tensors):
    return [a for a in tensors if a.dtype.is_floating]


def _by_kernel(a, by_z, kernel, wide):
    """The gradient of a kernel from all time steps at once, summed in single precision at least."""
    a, by_z = tf.cast(a, wide), tf.cast(by_z, wide)
    if len(kernel.shape) == 2:
        by = tf.matmul(tf.reshape(a, (-1, kernel.shape[0])), tf.reshape(by_z, (-1, kernel.shape[1])), transpose_a=True)
    else:
        heads, n, m = kernel.shape
        a, by_z = tf.reshape(a, (-1, heads, n)), tf.reshape(by_z, (-1, heads, m))
        by = tf.einsum("bkn,bkm->knm", a, by_z)
    return tf.cast(by, kernel.dtype)


def is_fused(cell):
    """Whether the gradient of a built cell's loop is the fused one; otherwise it is left to autodiff."""
    memory = None
    if cell.reads_memory:
        nothing = tf.zeros((1, 1, cell.memory_size), cell.compute_dtype)
        memory = external_memory.prepared(cell, nothing)
    loop = _Loop(cell, None, False, {}, False, False)
    inputs = tf.zeros((1, cell.input_spec.axes[-1]), cell.compute_dtype)
    x = InPolicyOf(cell)([inputs], function=cell.project)
    states = [tf.convert_to_tensor(s) for s in cell.get_initial_state(1)]
    return loop.kernels_are_weights(_weights(cell, memory), x[None], states)


def _weights(cell, memory):
    return [tf.convert_to_tensor(v) for v in (*cell.variables, *(memory or []))]


def fused_loop(cell, x, states, mask, call, training, keep_outputs, add_bias=False):
    """Runs `recur` over time.

    Args:
        cell: of the catalog.
        x: what its `project` returned, (time, batch, m).
        states: list of the initial states.
        mask: bool tensor (time, batch), or None.
        call: `Call`: the dropout masks that were drawn for it, and the memory that the cell prepared.
        training: whether it is training; if so, what the gradient needs is kept, otherwise it is computed again.
        keep_outputs: whether the outputs of all steps are wanted.
        add_bias: whether x lacks the bias, which each step is to add.

    Returns:
        The first state after each step, (time, batch, size), or None, and the list of the final states. Gradients of
        any order can be taken; those of the first are the fused ones.
    """
    loop = _Loop(cell, mask, training, call.masks, keep_outputs, add_bias)
    weights = _weights(cell, call.memory)
    states = [tf.convert_to_tensor(s) for s in states]
    count = len(states)

    def unpacked(tensors):
        return tensors[0], list(tensors[1 : 1 + count]), list(tensors[1 + count :])

    @tf.custom_gradient
    def run(*tensors):
        outputs, finals, saved = loop.forward(*unpacked(tensors), keep_all=training)

        def gradient(*upstream):
            return first(*tensors, *upstream)

        @tf.custom_gradient
        def first(*arguments):
            upstream = arguments[len(tensors) :]
            x, states, weights = unpacked(arguments[: len(tensors)])
            kept = saved if training else loop.forward(x, states, weights, keep_all=True)[2]
            by_outputs, by_finals = (upstream[0], upstream[1:]) if keep_outputs else (None, upstream)
            by_x, by_states, by_weights = loop.backward(x, states, weights, kept, by_outputs, by_finals)
            by_weights = [tf.zeros_like(w) if by is None else by for w, by in zip(weights, by_weights, strict=True)]

            def second(*by_firsts):
                with tf.GradientTape() as outer:
                    outer.watch(_floats(arguments))
                    with tf.GradientTape() as inner:
                        inner.watch(_floats(arguments))
                        outputs, finals, _ = loop.forward(*unpacked(arguments[: len(tensors)]), keep_all=False)
                        results = [outputs, *finals] if keep_outputs else finals
                    firsts = inner.gradient(results, arguments[: len(tensors)], upstream, unconnected_gradients="zero")
                return outer.gradient(firsts, arguments, by_firsts, unconnected_gradients="zero")

            return [by_x, *by_states, *by_weights], second

        return [outputs, *finals] if keep_outputs else list(finals), gradient

    loop.is_fused = loop.kernels_are_weights(weights, x, states)
    if not loop.is_fused:
        return loop.forward(x, states, weights, keep_all=False)[:2]
    results = run(x, *states, *weights)
    return (results[0], results[1:]) if keep_outputs else (None, results)
