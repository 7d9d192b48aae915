"""Models with latent variables in each time step, of `archs.vrnn` and `archs.storn`: their likelihoods and samples.

All of it runs within a graph, too.
"""

import keras
from keras import ops

from archs._core import checks
from archs._core.inputs import sequence_inputs
from archs._core.losses import Density
from archs._core.model import SequenceModel
from archs._core.recurrent import Recurrent


@keras.saving.register_keras_serializable(package="archs")
class LatentOutputs(keras.layers.Layer):
    """Parts what a cell with latent variables says into the parameters of a density and the divergence.

    Args:
        density, components: of the density, see `archs.losses.Density`.

    Call arguments:
        sequences: float tensor (batch, time, parameters + 1).
        mask: bool tensor (batch, time), or None.

    Returns:
        A dict of `outputs` (batch, time, parameters) and `divergence` (batch, time), zero where a step is masked. Both
        carry the mask.
    """

    def __init__(self, density, components, **kwargs):
        super().__init__(**kwargs)
        self.density, self.components = density, components
        self.supports_masking = True

    def call(self, sequences, mask=None):
        divergence = sequences[..., -1]
        if mask is not None:
            divergence = ops.where(mask, divergence, 0)
        return {"outputs": sequences[..., :-1], "divergence": divergence}

    def compute_mask(self, sequences, mask=None):
        return None if mask is None else {"outputs": mask, "divergence": mask}

    def get_config(self):
        return super().get_config() | {"density": self.density, "components": self.components}


def latent_model(cell, latents, *, density, lengths, name):
    """The model of a cell with latent variables, not built.

    Args:
        cell: of `features` features, with `infer`, `imagine` and `advance`.
        latents: positive integer.
        density: `Density` whose parameters the cell says.
        lengths, name: of a factory.
    """
    policy = cell.dtype_policy.name
    inputs, sequences, mask, _ = sequence_inputs(cell.features, lengths=lengths, dtype=policy, noise=latents)
    sequences = Recurrent(cell, return_sequences=True, name="recurrent")(sequences, mask=mask)
    parts = LatentOutputs(density.kind, density.components, dtype=cell.variable_dtype, name="outputs")
    return SequenceModel(inputs, parts(sequences, mask=mask), name=name)


def parts_of(model):
    """The cell and the `Density` of a model of `archs.vrnn` or `archs.storn`.

    Raises:
        ValueError: it is another model.
    """
    layers = {layer.name: layer for layer in getattr(model, "layers", [])}
    outputs = layers.get("outputs")
    if not isinstance(outputs, LatentOutputs):
        raise ValueError(f"Expected a model of `vrnn` or `storn`, received {getattr(model, 'name', model)!r}.")
    cell = layers["recurrent"].cell
    return cell, Density(outputs.density, cell.features, outputs.components)


def _checked(name, values, *shape):
    """The values as a tensor, if it has the shape, of which None, or a tensor of one number, is any size."""
    values = ops.convert_to_tensor(values)
    if getattr(values.shape, "rank", 0) is None:  # TensorFlow does not know it within a graph
        return values
    received = tuple(values.shape)
    sizes = [size if isinstance(size, int) else None for size in shape]
    if len(received) != len(sizes) or any(
        None not in pair and len(set(pair)) > 1 for pair in zip(received, sizes, strict=True)
    ):
        expected = ", ".join("any" if size is None else str(size) for size in sizes)
        raise ValueError(f"Expected `{name}` of shape ({expected}), received {received}.")
    return values


def _count(name, value):
    return value if ops.is_tensor(value) else checks.positive_integer(name, value)


def log_weights(model, inputs, targets, noise, counted, samples):
    r"""Estimates of the log-likelihood of sequences, \log p(x, z) - \log q(z | x) for z drawn from the posterior q.

    Their mean is the bound; the logarithm of the mean of their exponentials is the importance-weighted estimate (Y.
    Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, equation (8)), which lies between
    the bound and the likelihood, in expectation.

    Args:
        model: of `archs.vrnn` or `archs.storn`.
        inputs: float tensor (batch, time, features).
        targets: likewise, that the density is of: the inputs, unless these were scaled.
        noise: function of a time step, an int tensor, that returns standard normal numbers (batch, samples, latents).
        counted: bool tensor (batch, time): the steps that count. Others are read all the same: padding has to stand
            after the end.
        samples: int or int tensor, how many to draw for each sequence.

    Returns:
        Float tensor (batch, samples), in nats, summed over the steps that count.

    Raises:
        ValueError: the model is another one, or an argument is of another shape.
    """
    cell, density = parts_of(model)
    samples = _count("samples", samples)
    inputs = _checked("inputs", inputs, None, None, cell.features)
    batch, steps, _ = inputs.shape
    targets = _checked("targets", targets, batch, steps, cell.features)
    counted = _checked("counted", counted, batch, steps)
    rows, time = ops.shape(inputs)[0], ops.shape(inputs)[1]
    by_step = [
        ops.transpose(ops.cast(a, "float32"), (1, 0, *range(2, len(a.shape)))) for a in (inputs, targets, counted)
    ]

    def repeated(a):
        return ops.repeat(a, samples, axis=0)

    def body(t, states, total):
        x, target, counts = (repeated(ops.take(a, t, axis=0)) for a in by_step)
        drawn = _checked("noise", noise(t), batch, samples, cell.latents)
        drawn = ops.reshape(drawn, (rows * samples, cell.latents))
        theta, ratio, states = cell.infer(ops.concatenate([x, ops.cast(drawn, x.dtype)], axis=-1), states)
        gain = density.log_likelihood(target, theta) + ops.cast(ratio, "float32")
        return t + 1, list(states), total + ops.where(counts > 0, gain, 0)

    states = [ops.cast(s, cell.compute_dtype) for s in cell.get_initial_state(rows * samples)]
    loop = (ops.cast(0, "int32"), states, ops.zeros((rows * samples,)))
    total = ops.while_loop(lambda t, *_: t < time, body, loop)[2]
    return ops.reshape(total, (rows, samples))


def sample(model, noise, draws, steps, rows, scale=1.0):
    """Sequences drawn from the model: in each step latents from the prior, then x from the density.

    Args:
        model: of `archs.vrnn` or `archs.storn`.
        noise: function of a time step, an int tensor, that returns standard normal numbers (rows, latents).
        draws: function of a time step that returns what x is drawn by: numbers uniform in [0, 1) and standard normal
            ones, each (rows, features).
        steps: int or int tensor.
        rows: int or int tensor.
        scale: of the inputs of the model, which are x times it.

    Returns:
        Float tensor (rows, steps, features).

    Raises:
        ValueError: the model is another one, or a number or what a function returns is of another shape.
    """
    cell, density = parts_of(model)
    steps, rows = _count("steps", steps), _count("rows", rows)

    def body(t, states, seen):
        drawn = _checked("noise", noise(t), rows, cell.latents)
        latents, theta = cell.imagine(ops.cast(drawn, cell.compute_dtype), states)
        x = density.draw(theta, *(_checked("draws", a, rows, cell.features) for a in draws(t)))
        states = cell.advance(ops.cast(scale * x, cell.compute_dtype), latents, states)
        return t + 1, list(states), ops.slice_update(seen, (t, 0, 0), x[None])

    states = [ops.cast(s, cell.compute_dtype) for s in cell.get_initial_state(rows)]
    loop = (ops.cast(0, "int32"), states, ops.zeros((steps, rows, cell.features)))
    seen = ops.while_loop(lambda t, *_: t < steps, body, loop)[2]
    return ops.transpose(seen, (1, 0, 2))
