"""The base of every node cell: what a node of a tree makes of its input and of the states of its children."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import add
from archs._core.step import Step
from archs._core.weighted import Weighted


class Node(Weighted, keras.layers.Layer):
    """One paper's recurrence over trees, to be used in `archs.Tree`.

    A subclass names its `states`, creates its weights in `build`, and states its equations in `recur` and, where the
    input enters otherwise than by `kernel` and `bias`, in `project`. `call` joins the two, for one level of a tree.

    Attributes:
        states: names of the states, each (batch, units); the first is the output.
        gates: order of the gate blocks along the last axis of what `project` returns.
        candidate: the gate block that `activation` squashes; the others get `recurrent_activation`.
        keeping: names of gates that keep a memory when open, for `archs.ChronoInitializer`.
        writing: names of gates that write to the memory when open.
        arity: number of children, or None for any number.

    Args:
        units: positive integer, the size of the output.
        activation: squashes the candidate and, where the paper does so, the output. Default `"tanh"`.
        use_bias: whether there is a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights of those roles; `recurrent` is what
            multiplies states of children.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: likewise.
        kernel_constraint, recurrent_constraint, bias_constraint: likewise.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Raises:
        ValueError: `units` is not a positive integer, or an argument is unknown; and on a call, inputs or children of
            wrong shapes.
    """

    states = ("h",)
    candidate = "g"
    arity = None

    def __init__(
        self,
        units,
        *,
        activation="tanh",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        self.check_arguments(kwargs)
        super().__init__(**kwargs)
        self.units = checks.positive_integer("units", units)
        self.activation = keras.activations.get(activation)
        self.use_bias = checks.flag("use_bias", use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.recurrent_constraint = keras.constraints.get(recurrent_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self._drawn = []

    def build(self, inputs_shape, *_):
        """Checks the shape of the inputs, (batch, features). A subclass calls this first and adds its weights."""
        if len(inputs_shape) != 2 or inputs_shape[-1] is None:
            raise ValueError(f"Expected inputs of shape (batch, features), received {tuple(inputs_shape)}.")
        self.input_size = inputs_shape[-1]

    def project(self, inputs):
        """All that depends on the inputs alone: their product with `kernel`, plus `bias`, where a node has no other.

        Args:
            inputs: float tensor (..., features), with any leading axes.

        Returns:
            A tensor (..., n), which `recur` takes as `x`.
        """
        x = ops.matmul(inputs, self.kernel)
        return x if self.bias is None else add(x, self.bias)

    def recur(self, x, children, present, step):
        """The recurrence, of any number of nodes.

        Args:
            x: what `project` returned for the nodes, (batch, n).
            children: tuple of the states of the children, each (batch, arity, units), zeros where there is none.
            present: bool tensor (batch, arity), where there is one.
            step: `Step`: every product of what comes of children with a kernel goes through its `product`, which takes
                tensors (batch, ..., n), packed gates through its `activate`.

        It computes and does nothing else: `archs.Tree` may call it any number of times.

        Returns:
            The tuple of the new states, the output first.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define `recur`.")

    def call(self, inputs, children, present):
        """One level of a tree.

        Args:
            inputs: float tensor (batch, features).
            children: list of the states of the children, each (batch, arity, units).
            present: bool tensor (batch, arity). What stands where it is False is not read.

        Returns:
            The output, (batch, units), and the list of the new states.
        """
        self.check_arity(present.shape[-1])
        if len(children) != len(self.states) or any(
            tuple(c.shape[1:]) != (present.shape[1], self.units) for c in children
        ):
            raise ValueError(
                f"Expected states of children ({', '.join(self.states)}), each of shape (batch, {present.shape[1]}, "
                f"{self.units}), received {[tuple(c.shape) for c in children]}."
            )
        children = tuple(ops.where(present[..., None], ops.cast(c, self.compute_dtype), 0) for c in children)
        x = ops.cast(self.project(inputs), self.compute_dtype)
        new = self.recur(x, children, present, Step(self, product=multiply))
        return new[0], list(new)

    def check_arity(self, received):
        """Refuses arrays for another number of children than the node has."""
        if self.arity is not None and received != self.arity:
            raise ValueError(
                f"Expected `children` of shape (batch, nodes, {self.arity}) for {type(self).__name__}, received "
                f"{received} children."
            )


def multiply(a, kernel):
    """`a` (batch, ..., n) times a kernel (n, m)."""
    return ops.tensordot(a, kernel, 1)
