"""The base of every cell: constructor plumbing, weights, initial state."""

import keras
from keras import ops

from archs._core import calls, checks, external_memory, noise
from archs._core.step import Step
from archs._core.weighted import Weighted


# Keras' RNN announces a new sequence (the moment to draw dropout masks) only to descendants of its own cells, hence
# the public SimpleRNNCell below and not Layer. It brings the arguments that all cells share; no equation of its own
# is left. https://github.com/keras-team/keras/issues/19993
class Cell(Weighted, keras.layers.SimpleRNNCell):
    """One paper's recurrence, to be used in `keras.layers.RNN` or `archs.Recurrent`.

    A subclass names its `states` and `gates`, creates its weights in `build`, and states its equations in `recur` and,
    where the input enters otherwise than by `kernel` and `bias`, in `project`. `call` joins the two. A cell of one
    state that is linear in it defines `coefficients` in place of `recur`, and `Recurrent` runs it as a parallel scan.
    One with more to show than its states defines `observed`, see `archs.tracing.trace`.

    A cell keeps no state of a call: what a step may use is handed to it, a `Step`. So one cell answers in any number of
    threads.

    Attributes:
        states: names of the states, each a flat tensor (batch, units); the first is the output.
        gates: order of the gate blocks along the last axis of the weights.
        candidate: the gate block that `activation` squashes, which is proposed for the memory; the others get
            `recurrent_activation`. Where a cell has two, one of them is named here, and the other goes through
            `Step.propose`. None in a cell without a memory apart from its output.
        one_memory: names of states that hold one memory in parts, which zoneout keeps or renews together.
        coefficients: None, or in a cell of one state that is linear in it, a method of x and a `Step`: from what
            `project` returned to a and b of h_t = a_t * h_{t-1} + b_t, each (..., units).
        clocks: names of the states that count time steps. Zoneout leaves them alone.
        own_starts: names of further states that begin as the cell has it, where a model learns where to begin.
        keeping: names of gates that keep the memory when open, for `archs.ChronoInitializer`.
        writing: names of gates that write to the memory when open.
        state_size: list of the sizes of the states; None for one as long as the memory.
        product_sizes: list of the sizes of the inputs of recurrent products, one per site of
            `Step.recurrent_product`. A cell needs a second one where what enters has another size or is another state.
        inner_sizes: list of the sizes of the inputs of a cell's inner layers, for `Step.drop_input`.
        undropped: how many of the last input features dropout leaves alone.
        weight_prefix: what the names of the weights begin with, where a cell has several cells within it.
        reads_memory: whether a cell reads an external memory, given by `memorize`, of entries of size `memory_size`,
            as `Step.memory`. It defines `prepare`.
        reads_noise: whether some of the inputs are random numbers, which draw latent variables.
        memory_entries: how many entries this memory has, or None for any number.

    Args:
        units: positive integer, the size of the output.
        activation: squashes the candidate and, where the paper does so, the output. Default `"tanh"`.
        use_bias: whether the gates have a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights of those roles. Where several
            weights have one role, each is drawn apart, with a seed of its own that follows from the initializer's.
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
    own_starts = ()
    undropped = 0
    weight_prefix = ""
    reads_memory = reads_noise = False
    memory_entries = None
    keeping = ()
    writing = ()

    def __init__(self, units, *, dropout_method="gal", zoneout=0.0, zoneout_expectation=False, **kwargs):
        units = checks.positive_integer("units", units)
        self.check_arguments(kwargs)
        for name in {"dropout", "recurrent_dropout"} & kwargs.keys():
            kwargs[name] = checks.rate(name, kwargs[name])
        super().__init__(units, **kwargs)
        self.dropout_method = noise.check_method(self, dropout_method)
        self.zoneout = noise.check_zoneout(self, zoneout, zoneout_expectation)
        self.zoneout_expectation = zoneout_expectation
        self.state_size = [units] * len(self.states)
        self.product_sizes = [units]
        self.inner_sizes = []
        self._drawn = []

    def add_weight(self, *args, name=None, **kwargs):
        return super().add_weight(*args, name=name and self.weight_prefix + name, **kwargs)

    def build(self, input_shape):
        """Checks the shape of the inputs, (batch, features). A subclass calls this first and adds its weights."""
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(f"Expected inputs of shape (batch, features), received {tuple(input_shape)}.")
        noise.rates(self)
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: input_shape[-1]})

    def project(self, inputs):
        """All that depends on the inputs alone: their product with `kernel`, plus `bias`, where a cell has no other.

        Args:
            inputs: float tensor (..., features), with any leading axes.

        Returns:
            A tensor (..., n), which `recur` takes as `x`. In half precision it may be of float32.
        """
        return self.add_bias(ops.matmul(inputs, self.kernel))

    def add_bias(self, x):
        """The product of inputs and `kernel`, plus `bias` where there is one."""
        return x if self.bias is None else add(x, self.bias)

    def recur(self, x, states, step):
        """The recurrence.

        Args:
            x: what `project` returned for one time step.
            states: tuple of the previous states.
            step: `Step`: every recurrent product goes through its `recurrent_product`, every packed block of gates
                through its `activate`.

        It computes and does nothing else: `archs.Recurrent` may call it any number of times, and keeps no loss that it
        adds and no weight that it assigns. A cell that needs these defines `call`, and runs in Keras' loop.

        Returns:
            The tuple of the new states, the output first.
        """
        if self.coefficients is None:
            raise NotImplementedError(f"{type(self).__name__} has to define `recur`.")
        a, b = self.coefficients(x, step)
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
        step = Step.of_call(self, bool(training))
        x = ops.cast(self.project(step.drop_input(inputs)), self.compute_dtype)
        new = self.recur(x, states, step)
        new = noise.zone_out(self, states, new, training)
        return new[0], list(new)

    def memorize(self, memory, mask=None):
        """Gives a cell with an external memory what it reads from now on.

        It holds for the calls of this thread (of this asyncio task), and for those of others that have given no memory
        of their own. In a call of `archs.Recurrent`, `memory=` takes its place.

        Args:
            memory: float tensor (batch, time, memory_size), or of batch 1, one memory for all; None forgets.
            mask: bool tensor (batch, time), or None; what it masks is never read.

        Raises:
            ValueError: the cell reads no memory, or one of another size.
        """
        external_memory.memorize(self, memory, mask)

    def prepare(self, memory, mask):
        """All that depends on the memory and the weights alone, as a list of float tensors.

        Args:
            memory: float tensor (batch, time, memory_size).
            mask: the same dtype, (batch, time): one, or zero where nothing is to be read.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define `prepare`.")

    def checked_states(self, states):
        """The states as a tuple, if their number and sizes are right."""
        states = tuple(states) if isinstance(states, (list, tuple)) else (states,)
        expected, received = list(self.state_size), [s.shape[-1] if hasattr(s, "shape") else s for s in states]
        if len(received) != len(expected) or any(e not in (None, r) for e, r in zip(expected, received, strict=True)):
            raise ValueError(f"Expected states ({', '.join(self.states)}) of sizes {expected}, received {received}.")
        return states

    def get_initial_state(self, batch_size):
        """Zeros: a list of tensors (batch_size, size), one per entry of `state_size`."""
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    # Keras' RNN calls the first two before its loop, with the first inputs and the first state, the others after it.

    def get_dropout_mask(self, step_input):
        return noise.announce(self, "input", ops.shape(step_input)[0])

    def get_recurrent_dropout_mask(self, step_input):
        return noise.announce(self, "recurrent", ops.shape(step_input)[0])

    def reset_dropout_mask(self):
        calls.put(self, None)

    def reset_recurrent_dropout_mask(self):
        calls.put(self, None)


def widen(x):
    """x, in single precision at least."""
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def add(x, weight):
    """x + weight, in single precision at least: the gradient of the weight is a sum over all rows, and is exact."""
    return ops.cast(widen(x) + widen(weight), x.dtype)


def scale(x, weight):
    """x * weight, likewise."""
    return ops.cast(widen(x) * widen(weight), x.dtype)


def rows(weight):
    """The rows of a weight, one by one; `keras.ops.unstack` takes no variable on JAX and torch."""
    return [weight[row] for row in range(weight.shape[0])]
