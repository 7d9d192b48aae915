"""The base of every cell: constructor plumbing, weights, initial state, dropout, recurrent products."""

import inspect

import keras
from keras import ops

from archs._core import checks

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
    where the input enters otherwise than by `kernel` and `bias`, in `project`. `call` joins the two.

    Attributes:
        states: names of the states, each a flat tensor (batch, units); the first is the output.
        gates: order of the gate blocks along the last axis of the weights.
        candidate: for `activate`, the gate block that `activation` squashes; the others get `recurrent_activation`.

    Args:
        units: positive integer, the size of the output.
        activation: squashes the candidate and, where the paper does so, the output. Default `"tanh"`.
        use_bias: whether the gates have a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights of those roles.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: likewise.
        kernel_constraint, recurrent_constraint, bias_constraint: likewise.
        dropout: rate in [0, 1) on the inputs; one mask for all time steps of a sequence.
        recurrent_dropout: rate in [0, 1) on what enters a recurrent product; one mask for all time steps.
        seed: of the dropout masks.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Raises:
        ValueError: `units` is not a positive integer, a rate is outside [0, 1), an argument is unknown; and on a
            call, inputs of a wrong rank or feature size, or states of a wrong number or size.
    """

    states = ("h",)
    gates = ()
    candidate = "g"

    def __init__(self, units, **kwargs):
        units = checks.positive_integer("units", units)
        for name in {"dropout", "recurrent_dropout"} & kwargs.keys():
            kwargs[name] = checks.rate(name, kwargs[name])
        super().__init__(units, **kwargs)
        self.state_size = [units] * len(self.states)
        self._training = False
        self._draws_masks = True

    def get_config(self):
        config = super().get_config()
        for cls in type(self).__mro__[: type(self).__mro__.index(Cell)]:
            for name in inspect.signature(cls.__init__).parameters:
                if name not in config and name not in ("self", "kwargs"):
                    codec = _CODECS.get(name.rpartition("_")[2])
                    value = getattr(self, name)
                    config[name] = codec.serialize(value) if codec else value
        return config

    def weight(self, name, shape, *, role=None, initializer=None):
        """Adds the weight `name`, with the initializer, regularizer and constraint given for its role.

        Args:
            name: of the weight.
            shape: tuple of ints.
            role: default: `kernel` for `kernel`, `bias` for `bias`, `recurrent` for `recurrent_kernel`, and so on.
            initializer: in place of the role's.
        """
        role = role or name.removesuffix("_kernel")
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer or getattr(self, f"{role}_initializer"),
            regularizer=getattr(self, f"{role}_regularizer", None),
            constraint=getattr(self, f"{role}_constraint", None),
        )

    def gate_bias(self, start=()):
        """Adds the bias of all gates, (len(gates) * units,), if `use_bias`; `start` maps a gate to its first value."""
        if not self.use_bias:
            return None
        start = dict(start)

        def initializer(shape, dtype=None):
            blocks = ops.split(self.bias_initializer(shape, dtype=dtype), len(self.gates))
            pairs = zip(self.gates, blocks, strict=True)
            return ops.concatenate([ops.full_like(b, start[gate]) if gate in start else b for gate, b in pairs])

        return self.weight("bias", (len(self.gates) * self.units,), initializer=initializer)

    def build(self, input_shape):
        """Checks the shape of the inputs, (batch, features). A subclass calls this first and adds its weights."""
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(f"Expected inputs of shape (batch, features), received {tuple(input_shape)}.")
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: input_shape[-1]})

    def project(self, inputs):
        """All that depends on the inputs alone: their product with `kernel`, plus `bias`, where a cell has no other.

        Args:
            inputs: float tensor (..., features), with any leading axes.

        Returns:
            A tensor (..., n), what `recur` takes as `x`.
        """
        x = ops.matmul(inputs, self.kernel)
        return x if self.bias is None else x + self.bias

    def recur(self, x, states):
        """The recurrence.

        Args:
            x: what `project` returned for one time step.
            states: tuple of the previous states.

        Returns:
            The tuple of the new states, the output first.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define `recur`.")

    def call(self, inputs, states, training=False):
        """One time step.

        Args:
            inputs: float tensor (batch, features).
            states: list of the previous states, each (batch, units), in the order of `state_size`.
            training: whether dropout is active.

        Returns:
            The output (batch, units) and the list of the new states.
        """
        states = tuple(states) if isinstance(states, (list, tuple)) else (states,)
        expected, received = list(self.state_size), [s.shape[-1] for s in states]
        if received != expected:
            raise ValueError(f"Expected states ({', '.join(self.states)}) of sizes {expected}, received {received}.")
        if training and self.dropout:
            inputs = inputs * self.get_dropout_mask(inputs)
        self._training = bool(training)
        try:
            states = self.recur(self.project(inputs), states)
        finally:
            self._training = False
        return states[0], list(states)

    def recurrent_product(self, a, kernel):
        """`a` (batch, n), under recurrent dropout, times `kernel`: (n, m), or (n,) where no unit sees another.

        Every recurrent product of a cell goes through here.
        """
        if self._training and self.recurrent_dropout:
            a = a * self.get_recurrent_dropout_mask(a)
        return a * kernel if len(kernel.shape) == 1 else ops.matmul(a, kernel)

    def activate(self, z):
        """The gates, activated, from their packed pre-activations `z` (batch, len(gates) * units)."""
        return tuple(
            (self.activation if gate == self.candidate else self.recurrent_activation)(block)
            for gate, block in zip(self.gates, ops.split(z, len(self.gates), axis=-1), strict=True)
        )

    def get_initial_state(self, batch_size):
        """Zeros: a list of tensors (batch_size, size), one per entry of `state_size`."""
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def get_dropout_mask(self, step_input):
        return super().get_dropout_mask(step_input) if self._draws_masks else None

    def get_recurrent_dropout_mask(self, step_input):
        return super().get_recurrent_dropout_mask(step_input) if self._draws_masks else None
