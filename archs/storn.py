"""Latent variables of a fixed prior in each time step: sequence in, its likelihood out."""

from archs._core import checks
from archs._core.latents import latent_model
from archs._core.losses import Density
from archs._core.registry import arch, entry
from archs._core.stack import make_cells


@arch(paper="Bayer & Osendorfer 2014", url="https://arxiv.org/abs/1411.7610", year=2014)
def storn(
    features,
    units,
    latents,
    *,
    density="bernoulli",
    components=1,
    cell="lstm",
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    dtype=None,
    name="storn",
):
    """Stochastic recurrent network: a model of sequences by latent variables whose prior is the same in each time step.

        inputs (batch, time, features), noise (batch, time, latents) -> Recurrent(STORN(cell))
            -> outputs (batch, time, parameters of the density of the inputs), divergence (batch, time)

    J. Bayer, C. Osendorfer, "Learning Stochastic Recurrent Networks", 2014. A recurrence, the recognition network,
    reads the inputs and draws latents by the noise; a second one reads the latents and the inputs of the time step
    before, and says what the inputs are. The divergence is that of what the recognition network says from a standard
    normal prior. Training, likelihoods and samples are as of `archs.vrnn`.

    Departures from the paper, of which no more than the beginning could be read: see `archs.STORNCell`.

    Masks: what a mask leaves out is not read, be it made of `lengths`, or one that arrives with the inputs. Both
    outputs carry the mask, so that losses and metrics of Keras leave the padding out, and there the divergence is zero.

    Args:
        features: size of one time step.
        units: positive integer, the size of each of the two recurrences.
        latents: positive integer, the number of latent variables of one time step.
        density: `"bernoulli"`, `"gaussian"` or `"mixture"`: what the outputs are the parameters of, see
            `archs.losses.Density`.
        components: positive integer, of `"mixture"`.
        cell: both recurrences: a catalog name, a cell class, or a function `units -> cell`.
        dropout: rate in [0, 1) on the inputs, never on the noise, one mask for all time steps.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
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
    >>> model = archs.storn(features=4, units=6, latents=2)
    >>> answer = model({"inputs": keras.ops.ones((3, 7, 4)), "noise": keras.random.normal((3, 7, 2))})
    >>> answer["outputs"].shape, answer["divergence"].shape
    (TensorShape([3, 7, 4]), TensorShape([3, 7]))
    """
    features, latents = (checks.positive_integer(*pair) for pair in (("features", features), ("latents", latents)))
    units, density = checks.positive_integer("units", units), Density(density, features, components)
    rates = {"dropout": checks.rate("dropout", dropout)}
    rates["recurrent_dropout"] = checks.rate("recurrent_dropout", recurrent_dropout)
    (cell,) = make_cells(cell, [units], **rates, dtype=dtype)
    sizes = {"features": features, "parameters": density.size}
    machine = entry("storn", "cell").target(units, cell=cell, dtype=cell.dtype_policy, **sizes)
    return latent_model(machine, latents, density=density, lengths=lengths, name=name)
