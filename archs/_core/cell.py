"""The base of every cell: constructor plumbing, weights, initial state, regularisation, recurrent products."""

import contextlib
import inspect

import keras
import numpy as np
from keras import ops

from archs._core import checks
from archs._core.chrono import ChronoInitializer
from archs._core.registry import nearest

_CODECS = {
    "activation": keras.activations,
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}


# Keras' RNN announces a new sequence (the moment to draw dropout masks) only to descendants of its own cells, hence
# the public SimpleRNNCell below and not Layer. It brings the arguments that all cells share; no equation of its own
# is left. https://github.com/keras-team/keras/issues/19993
class Cell(keras.layers.SimpleRNNCell):
    """One paper's recurrence, to be used in `keras.layers.RNN` or `archs.Recurrent`.

    A subclass names its `states` and `gates`, creates its weights in `build`, and states its equations in `recur` and,
    where the input enters otherwise than by `kernel` and `bias`, in `project`. `call` joins the two. A cell of one
    state that is linear in it defines `coefficients` in place of `recur`, and `Recurrent` runs it as a parallel scan.

    Attributes:
        states: names of the states, each a flat tensor (batch, units); the first is the output.
        gates: order of the gate blocks along the last axis of the weights.
        candidate: the gate block that `activation` squashes, what is proposed for the memory; `activate` gives the
            others `recurrent_activation`. None in a cell that has no memory apart from its output.
        one_memory: names of states that hold one memory in parts, which zoneout keeps or renews together.
        coefficients: None, or in a cell of one state that is linear in it, a method: from what `project` returned to
            a and b of h_t = a_t * h_{t-1} + b_t, each (..., units).
        clocks: names of the states that count time steps. Zoneout leaves them alone.
        keeping: names of gates that keep the memory when open, for `archs.ChronoInitializer`.
        writing: names of gates that write to the memory when open.
        state_size: list of the sizes of the states.
        product_sizes: list of the sizes of what enters recurrent products, one per site of `recurrent_product`.
        inner_sizes: list of the sizes of the inputs of a cell's inner layers, for `drop_input`.
        held_masks: None, or the two dropout masks that a time loop holds on to until the gradient is through.
        reads_memory: whether a cell reads an external memory, given by `memorize`, of entries of size `memory_size`,
            through `prepared_memory`. It defines `prepare`.
        prepared: None, or what `prepare` returned, for as long as a loop over time lasts.

    Args:
        units: positive integer, the size of the output.
        activation: squashes the candidate and, where the paper does so, the output. Default `"tanh"`.
        use_bias: whether the gates have a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights of those roles.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: likewise.
        kernel_constraint, recurrent_constraint, bias_constraint: likewise.
        dropout: rate in [0, 1) on the inputs, never on the recurrent connection; between layers it is the upper
            layer's. After the last layer use `keras.layers.Dropout`.
        recurrent_dropout: rate in [0, 1) on the recurrent connection.
        dropout_method: where the two act and for how long a mask lasts.
            `"gal"` (Gal & Ghahramani 2016): on the inputs and on what enters a recurrent product, one mask each for all
            time steps of a sequence. The default, since Keras' own layers do the same.
            `"zaremba"` (Zaremba et al. 2014): on the inputs only, a fresh mask in each time step.
            `"semeniuta"` (Semeniuta et al. 2016): on the inputs as Zaremba, and on the candidate, so that the memory
            itself is never dropped; a fresh mask in each time step.
        zoneout: rate in [0, 1), or one per state, with which a unit of a state keeps its old value (Krueger et al.
            2017), drawn afresh in each time step.
        zoneout_expectation: whether, outside training, a state is the mean of old and new that zoneout expects, as in
            the paper. Default False: outside training no argument of these changes anything.
        seed: of the masks.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Raises:
        ValueError: `units` is not a positive integer, a rate is outside [0, 1), an argument is unknown, the method
            does not fit the cell or the rates; and on a call, inputs of a wrong rank or feature size, or states of a
            wrong number or size.
        NotImplementedError: a fresh mask in each time step is asked for in training on the JAX backend.
    """

    states = ("h",)
    gates = ()
    candidate = "g"
    one_memory = ()
    coefficients = None
    clocks = ()
    reads_memory = False
    keeping = ()
    writing = ()

    def __init__(self, units, *, dropout_method="gal", zoneout=0.0, zoneout_expectation=False, **kwargs):
        units = checks.positive_integer("units", units)
        known = {name for cls in type(self).__mro__ for name in inspect.signature(cls.__init__).parameters}
        for name in kwargs.keys() - known - {"input_dim"}:
            hint = nearest(name, known - {"self", "args", "kwargs"})
            raise ValueError(f"Expected an argument of {type(self).__name__}, received {name!r}. {hint}")
        for name in {"dropout", "recurrent_dropout"} & kwargs.keys():
            kwargs[name] = checks.rate(name, kwargs[name])
        super().__init__(units, **kwargs)
        self.dropout_method = checks.one_of("dropout_method", dropout_method, ("gal", "zaremba", "semeniuta"))
        if self.recurrent_dropout and dropout_method == "zaremba":
            raise ValueError(
                "Expected no `recurrent_dropout` with `dropout_method='zaremba'`, which has none, received "
                f"{self.recurrent_dropout}."
            )
        if self.recurrent_dropout and dropout_method == "semeniuta" and self.candidate is None:
            raise ValueError(
                f"Expected `recurrent_dropout` of {type(self).__name__} with `dropout_method='gal'`, received "
                "'semeniuta', which drops the candidate of a memory; this cell has none."
            )
        self.zoneout = (
            [checks.rate("zoneout", rate) for rate in zoneout]
            if isinstance(zoneout, (list, tuple))
            else checks.rate("zoneout", zoneout)
        )
        if zoneout_expectation and self.one_memory:
            raise ValueError(
                f"Expected no `zoneout_expectation` for {type(self).__name__}, whose states "
                f"{', '.join(self.one_memory)} are one memory and have no mean each on its own."
            )
        self.zoneout_expectation = zoneout_expectation
        self.state_size = [units] * len(self.states)
        self.product_sizes = [units]
        self.inner_sizes = []
        self.product, self.squash = multiply, scaled_tanh
        self._training = False
        self._draws_masks = True
        self.held_masks = self.memory = self.prepared = None

    def get_config(self):
        config = super().get_config()
        for cls in type(self).__mro__[: type(self).__mro__.index(Cell) + 1]:
            for name in inspect.signature(cls.__init__).parameters:
                if name not in config and name not in ("self", "kwargs"):
                    codec = _CODECS.get(name.rpartition("_")[2])
                    value = getattr(self, name)
                    config[name] = codec.serialize(value) if codec else value
        return config

    def weight(self, name, shape, *, role=None, initializer=None, autocast=True):
        """Adds the weight `name`, with the initializer, regularizer and constraint given for its role.

        Args:
            name: of the weight.
            shape: tuple of ints.
            role: default: `kernel` for `kernel`, `bias` for `bias`, `recurrent` for `recurrent_kernel`, and so on.
            initializer: in place of the role's.
            autocast: whether it is read in the compute dtype.
        """
        role = role or name.removesuffix("_kernel")
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer or getattr(self, f"{role}_initializer"),
            regularizer=getattr(self, f"{role}_regularizer", None),
            constraint=getattr(self, f"{role}_constraint", None),
            autocast=autocast,
        )

    def gate_bias(self, start=(), *, name="bias", gates=None, rows=()):
        """Adds the bias of a packed block of gates, (*rows, len(gates) * units), if `use_bias`.

        Args:
            start: maps a gate to the first value of its bias, where it is not the initializer's.
            name: of the weight.
            gates: default: the cell's.
            rows: a tuple of an int where the bias has several rows, else empty.
        """
        if not self.use_bias:
            if isinstance(self.bias_initializer, ChronoInitializer):
                raise ValueError("Expected `use_bias=True` with a ChronoInitializer, received False.")
            return None
        gates, start, draw = gates or self.gates, dict(start), self.bias_initializer
        if isinstance(draw, ChronoInitializer):
            draw, start = draw.for_gates([(g in self.keeping) - (g in self.writing) for g in gates]), {}

        def initializer(shape, dtype=None):
            pairs = zip(gates, ops.split(draw(shape, dtype=dtype), len(gates), axis=-1), strict=True)
            return ops.concatenate([ops.full_like(b, start[g]) if g in start else b for g, b in pairs], axis=-1)

        return self.weight(name, (*rows, len(gates) * self.units), role="bias", initializer=initializer)

    def build(self, input_shape):
        """Checks the shape of the inputs, (batch, features). A subclass calls this first and adds its weights."""
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(f"Expected inputs of shape (batch, features), received {tuple(input_shape)}.")
        if isinstance(self.zoneout, list) and len(self.zoneout) != len(self.states):
            raise ValueError(
                f"Expected `zoneout` to be a rate, or one for each state ({', '.join(self.states)}), "
                f"received {self.zoneout}."
            )
        if isinstance(self.zoneout, list):
            rates = {rate for name, rate in zip(self.states, self.zoneout, strict=True) if name in self.one_memory}
            if len(rates) > 1:
                raise ValueError(
                    f"Expected `zoneout` to have one rate for {', '.join(self.one_memory)}, which are one memory, "
                    f"received {self.zoneout}."
                )
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: input_shape[-1]})

    def project(self, inputs):
        """All that depends on the inputs alone: their product with `kernel`, plus `bias`, where a cell has no other.

        Args:
            inputs: float tensor (..., features), with any leading axes.

        Returns:
            A tensor (..., n), what `recur` takes as `x`.
        """
        return self.add_bias(ops.matmul(inputs, self.kernel))

    def add_bias(self, x):
        """The product of inputs and `kernel`, plus `bias` where there is one."""
        return x if self.bias is None else x + self.bias

    def recur(self, x, states):
        """The recurrence.

        Args:
            x: what `project` returned for one time step.
            states: tuple of the previous states.

        Returns:
            The tuple of the new states, the output first.
        """
        if self.coefficients is None:
            raise NotImplementedError(f"{type(self).__name__} has to define `recur`.")
        a, b = self.coefficients(x)
        return (a * states[0] + b,)

    def call(self, inputs, states, training=False):
        """One time step.

        Args:
            inputs: float tensor (batch, features).
            states: list of the previous states, each (batch, units), in the order of `state_size`.
            training: whether dropout is active.

        Returns:
            The output (batch, units) and the list of the new states.
        """
        states = self.checked_states(states)
        with self.dropping(training):
            new = self.recur(self.project(self.drop_input(inputs)), states)
        new = self._zone_out(states, new, training)
        return new[0], list(new)

    def memorize(self, memory, mask=None):
        """Gives a cell with an external memory what it reads from now on.

        Args:
            memory: float tensor (batch, time, memory_size), or of batch 1, one memory for all; None forgets.
            mask: bool tensor (batch, time), or None; what it masks is never read.

        Raises:
            ValueError: the cell reads no memory, or one of another size.
        """
        if not self.reads_memory:
            raise ValueError(f"Expected no memory for {type(self).__name__}, which reads none.")
        if memory is not None and (len(memory.shape) != 3 or memory.shape[-1] != self.memory_size):
            raise ValueError(
                f"Expected a memory of shape (batch, time, {self.memory_size}), received {tuple(memory.shape)}."
            )
        self.memory = None if memory is None else (memory, mask)

    def prepared_memory(self):
        """What `prepare` makes of the memory: once before a loop of `Recurrent`, elsewhere when it is wanted."""
        if self.prepared is not None:
            return self.prepared
        if self.memory is None:
            raise ValueError(
                f"Expected a memory for {type(self).__name__}: `cell.memorize(memory, mask)`, or `memory=` in the call "
                "of `archs.Recurrent`. Received none."
            )
        memory, mask = self.memory
        memory = ops.cast(memory, self.compute_dtype)
        if mask is None:
            mask = ops.ones_like(memory[..., 0])
        else:
            memory, mask = ops.where(mask[..., None], memory, 0), ops.cast(mask, self.compute_dtype)
        # Outside a call of the layer, weights come in their own dtype.
        return [ops.cast(prepared, self.compute_dtype) for prepared in self.prepare(memory, mask)]

    def prepare(self, memory, mask):
        """All that depends on the memory and the weights alone, as a list of float tensors.

        Args:
            memory: float tensor (batch, time, memory_size).
            mask: the same dtype, (batch, time): one, or zero where nothing is to be read.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define `prepare`.")

    @contextlib.contextmanager
    def reading(self, prepared):
        """Within it the cell reads `prepared`, what `prepare` returned."""
        before, self.prepared = self.prepared, prepared
        try:
            yield
        finally:
            self.prepared = before

    def checked_states(self, states):
        """The states as a tuple, if their number and sizes are right."""
        states = tuple(states) if isinstance(states, (list, tuple)) else (states,)
        expected, received = list(self.state_size), [s.shape[-1] for s in states]
        if received != expected:
            raise ValueError(f"Expected states ({', '.join(self.states)}) of sizes {expected}, received {received}.")
        return states

    @contextlib.contextmanager
    def dropping(self, training):
        """Within it the methods that drop do so, if `training`."""
        self._training = bool(training)
        try:
            yield
        finally:
            self._training = False

    def drop_input(self, a, site=0):
        """`a` (batch, n) or (batch, time, n) under input dropout.

        Args:
            a: the inputs (site 0), or what an inner layer of the cell takes from the one below.
            site: 1 and on for inner layers, each with its own mask; `inner_sizes` holds their sizes.
        """
        if not (self._training and self.dropout):
            return a
        if self.dropout_method != "gal":
            return keras.random.dropout(a, self.dropout, seed=self._seed_of_a_step())
        return _masked(a, self.get_dropout_mask(a), [self.input_spec.axes[-1], *self.inner_sizes], site)

    def drop_recurrent(self, a, site=0):
        """`a` (batch, n) or (batch, time, n), on its way into the recurrence, under Gal's recurrent dropout."""
        if not (self._training and self.recurrent_dropout and self.dropout_method == "gal"):
            return a
        return _masked(a, self.get_recurrent_dropout_mask(a), self.product_sizes, site)

    def recurrent_product(self, a, kernel, site=0):
        """`a` (batch, n), under recurrent dropout, times `kernel`.

        Every recurrent product of a cell goes through here, or, where dropout is not to act (a peephole, a projection),
        through `product(a, kernel)`.

        Args:
            a: float tensor (batch, n).
            kernel: made of weights alone, the same in each step: (n, m); (n,) where no unit sees another;
                (heads, n // heads, m) where no head sees another, for a product of shape (batch, heads, m).
            site: which of `product_sizes` `a` has; each has its own mask.
        """
        return self.product(self.drop_recurrent(a, site), kernel)

    def peep(self, z, c, weight):
        """`z` (batch, n) plus a peephole's view of `c` (batch, n) by `weight` (n,), or `z` where that is None."""
        return z if weight is None else z + self.product(c, weight)

    def shift(self, a, weight):
        """`a` (batch, n) plus `weight` (n,), in `recur`; the loop then has its gradient without a sum in each step."""
        return a + self.product(ops.ones_like(a), weight)

    def propose(self, z, activation=None):
        """The candidate from its pre-activation, under Semeniuta's recurrent dropout. Default: `self.activation`."""
        return self.drop_candidate((activation or self.activation)(z))

    def drop_candidate(self, g):
        """The candidate under Semeniuta's recurrent dropout."""
        if self._training and self.recurrent_dropout and self.dropout_method == "semeniuta":
            return keras.random.dropout(g, self.recurrent_dropout, seed=self._seed_of_a_step())
        return g

    def activate(self, z, gates=None):
        """The gates, activated, from their packed pre-activations.

        Args:
            z: float tensor (batch, len(gates) * units), or a list of its blocks. Gates that are wanted together are
                best computed together: XLA on a CPU is ten times slower where it has one function inside another.
            gates: names of the blocks. Default: all of the cell's.
        """
        z = ops.concatenate(z, axis=-1) if isinstance(z, list) else z
        gates = gates or self.gates
        if self.recurrent_activation is keras.activations.sigmoid and self.activation is keras.activations.tanh:
            # One pass over the packed block, since sigmoid(v) = tanh(v / 2) / 2 + 1 / 2. Sliced first, each gate would
            # be computed again in each place that reads it.
            scale = np.repeat([1.0 if gate == self.candidate else 0.5 for gate in gates], self.units)
            scale = ops.convert_to_tensor(scale, dtype=z.dtype)
            blocks = ops.split(self.squash(z, scale, 1 - scale), len(gates), axis=-1)
            active = dict(zip(gates, blocks, strict=True))
        else:
            active = {
                gate: (self.activation if gate == self.candidate else self.recurrent_activation)(block)
                for gate, block in zip(gates, ops.split(z, len(gates), axis=-1), strict=True)
            }
        if self.candidate in active:
            active[self.candidate] = self.drop_candidate(active[self.candidate])
        return tuple(active.values())

    def _zone_out(self, old, new, training):
        rates = self.zoneout if isinstance(self.zoneout, list) else [self.zoneout] * len(new)
        if not any(rates) or not (training or self.zoneout_expectation):
            return new
        kept, states = {}, []
        for name, rate, a, b in zip(self.states, rates, old, new, strict=True):
            memory = "".join(self.one_memory) if name in self.one_memory else name
            if name in self.clocks or not rate:
                a = b
            elif not training:
                a = rate * a + (1 - rate) * b
            else:
                if memory not in kept:
                    kept[memory] = keras.random.uniform(ops.shape(b), seed=self._seed_of_a_step()) < rate
                a = ops.where(kept[memory], a, b)
            states.append(a)
        return tuple(states)

    def _seed_of_a_step(self):
        if keras.backend.backend() == "jax":
            raise NotImplementedError(
                "Expected `dropout_method='gal'` and no zoneout for training on JAX, whose loop over time cannot draw "
                f"a fresh mask in each step, received {self.dropout_method!r} and a zoneout of {self.zoneout}."
            )
        return self.seed_generator

    def get_initial_state(self, batch_size):
        """Zeros: a list of tensors (batch_size, size), one per entry of `state_size`."""
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    # Keras' RNN calls the next two before its loop, with the first inputs and the first state, and the loop reads what
    # they made; a mask made within the loop would be another in each step.

    def get_dropout_mask(self, step_input):
        if self.held_masks:
            return self.held_masks[0]
        if not self._draws_masks or self.dropout_method != "gal":
            return None
        sizes = [self.input_spec.axes[-1], *self.inner_sizes]
        return super().get_dropout_mask(ops.ones((ops.shape(step_input)[0], sum(sizes)), self.compute_dtype))

    def get_recurrent_dropout_mask(self, step_input):
        if self.held_masks:
            return self.held_masks[1]
        if not self._draws_masks or self.dropout_method != "gal":
            return None
        ones = ops.ones((ops.shape(step_input)[0], sum(self.product_sizes)), self.compute_dtype)
        return super().get_recurrent_dropout_mask(ones)


def multiply(a, kernel):
    """The product of `recurrent_product`, which a time loop may replace."""
    if len(kernel.shape) == 1:
        return a * kernel
    if len(kernel.shape) == 2:
        return ops.matmul(a, kernel)
    return ops.einsum("bkn,knm->bkm", ops.reshape(a, (-1, *kernel.shape[:2])), kernel)


def scaled_tanh(z, scale, offset):
    """The function of `activate`, which a time loop may replace."""
    return ops.tanh(z * scale) * scale + offset


def rows(weight):
    """The rows of a weight, one by one; `keras.ops.unstack` takes no variable on JAX and torch."""
    return [weight[row] for row in range(weight.shape[0])]


def _masked(a, mask, sizes, site):
    """`a` times the part of a mask (batch, sum(sizes)) that is for `site`."""
    start = sum(sizes[:site])
    mask = mask[:, start : start + sizes[site]]
    return a * (mask[:, None] if len(a.shape) == 3 else mask)
