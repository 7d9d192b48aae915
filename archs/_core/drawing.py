"""Drawing by a model of `archs.draw`, step by step, from its prior or of an image; and estimates of the likelihood.

All of it runs within a graph, too. Where images are given they are (batch, rows, columns, 1), from 0 to 1.
"""

import keras
from keras import ops

from archs._core import calls, checks, external_memory, gaussians
from archs._core.cell import widen
from archs._core.losses import Density
from archs._core.model import SequenceModel
from archs._core.recurrent import Recurrent
from archs._core.registry import entry


@keras.saving.register_keras_serializable(package="archs")
class Pixels(keras.layers.Layer):
    """Takes the channel off grey images (batch, rows, columns, 1), whose pixels have to be from 0 to 1."""

    def call(self, images):
        return _pixels(images)


def _pixels(images):
    return checks.shares("pixels", images[..., 0])


@keras.saving.register_keras_serializable(package="archs")
class CanvasOutputs(keras.layers.Layer):
    """Makes of a canvas the parameters of a density, and of the divergence a number for each row.

    Args:
        density: see `archs.losses.Density`. Of `"gaussian"` the means are the logistic of the canvas, and all pixels
            have one raw deviation, which is learned.

    Call arguments:
        canvas: float tensor (..., pixels).
        divergence: float tensor (..., 1).

    Returns:
        A dict of `canvas` (..., parameters) and `divergence` (...).
    """

    def __init__(self, density, **kwargs):
        super().__init__(**kwargs)
        self.density = density

    def build(self, *_):
        if self.density == "gaussian":
            self.raw_deviation = self.add_weight((), "zeros", name="raw_deviation")

    def call(self, canvas, divergence):
        if self.density == "gaussian":
            canvas = ops.concatenate([ops.sigmoid(canvas), ops.zeros_like(canvas) + self.raw_deviation], axis=-1)
        return {"canvas": canvas, "divergence": divergence[..., 0]}

    def get_config(self):
        return super().get_config() | {"density": self.density}


def drawing_model(cell, latents, *, density, steps, name):
    """The model of a `DRAWCell`, not built."""
    shape, wide = (cell.rows, cell.columns), cell.variable_dtype
    images = keras.Input((*shape, 1), name="inputs", dtype=wide)
    noise = keras.Input((steps, latents), name="noise", dtype=wide)
    layer = Recurrent(cell, return_state=True, name="recurrent")
    _, canvas, divergence, *_ = layer(noise, memory=Pixels(dtype=cell.dtype_policy.name, name="pixels")(images))
    # A loss or a client wants no half types: the answers have the dtype of the weights.
    outputs = CanvasOutputs(density, dtype=wide, name="outputs")(canvas, divergence)
    return SequenceModel({"inputs": images, "noise": noise}, outputs, name=name)


def _parts_of(model):
    """The cell, the layer of the outputs and the `Density` of a model of `archs.draw`."""
    layers = {layer.name: layer for layer in getattr(model, "layers", [])}
    outputs = layers.get("outputs")
    if not isinstance(outputs, CanvasOutputs):
        raise ValueError(f"Expected a model of `draw`, received {getattr(model, 'name', model)!r}.")
    cell = layers["recurrent"].cell
    return cell, outputs, Density(outputs.density, cell.output_size)


def noise(model, seeds):
    """The noise that a model takes, standard normal, by seeds.

    Args:
        model: of `archs.draw`.
        seeds: ints, (batch,): on TensorFlow of 64 bits; a row is of its own seed alone, and the same draws the same.

    Returns:
        A float32 tensor (batch, steps, latents).

    Raises:
        ValueError: the model is another one, or `seeds` is no such list.
    """
    _parts_of(model)
    shape = tuple(model.input["noise"].shape[1:])
    if keras.backend.backend() != "tensorflow":
        seeds = [checks.integer_between("seeds", int(seed), 0, 2**31 - 1) for seed in seeds]
        return ops.stack([keras.random.normal(shape, seed=seed) for seed in seeds])
    import tensorflow as tf  # for draws whose seeds are tensors, which Keras has not

    seeds = tf.convert_to_tensor(seeds)
    if not seeds.dtype.is_integer or seeds.shape.rank != 1:
        raise ValueError(f"Expected `seeds` to be integers, (batch,), received {seeds.dtype.name} {seeds.shape}.")
    return tf.map_fn(
        lambda seed: tf.random.stateless_normal(shape, tf.stack([seed, 0])),
        tf.cast(seeds, tf.int64),
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )


def draw(model, noise, images=None):
    """The canvas after each step, and where was looked and written.

    Args:
        model: of `archs.draw`.
        noise: float tensor (batch, steps, latents), any number of steps, standard normal.
        images: what the model draws anew; or None: it draws from its prior.

    Returns:
        A dict of `pixels`, (batch, steps, rows, columns), the means of the pixels by the canvas after each step;
        `divergence`, (batch, steps), the sum until then in nats, of samples zero; `means` and `deviations` of the
        codes, (batch, steps, latents); and, where the model has windows, `read_x`, `read_y`, `read_side`,
        `read_deviation`, `read_intensity`, `write_x` and so on, each (batch, steps), in pixels, 1 being the middle of
        the first. Of float32 at least.

    Raises:
        ValueError: the model is another one, or the noise or the images are of another shape, or a pixel is not from 0
            to 1; in a graph of TensorFlow, InvalidArgumentError.
    """
    found, parameters, density = _run(model, noise, images)
    pixels = density.mean(parameters)
    shape = ops.shape(found["canvas"])
    return {"pixels": ops.reshape(pixels, shape)} | {name: a for name, a in found.items() if name != "canvas"}


def log_weights(model, images, noise):
    r"""Estimates of the log-likelihood of images, \log p(x, z) - \log q(z | x), z drawn from the posterior q.

    Their mean is the bound; the logarithm of the mean of their exponentials is the importance-weighted estimate (Y.
    Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, equation (8)), which lies between
    the bound and the likelihood, in expectation.

    Args:
        model: of `archs.draw`.
        images: as the model takes them.
        noise: float tensor (batch, steps, latents); for several estimates of an image, repeat it.

    Returns:
        A float tensor (batch,), in nats.

    Raises:
        ValueError: see `draw`.
    """
    found, parameters, density = _run(model, noise, _checked_images(images, _parts_of(model)[0]))
    posterior = found["means"], found["deviations"]
    ratios = gaussians.log_ratio(noise, posterior, gaussians.standard(posterior))
    images = ops.reshape(images, (-1, density.features))
    return density.log_likelihood(images, parameters[:, -1]) + ops.sum(ratios, axis=-1)


def is_reader(model):
    """Tells whether a model is one of `archs.draw_classifier`."""
    return any(_is_reader(layer) for layer in getattr(model, "layers", []))


def _is_reader(layer):
    return isinstance(layer, Recurrent) and isinstance(layer.cell, entry("draw_reader", "cell").target)


def glimpses(model, images):
    """Tells where a model looked at images, in each step.

    Args:
        model: of `archs.draw_classifier`.
        images: as the model takes them.

    Returns:
        A dict of `read_x`, `read_y`, `read_side`, `read_deviation` and `read_intensity`, as `draw` has them.

    Raises:
        ValueError: the model is another one, or the images are of another shape.
    """
    layer = next((layer for layer in getattr(model, "layers", []) if _is_reader(layer)), None)
    if layer is None:
        raise ValueError(f"Expected a model of `draw_classifier`, received {getattr(model, 'name', model)!r}.")
    images = _checked_images(images, layer.cell)
    zeros = ops.zeros((ops.shape(images)[0], *layer.input[0].shape[1:]))
    return layer.cell.observed(_states(layer.cell, zeros, images[..., 0]))


def boxes(found, way):
    """The windows that read or write, as `draw` or `glimpses` tells of them, as one tensor (batch, steps, 4)."""
    return ops.stack([found[f"{way}_{name}"] for name in ("x", "y", "side", "deviation")], axis=-1)


def _states(cell, sequences, memory, mask=None):
    """The states of a cell after each step, a list of tensors (batch, time, size)."""

    def body(states, x):
        _, new = cell(x, states)
        return new, new

    states = [ops.cast(s, cell.compute_dtype) for s in cell.get_initial_state(ops.shape(sequences)[0])]
    memory = external_memory.prepared(cell, memory, mask)
    with calls.within(cell, calls.Call(draws=False, memory=memory)):
        _, seen = ops.scan(body, states, ops.transpose(ops.cast(sequences, cell.compute_dtype), (1, 0, 2)))
    return [ops.transpose(state, (1, 0, 2)) for state in seen]


def _checked_images(images, cell):
    """Images as a tensor, if they have the size that a cell reads."""
    shape = (cell.rows, cell.columns, 1)
    images = None if images is None else ops.convert_to_tensor(images)
    received = None if images is None else tuple(images.shape)
    if images is None or received[1:] != shape:
        raise ValueError(f"Expected `images` of shape (batch, {', '.join(map(str, shape))}), received {received}.")
    return images


def _run(model, noise, images):
    """Runs the cell: what it tells of all steps, the parameters of the density after each, and the density."""
    cell, outputs, density = _parts_of(model)
    noise, latents = ops.convert_to_tensor(noise), model.input["noise"].shape[-1]
    if len(noise.shape) != 3 or noise.shape[-1] != latents or noise.shape[1] == 0:
        raise ValueError(f"Expected `noise` of shape (batch, steps, {latents}), received {tuple(noise.shape)}.")
    if images is None:
        memory, mask = ops.zeros((1, cell.rows, cell.columns)), ops.zeros((1, cell.rows), "bool")
    else:
        images, mask = _checked_images(images, cell), None
        rows = noise.shape[0], images.shape[0]
        if None not in rows and rows[0] != rows[1] != 1:
            raise ValueError(f"Expected an image for each of {rows[0]} rows of noise, or one, received {rows[1]}.")
        memory = _pixels(images)
    seen = _states(cell, noise, memory, mask)
    parameters = outputs(widen(seen[0]), widen(seen[1]))["canvas"]
    return cell.observed(seen), parameters, density
