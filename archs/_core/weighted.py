"""Arguments and weights of what the catalog is made of: cells and nodes."""

import inspect

import keras
from keras import ops

from archs._core.chrono import ChronoInitializer
from archs._core.names import nearest

_CODECS = {
    "activation": keras.activations,
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}


class Weighted:
    """A layer whose weights have roles, and whose config holds all arguments of its constructors.

    A base beside a layer of Keras, and before it. A constructor sets `_drawn`, an empty list: the roles of which
    weights were made.
    """

    gates = ()
    keeping = ()
    writing = ()

    def check_arguments(self, arguments):
        """Refuses names of arguments that no constructor has, with the nearest that there are."""
        known = {name for cls in type(self).__mro__ for name in inspect.signature(cls.__init__).parameters}
        for name in arguments.keys() - known - {"input_dim"}:
            hint = nearest(name, known - {"self", "args", "kwargs"})
            raise ValueError(f"Expected an argument of {type(self).__name__}, received {name!r}. {hint}")

    def get_config(self):
        config = super().get_config()
        for cls in type(self).__mro__[: type(self).__mro__.index(Weighted)]:
            for name in inspect.signature(cls.__init__).parameters:
                if name not in config and name not in ("self", "kwargs"):
                    codec = _CODECS.get(name.rpartition("_")[2])
                    value = getattr(self, name)
                    config[name] = codec.serialize(value) if codec else value
        return config

    def weight(self, name, shape, *, role=None, start=None, autocast=True):
        """Adds the weight `name`, with the initializer, regularizer and constraint given for its role.

        Args:
            name: of the weight.
            shape: tuple of ints.
            role: default: `kernel` for `kernel`, `bias` for `bias`, `recurrent` for `recurrent_kernel`, and so on.
            start: None, or a function of the role's initializer that returns the initializer to use.
            autocast: whether it is read in the compute dtype.
        """
        role = role or name.removesuffix("_kernel")
        initializer = self._apart(role, getattr(self, f"{role}_initializer"))
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=start(initializer) if start else initializer,
            regularizer=getattr(self, f"{role}_regularizer", None),
            constraint=getattr(self, f"{role}_constraint", None),
            autocast=autocast,
        )

    def _apart(self, role, initializer):
        """The initializer of a role, or after its first use another one like it: one draws the same at each call."""
        uses = self._drawn.count(role)
        self._drawn.append(role)
        if not uses or not isinstance(initializer, keras.initializers.Initializer):
            return initializer
        config = initializer.get_config()
        if isinstance(config.get("seed"), int):
            config["seed"] += uses
        return type(initializer).from_config(config)

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
        gates = gates or self.gates

        def of_gates(draw):
            values = dict(start)
            if isinstance(draw, ChronoInitializer):
                draw, values = draw.for_gates([(g in self.keeping) - (g in self.writing) for g in gates]), {}

            def initializer(shape, dtype=None):
                pairs = zip(gates, ops.split(draw(shape, dtype=dtype), len(gates), axis=-1), strict=True)
                return ops.concatenate([ops.full_like(b, values[g]) if g in values else b for g, b in pairs], axis=-1)

            return initializer

        return self.weight(name, (*rows, len(gates) * self.units), role="bias", start=of_gates)
