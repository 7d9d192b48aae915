"""The fused time loop of TensorFlow: a cell's recurrence with the products of its weights' gradients out of the loop.

Autodiff of a time loop adds every recurrent product's weight gradient to an accumulator in each step. Here the loop
keeps what goes into a product and what comes out of it, and the gates; on the way back it takes these as given,
differentiates the rest of the step alone, and after the loop one large product over all steps gives the gradient of the
weights. A cell says nothing about it: all that counts is that its recurrent products go through
`Step.recurrent_product` and its gates through `Step.activate`. Where what the products multiply with differs between
steps, the loop is left to autodiff.
"""

import functools

import keras
import tensorflow as tf

from archs._core import compiling
from archs._core.policy import InPolicyOf
from archs._core.step import Step, multiply, scaled_tanh


def _aside(function):
    """Returns what `function` does; its operations do not stay in the graph, where nothing would read them."""
    if tf.executing_eagerly():
        return function()
    returned = []
    tf.function(lambda: returned.append(function()), autograph=False).get_concrete_function()
    return returned[0]


class FusedLoop:
    """The loop of one cell, for any sequences; time is the first axis of all that has one.

    `weights` are the values of the cell's variables and, after them, what it prepared of an external memory; `kernels`
    are those that its products multiply with, in their order. `held` are the `mask` of the sequences
    (time, batch, 1), and dropout masks as in `calls.Call`; None where there is none. `time` is the number of their
    steps where the arrays have room for more, else None.
    """

    def __init__(self, cell, training, keep_outputs, add_bias):
        self.cell, self.training, self.keep_outputs, self.add_bias = cell, training, keep_outputs, add_bias
        self.dtype = tf.as_dtype(cell.compute_dtype)
        self.wide = self.dtype if self.dtype == tf.float64 else tf.float32
        self.in_wide = InPolicyOf(cell, self.wide.name)
        self.is_fused = self.gates = self.outcomes = None

    def examine(self, x, states, weights, held):
        """Sets `is_fused`, whether no gradient leads from the kernels to what differs between steps, and `gates`."""
        if self.is_fused is not None:
            return

        def examined():
            with tf.GradientTape() as tape:
                places = floats([x, *states])
                tape.watch(places)
                kernels, gates = self.recorded(x, states, weights, held)
            return tape.gradient(kernels, places) if kernels else [], len(gates)

        by_places, self.gates = _aside(examined)
        self.is_fused = all(by is None for by in by_places)

    @functools.cached_property
    def as_a_graph(self):
        """`forward` and `backward` for eager calls, traced for few shapes."""
        return self._functions(reduce_retracing=True)

    @functools.cached_property
    def within_a_graph(self):
        """`forward` and `backward` for a graph around them, which has the static shapes of its own."""
        return self._functions()

    @functools.cached_property
    def compiled(self):
        return self._functions(jit_compile=True)

    def _functions(self, **options):
        def forward(*arguments, keep_all):
            return self.forward(*arguments, keep_all=keep_all)

        def backward(*arguments):
            return self.backward(*arguments)

        return tuple(tf.function(one, autograph=False, **options) for one in (forward, backward))

    def step(self, x, states, weights, held, t=None, product=multiply, squash=scaled_tanh):
        """The new states, with `product(a, kernel)` for every recurrent product and `squash` for gates.

        Of the step t; without t of one that is not masked.
        """
        cell, variables = self.cell, self.cell.variables
        memory = self.widened(weights[len(variables) :]) or None
        masks = {place: mask for place, mask in held.items() if place != "mask"}
        step = Step(cell, self.training, masks=masks, memory=memory, product=product, squash=squash)

        def recur(x, *states):
            return cell.recur(cell.add_bias(x) if self.add_bias else x, states, step)

        with keras.StatelessScope(zip(variables, weights, strict=False)):
            new = self.in_wide([x, *states], function=recur)
        if t is None or held["mask"] is None:
            return list(new)
        is_read = tf.gather(held["mask"], t)
        return [tf.where(is_read, a, b) for a, b in zip(new, states, strict=True)]

    def widened(self, tensors):
        return [tf.cast(a, self.wide) if a.dtype.is_floating else a for a in tensors]

    def of_product(self, kernel):
        """The kernel as it is multiplied with: what costs time in the compute dtype."""
        return tf.cast(kernel, self.dtype if _is_large(kernel) else self.wide)

    def recorded(self, x, states, weights, held):
        """Kernels of the products of a step, and the arguments of its calls of `squash`."""
        kernels, gates = [], []

        def product(a, kernel):
            kernels.append(tf.convert_to_tensor(kernel))
            return multiply(a, kernel)

        def squash(*arguments):
            gates.append(arguments)
            return scaled_tanh(*arguments)

        self.step(x[0], states, weights, held, product=product, squash=squash)
        return kernels, gates

    def read_again(self, x, states, weights, held):
        """The numbers of the large products whose outcome the gradient of a step reads; others need not be kept.

        Eagerly, where there is no graph to tell, of all.
        """
        if tf.executing_eagerly():
            return [i for i, k in enumerate(self.recorded(x, states, weights, held)[0]) if _is_large(k)]
        if self.outcomes is None:
            self.outcomes = _aside(lambda: self._outcomes_read(x, states, weights, held))
        return self.outcomes

    def _outcomes_read(self, x, states, weights, held):
        kernels, products, gates = [], [], []

        def product(a, kernel):
            kernels.append(tf.convert_to_tensor(kernel))
            products.append(tf.identity(multiply(a, kernel)))
            return products[-1]

        def squash(*arguments):
            gates.append(tf.identity(scaled_tanh(*arguments)))
            return gates[-1]

        self.step(x[0], states, weights, held, product=product, squash=squash)
        turned = [tf.linalg.matrix_transpose(kernel) if _is_large(kernel) else kernel for kernel in kernels]
        replay = _Replay(kernels, turned, dict(enumerate(products)), gates)
        with replay.tape:
            places = floats([x[0], *states, *weights])
            replay.tape.watch(places)
            new = self.step(places[0], states, weights, held, product=replay.product, squash=replay.squash)
        by = replay.tape.gradient(new, places)
        # By the graph: from what is asked for back to what it is computed from, as far as the gates, which are given.
        read, ends = set(), {y.name for y in gates}
        ahead = [a for a in (*by, *replay.entering, *replay.by_outcomes.values()) if a is not None]
        while ahead:
            tensor = ahead.pop()
            if not hasattr(tensor, "op") or tensor.name in read | ends:  # an eager state has no operation
                continue
            read.add(tensor.name)
            if tensor.op.type == "IdentityN":
                ahead.append(tensor.op.inputs[tensor.value_index])
            elif tensor.op.type not in ("Shape", "ZerosLike"):
                ahead += tensor.op.inputs
        return [i for i, z in enumerate(products) if z.name in read and _is_large(kernels[i])]

    def forward(self, x, states, weights, held, time=None, keep_all=False, by_autodiff=False):
        """Outputs or None, final states, and with `keep_all` what `backward` needs.

        `by_autodiff` says that the loop itself is to be differentiated. In half precision only the products are of it,
        and what is kept; the states are not rounded from step to step, since a cell may amplify that.
        """
        room = _time(x)
        time = room if time is None else time
        starts, states = states, self.widened(states)
        kernels = self.recorded(x, states, weights, held)[0] if self.is_fused else []
        kernels = [self.of_product(kernel) for kernel in kernels]
        first = int(keep_all)  # place of the state after the first step, behind the initial one
        kept = len(states) if keep_all else int(self.keep_outputs)
        histories = [tf.TensorArray(s.dtype, room + first, element_shape=s.shape) for s in starts[:kept]]
        if keep_all:
            histories = [array.write(0, s) for array, s in zip(histories, starts, strict=True)]
        read_again = self.read_again(x, states, weights, held) if keep_all else []
        outcomes = {i: tf.TensorArray(self.dtype, room) for i in read_again}
        gates = [tf.TensorArray(self.dtype, room) for _ in range(self.gates if keep_all else 0)]

        xs = tf.unstack(x) if by_autodiff and tf.executing_eagerly() else x

        def body(t, states, histories, outcomes, gates):
            products, squashed = [], []

            def product(a, kernel):
                kernel = kernels[len(products)] if self.is_fused else self.of_product(kernel)
                products.append(multiply(tf.cast(a, kernel.dtype), kernel))
                return tf.cast(products[-1], self.wide)

            def squash(*arguments):
                squashed.append(scaled_tanh(*arguments))
                return squashed[-1]

            x_t = xs[t] if by_autodiff else _at(x, t)
            new = self.step(x_t, states, weights, held, t, product, squash)
            for s, old in zip(new, states, strict=True):
                s.set_shape(old.shape)
            histories = [
                array.write(t + first, tf.cast(s, array.dtype)) for array, s in zip(histories, new, strict=False)
            ]
            outcomes = {i: array.write(t, products[i]) for i, array in outcomes.items()}
            gates = [array.write(t, tf.cast(y, self.dtype)) for array, y in zip(gates, squashed, strict=False)]
            return t + 1, new, histories, outcomes, gates

        loop = (0, list(states), histories, outcomes, gates)
        most = room if by_autodiff else _most(room)
        _, finals, histories, outcomes, gates = tf.while_loop(
            lambda t, *_: t < time, body, loop, maximum_iterations=most
        )
        histories = [array.stack() for array in histories]
        outputs = histories[0][first:] if self.keep_outputs else None
        saved = (
            [h[:-1] for h in histories] if keep_all else [],
            {i: array.stack() for i, array in outcomes.items()},
            [array.stack() for array in gates],
        )
        return outputs, [tf.cast(s, start.dtype) for s, start in zip(finals, starts, strict=True)], saved

    def backward(self, x, states, weights, held, time, saved, by_outputs, by_finals):
        """Gradients by x, states and weights, which add up over time: computed in single precision at least.

        `saved` is None where nothing was kept; the forward pass is then done again.
        """
        room, dtypes, wide, widened = _time(x), [weight.dtype for weight in weights], self.wide, self.widened
        saved = self.forward(x, states, weights, held, time, keep_all=True)[2] if saved is None else saved
        time = room if time is None else time
        before, outcomes, gates = saved
        weights, by_finals = widened(weights), widened(by_finals)
        with tf.GradientTape() as tape:
            tape.watch(floats(weights))
            kernels = self.recorded(x, widened(states), weights, held)[0]
        large = [i for i, kernel in enumerate(kernels) if _is_large(kernel)]
        turned = [tf.linalg.matrix_transpose(kernel) if _is_large(kernel) else kernel for kernel in kernels]

        def step_back(t, gates_t, by_new):
            """The replayed step t, and its gradients by x, states and weights."""
            x_t, *old = widened([_at(a, t) for a in (x, *before)])
            products = dict(zip(outcomes, widened([_at(z, t) for z in outcomes.values()]), strict=True))
            replay = _Replay(kernels, turned, products, widened(gates_t))
            with replay.tape:
                replay.tape.watch(floats([x_t, *old, *weights]))
                new = self.step(x_t, old, weights, held, t, replay.product, replay.squash)
            by = replay.tape.gradient(new, [x_t, *old, *weights], output_gradients=by_new)
            zeros = [tf.zeros_like(a) if b is None else b for a, b in zip([x_t, *old], by, strict=False)]
            return replay, old, zeros[0], zeros[1:], by[1 + len(old) :]

        # What one step looks like: which weights it has a gradient for, and what need not be kept twice.
        replay, old, by_x, _, by_weights = step_back(0, [y[0] for y in gates], by_finals)
        own_weights = [i for i, by in enumerate(by_weights) if by is not None]
        same = next((i for i in large if replay.by_outcomes[i] is by_x), None)
        entered = {i: next((k for k, s in enumerate(old) if s is replay.entering[i]), None) for i in large}

        def body(t, gates_t, by_states, sums, by_small, by_xs, inputs, by_zs):
            if by_outputs is not None:
                by_states = [by_states[0] + tf.cast(_at(by_outputs, t), wide), *by_states[1:]]
            replay, _, by_x, by_old, by_weights = step_back(t, gates_t, by_states)
            entering, by_outcomes = replay.entering, replay.by_outcomes
            sums = [s + by_weights[i] for s, i in zip(sums, own_weights, strict=True)]
            by_small = {i: s + entering[i] * by_outcomes[i] for i, s in by_small.items()}
            by_xs = by_xs if same is not None else by_xs.write(t, tf.cast(by_x, self.dtype))
            inputs = {i: array.write(t, tf.cast(entering[i], self.dtype)) for i, array in inputs.items()}
            by_zs = {i: array.write(t, tf.cast(by_outcomes[i], self.dtype)) for i, array in by_zs.items()}
            # Loaded one step ahead: XLA on a CPU would load each gate again in each place that reads it.
            gates_t = [_at(y, tf.maximum(t - 1, 0)) for y in gates]
            return t - 1, gates_t, by_old, sums, by_small, by_xs, inputs, by_zs

        # Where there is room after the last step, the gradients by products are zero: x is, and XLA starts an array so.
        arrays = {i: tf.TensorArray(self.dtype, room) for i in large}
        if same is not None and compiling.is_within_xla():
            # Saves the zeros that an array starts with, and their memory: each step overwrites its own.
            arrays[same] = arrays[same].unstack(tf.cast(x, self.dtype))
        small = {i: by for i, by in replay.by_outcomes.items() if i not in large}
        loop = (
            time - 1,
            [_at(y, time - 1) for y in gates],
            by_finals,
            [tf.zeros_like(weights[i]) for i in own_weights],
            {i: tf.zeros(tf.shape(by), wide) for i, by in small.items()},
            tf.TensorArray(self.dtype, room if same is None else 0),
            {i: tf.TensorArray(self.dtype, room) for i, k in entered.items() if k is None},
            arrays,
        )
        _, _, by_states, sums, by_small, by_xs, inputs, by_zs = tf.while_loop(
            lambda t, *_: t >= 0, body, loop, maximum_iterations=_most(room)
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


def _most(room):
    """The `maximum_iterations` of a loop: XLA needs them; without it, to count twice would cost time in each step."""
    return room if compiling.is_within_xla() else None


def _at(a, t):
    """a[t]: of long rows a view, by four operations; of others a copy, by one."""
    return a[t] if (a.shape[-1] or 0) >= 2048 else tf.gather(a, t)


def _is_large(kernel):
    """Tells if a product costs more than its outcome's place in memory."""
    return len(kernel.shape) > 1


def floats(tensors):
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
