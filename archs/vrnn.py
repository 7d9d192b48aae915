"""Latent variables in each time step, whose prior depends on the state: sequence in, its likelihood out."""

from archs._core import checks
from archs._core.latents import latent_model
from archs._core.losses import Density
from archs._core.registry import arch, entry
from archs._core.stack import make_cells


@arch(paper="Chung et al. 2015", url="https://arxiv.org/abs/1506.02216", year=2015)
def vrnn(
    features,
    units,
    latents,
    *,
    density="bernoulli",
    components=1,
    hidden=None,
    residual_posterior=False,
    cell="lstm",
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    dtype=None,
    name="vrnn",
):
    """Variational recurrent network: a model of sequences by latent variables whose prior depends on the state.

        inputs (batch, time, features), noise (batch, time, latents) -> Recurrent(VRNN(cell))
            -> outputs (batch, time, parameters of the density of the inputs), divergence (batch, time)

    J. Chung, K. Kastner, L. Dinh, K. Goel, A. Courville, Y. Bengio, "A Recurrent Latent Variable Model for Sequential
    Data", NeurIPS 2015. In each time step an encoder, which sees the inputs and the state, draws latents by the noise;
    a decoder says of them and the state what the inputs are; and the recurrence reads both. The divergence is that of
    the encoder's distribution from the prior, which sees the state alone. Trained by the losses
    `archs.losses.NegativeLogLikelihood` of `outputs` and `archs.losses.Divergence`, the sum of the two is an upper
    bound of the negative log-likelihood; `archs.losses.DivergenceSchedule` keeps the latents in use.
    `archs.latents.log_weights` estimates the likelihood, `archs.latents.sample` draws sequences.

    Departures from the paper, whose text could not be had whole: see `archs.VRNNCell`.

    Masks: what a mask leaves out is not read, be it made of `lengths`, or one that arrives with the inputs. Both
    outputs carry the mask, so that losses and metrics of Keras leave the padding out, and there the divergence is zero.

    Args:
        features: size of one time step.
        units: positive integer, the size of the recurrence.
        latents: positive integer, the number of latent variables of one time step.
        density: `"bernoulli"`, `"gaussian"` or `"mixture"`: what the outputs are the parameters of, see
            `archs.losses.Density`.
        components: positive integer, of `"mixture"`.
        hidden: positive integer, the size of each hidden layer of encoder, decoder and prior. Default: `units`.
        residual_posterior: whether the encoder says how far its mean is from that of the prior, see `archs.VRNNCell`.
        cell: the recurrence: a catalog name, a cell class, or a function `units -> cell`.
        dropout: rate in [0, 1) on the inputs, never on the noise, one mask for all time steps.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cell, and on the state that encoder, decoder
            and prior see, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences as a further input, each from 0 to the number of
            time steps. Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        dtype: dtype policy of the model. Distributions are computed in float32 at least. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a dict of `inputs`, a float tensor (batch, time, features), any time; `noise`, a
        float tensor (batch, time, latents) of standard normal numbers; and with `lengths` an int tensor (batch,). Its
        output is a dict of `outputs` (batch, time, parameters) and `divergence` (batch, time), in nats, of float32 also
        under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the catalog.

    Example:

    >>> import keras, archs
    >>> model = archs.vrnn(features=4, units=6, latents=2, density="gaussian")
    >>> answer = model({"inputs": keras.ops.ones((3, 7, 4)), "noise": keras.random.normal((3, 7, 2))})
    >>> answer["outputs"].shape, answer["divergence"].shape
    (TensorShape([3, 7, 8]), TensorShape([3, 7]))
    """
    features, latents = (checks.positive_integer(*pair) for pair in (("features", features), ("latents", latents)))
    units, density = checks.positive_integer("units", units), Density(density, features, components)
    rates = {"dropout": checks.rate("dropout", dropout)}
    rates["recurrent_dropout"] = checks.rate("recurrent_dropout", recurrent_dropout)
    (cell,) = make_cells(cell, [units], **rates, dtype=dtype)
    sizes = {"features": features, "parameters": density.size, "hidden": hidden}
    options = {"residual_posterior": residual_posterior, "dtype": cell.dtype_policy}
    machine = entry("vrnn", "cell").target(units, cell=cell, **sizes, **options)
    return latent_model(machine, latents, density=density, lengths=lengths, name=name)
