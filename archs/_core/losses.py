"""Losses that Keras has not, or not for sequences with padding."""

import math

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import widen
from archs._core.gaussians import deviation

DENSITIES = ("bernoulli", "gaussian", "mixture")


@keras.saving.register_keras_serializable(package="archs")
class CTC(keras.losses.Loss):
    """Connectionist temporal classification: labels in their order, without a time step for each.

    A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
    Sequence Data with Recurrent Neural Networks", ICML 2006. It is `keras.losses.CTC`, with the same conventions, for
    models whose answers carry a mask, as those of `lengths=True` or `mask_zero=True` do: the padding is left out, which
    Keras' own takes for time steps. Class 0 is the blank. `archs.decoding.ctc_decode` reads the labels off.

    Args:
        reduction: as of `keras.losses.CTC`.
        name: of the loss.
        dtype: of its computation.

    Call arguments:
        y_true: ints (batch, labels) from 1 to classes - 1; zeros are padding, wherever they stand.
        y_pred: logits (batch, time, classes). What their mask leaves out does not count.
        sample_weight: None, or floats (batch,).

    Returns:
        The mean over the batch of the negative log probability of each row's labels, or what `reduction` says.

    Raises:
        ValueError: another rank, a label out of its range, or a row with too few time steps for its labels: one for
            each, and one between two equal ones. In a graph that XLA does not compile: InvalidArgumentError.

    Example:

    >>> import archs
    >>> model = archs.bidirectional_lstm(features=4, units=6, outputs=5, lengths=True)
    >>> model.compile("adam", archs.losses.CTC())
    """

    def __init__(self, reduction="sum_over_batch_size", name="ctc", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Keras would lay the mask over the losses, one for each row.
        return super().__call__(y_true, without_padding(y_pred), sample_weight)

    def call(self, y_true, y_pred):
        logits, steps = y_pred
        if len(y_true.shape) != 2:
            raise ValueError(f"Expected labels of shape (batch, labels), received {tuple(y_true.shape)}.")
        labels, steps, classes = ops.cast(y_true, "int32"), ops.cast(steps, "int32"), logits.shape[-1]
        labels = checks.within(labels, 0, classes - 1, f"Expected labels from 1 to {classes - 1}, and 0 for padding")
        labels, counts = _in_front(labels, labels > 0)
        repeats = ops.logical_and(labels[:, 1:] == labels[:, :-1], labels[:, 1:] > 0)
        needed = counts + ops.sum(ops.cast(repeats, "int32"), axis=1)
        expected = "Expected a time step for each label, and one between two equal ones; in the rows that have fewer"
        steps = checks.require(steps, steps >= needed, expected)
        return ops.ctc_loss(labels, logits, counts, steps, mask_index=0)


def without_padding(sequences):
    """Sequences (batch, time, size), what their mask leaves in to the front, and how many steps of each row that is."""
    if len(sequences.shape) != 3:
        raise ValueError(
            f"Expected an answer for each time step, (batch, time, classes), received {tuple(sequences.shape)}. Give "
            "the model `return_sequences=True`, where it has this argument, and no `pooling`."
        )
    mask = getattr(sequences, "_keras_mask", None)
    if mask is None:
        return ops.copy(sequences), ops.full(ops.shape(sequences)[:1], ops.shape(sequences)[1], dtype="int32")
    return _in_front(sequences, mask)


def _in_front(values, inside):
    """The values (batch, places, ...) in their order, those inside before the others, and how many are inside."""
    places = ops.shape(inside)[1]
    order = ops.argsort(ops.where(inside, 0, places) + ops.arange(places), axis=1)
    order = ops.reshape(order, (*ops.shape(order), *[1] * (len(values.shape) - 2)))
    return ops.take_along_axis(values, order, axis=1), ops.sum(ops.cast(inside, "int32"), axis=1)


class Density:
    """Density of the vectors of a sequence, given what a model says of each, its parameters.

    For d features the parameters are
    - `"bernoulli"`: d logits, of features that are 0 or 1, or between;
    - `"gaussian"`: d means, then d raw deviations, of features that are independent given the parameters. A deviation
      is softplus of the raw number, plus 1e-4;
    - `"mixture"`: K logits of as many components, K times d means, K times d raw deviations, component by component.

    It is computed in single precision at least.

    Args:
        kind: one of the three.
        features: positive integer, d.
        components: positive integer, K, of `"mixture"`; ignored by the others.

    Attributes:
        size: number of parameters.

    Raises:
        ValueError: an argument is out of its range; and in a call, vectors or parameters of another size.

    Example:

    >>> import numpy as np, archs
    >>> density = archs.losses.Density("gaussian", features=2)
    >>> density.size, density.log_likelihood(np.zeros((1, 2)), np.zeros((1, 4))).shape
    (4, TensorShape([1]))
    """

    def __init__(self, kind, features, components=1):
        self.kind = checks.one_of("density", kind, DENSITIES)
        self.features = checks.positive_integer("features", features)
        self.components = checks.positive_integer("components", components)
        d, k = self.features, self.components
        self.size = {"bernoulli": d, "gaussian": 2 * d, "mixture": k + 2 * k * d}[kind]

    def _given(self, name, values, size):
        """Floats (..., size), in single precision at least. Of another size they might fit by broadcasting."""
        values = ops.convert_to_tensor(values)
        is_known = getattr(values.shape, "rank", 0) is not None  # in a graph of TensorFlow it may not be
        if is_known and tuple(values.shape)[-1:] not in ((size,), (None,)):
            raise ValueError(
                f"Expected `{name}` of shape (..., {size}) for a density {self.kind!r} of {self.features} features, "
                f"received {tuple(values.shape)}."
            )
        return widen(values)

    def _split(self, parameters):
        """Logits (..., K), means and deviations (..., K, d) of the components."""
        d, k = self.features, self.components
        logits, means, raw = ops.split(parameters, [k, k + k * d], axis=-1)
        means, raw = (ops.reshape(a, (*ops.shape(a)[:-1], k, d)) for a in (means, raw))
        return logits, means, deviation(raw)

    def log_likelihood(self, x, parameters, mask=None):
        """The logarithm of the density, in nats, summed over the features.

        Args:
            x: float tensor (..., features).
            parameters: float tensor (..., size).
            mask: None, or a bool tensor (...); where it is False, the answer is zero, whatever stands there.

        Returns:
            A float tensor (...).
        """
        parameters = self._given("parameters", parameters, self.size)
        x = ops.cast(self._given("x", x, self.features), parameters.dtype)
        if mask is not None:
            x, parameters = (ops.where(mask[..., None], a, 0) for a in (x, parameters))
        if self.kind == "bernoulli":
            found = ops.sum(x * parameters - ops.softplus(parameters), axis=-1)
        elif self.kind == "gaussian":
            means, raw = ops.split(parameters, 2, axis=-1)
            found = _log_gaussian(x, means, deviation(raw))
        else:
            logits, means, deviations = self._split(parameters)
            of_components = _log_gaussian(x[..., None, :], means, deviations)
            found = ops.logsumexp(ops.log_softmax(logits, axis=-1) + of_components, axis=-1)
        return found if mask is None else ops.where(mask, found, 0)

    def draw(self, parameters, uniforms, normals):
        """Vectors drawn from the density.

        Args:
            parameters: float tensor (..., size).
            uniforms: numbers uniform in [0, 1), (..., features). They draw bits; the first the component of a mixture.
            normals: standard normal numbers, (..., features).

        Returns:
            A float tensor (..., features).
        """
        parameters = self._given("parameters", parameters, self.size)
        pairs = {"uniforms": uniforms, "normals": normals}.items()
        uniforms, normals = (ops.cast(self._given(*pair, self.features), parameters.dtype) for pair in pairs)
        if self.kind == "bernoulli":
            return ops.cast(uniforms < ops.sigmoid(parameters), parameters.dtype)
        if self.kind == "gaussian":
            means, raw = ops.split(parameters, 2, axis=-1)
            return means + deviation(raw) * normals
        logits, means, deviations = self._split(parameters)
        is_past = ops.cumsum(ops.softmax(logits, axis=-1), axis=-1)[..., :-1] <= uniforms[..., :1]
        picked = ops.one_hot(ops.sum(ops.cast(is_past, "int32"), axis=-1), self.components, dtype=means.dtype)
        means, deviations = (ops.sum(picked[..., None] * a, axis=-2) for a in (means, deviations))
        return means + deviations * normals

    def mean(self, parameters):
        """The mean of the density, (..., features); of bits their probabilities."""
        parameters = self._given("parameters", parameters, self.size)
        if self.kind == "bernoulli":
            return ops.sigmoid(parameters)
        if self.kind == "gaussian":
            return parameters[..., : self.features]
        logits, means, _ = self._split(parameters)
        return ops.sum(ops.softmax(logits, axis=-1)[..., None] * means, axis=-2)


def _log_gaussian(x, means, deviations):
    terms = ops.square((x - means) / deviations) / 2 + ops.log(deviations) + math.log(2 * math.pi) / 2
    return -ops.sum(terms, axis=-1)


@keras.saving.register_keras_serializable(package="archs")
class NegativeLogLikelihood(keras.losses.Loss):
    """Negative log-likelihood of the vectors of a sequence, in nats: summed over the features, averaged over the steps.

    Args:
        density, components: of the `Density`.
        reduction, name, dtype: of `keras.losses.Loss`.

    Call arguments:
        y_true: float tensor (batch, time, features), from 0 to 1 with `"bernoulli"`.
        y_pred: parameters of the density, (batch, time, size). What their mask leaves out does not count.
        sample_weight: None, or floats (batch,) or (batch, time).

    Returns:
        The mean over the time steps, or what `reduction` says.

    Raises:
        ValueError: an argument is out of its range, or there are not as many parameters as the density has. Targets
            of `"bernoulli"` that are out of theirs: in a graph that XLA does not compile, InvalidArgumentError.

    Example:

    >>> import archs
    >>> model = archs.stacked_lstm(features=4, units=[6], outputs=8, return_sequences=True)
    >>> model.compile("adam", archs.losses.NegativeLogLikelihood("gaussian"))
    """

    def __init__(
        self,
        density="bernoulli",
        components=1,
        reduction="sum_over_batch_size",
        name="negative_log_likelihood",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.density = checks.one_of("density", density, DENSITIES)
        self.components = checks.positive_integer("components", components)

    def __call__(self, y_true, y_pred, sample_weight=None):
        mask = getattr(y_pred, "_keras_mask", None)
        if mask is not None:  # Keras would multiply by zero what stands there, which may be no number
            y_true = ops.where(mask[..., None], y_true, 0)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        if self.density == "bernoulli":
            y_true = checks.shares("targets of a Bernoulli density", y_true)
        density = Density(self.density, y_true.shape[-1], self.components)
        if y_pred.shape[-1] != density.size:
            raise ValueError(
                f"Expected {density.size} parameters of a density {self.density!r} of {density.features} features, "
                f"received {y_pred.shape[-1]}."
            )
        return -density.log_likelihood(y_true, y_pred)

    def get_config(self):
        return super().get_config() | {"density": self.density, "components": self.components}


@keras.saving.register_keras_serializable(package="archs")
class Divergence(keras.losses.Loss):
    """Mean of the divergences that a model says, such as those of `archs.vrnn`, times a weight.

    Args:
        weight: number, 0 or more. `weight.assign` changes it, also during training, see `DivergenceSchedule`.
        reduction, name, dtype: of `keras.losses.Loss`.

    Call arguments:
        y_true: is not looked at: zeros (batch, time).
        y_pred: float tensor (batch, time). What its mask leaves out does not count.
        sample_weight: None, or floats (batch,) or (batch, time).

    Returns:
        The mean over the time steps, or what `reduction` says.

    Raises:
        ValueError: the weight is no number, or below 0.

    Example:

    >>> import archs
    >>> model, losses = archs.vrnn(features=4, units=6, latents=2), archs.losses
    >>> model.compile("adam", {"outputs": losses.NegativeLogLikelihood(), "divergence": losses.Divergence()})
    """

    def __init__(self, weight=1.0, reduction="sum_over_batch_size", name="divergence", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        value = checks.not_negative("weight", weight)
        self.weight = keras.Variable(value, dtype="float32", trainable=False, name="weight")

    def call(self, y_true, y_pred):
        return ops.cast(self.weight, y_pred.dtype) * y_pred

    def get_config(self):
        return super().get_config() | {"weight": float(ops.convert_to_numpy(self.weight))}


class DivergenceSchedule(keras.callbacks.Callback):
    """Weight of a `Divergence` over a training: 0 at first, then along a line to 1; always 1 in a validation.

    With the weight 1 from the start, a model with latent variables may learn to do without them: the divergence is then
    zero for good.

    Args:
        loss: the `Divergence`.
        steps: positive integer, of the whole training.
        start: share of the steps after which the weight begins to rise.
        end: share of the steps after which it is 1.

    Attributes:
        step: how many steps are done.

    Raises:
        ValueError: an argument is out of its range, `end` is below `start`, or `loss` is another one.
    """

    def __init__(self, loss, steps, start=0.0, end=0.6):
        super().__init__()
        if not isinstance(loss, Divergence):
            raise ValueError(f"Expected `loss` to be an archs.losses.Divergence, received {loss!r}.")
        self.loss, self.steps = loss, checks.positive_integer("steps", steps)
        self.start, self.end = checks.between("start", start, 0, 1), checks.between("end", end, 0, 1)
        if end < start:
            raise ValueError(f"Expected `end` to be `start`, {start}, or more, received {end}.")
        self.step = 0

    def weight(self):
        """The weight in the step that comes."""
        done = self.step / self.steps
        if done >= self.end:
            return 1.0
        return max(0.0, done - self.start) / (self.end - self.start) if done > self.start else 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.loss.weight.assign(self.weight())

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1

    def on_test_begin(self, logs=None):
        self.loss.weight.assign(1.0)

    def on_train_end(self, logs=None):
        self.loss.weight.assign(1.0)
