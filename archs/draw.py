"""An autoencoder that draws: a sequence of glimpses at an image, a code for each, and a canvas that becomes it."""

from archs._core import checks
from archs._core.drawing import drawing_model
from archs._core.registry import arch, entry
from archs._core.stack import make_cells


@arch(paper="Gregor et al. 2015", url="https://arxiv.org/abs/1502.04623", year=2015)
def draw(
    features,
    units,
    latents,
    *,
    cell="lstm",
    steps=10,
    read_size=None,
    write_size=None,
    learn_first_states=True,
    density="bernoulli",
    recurrent_dropout=0.0,
    dtype=None,
    name="draw",
):
    r"""Deep recurrent attentive writer: it reads an image, draws a code for it, and writes to a canvas, step by step.

        inputs (batch, rows, columns, 1): the memory
        noise (batch, steps, latents) -> Recurrent(DRAW(encoder, decoder)), which reads the memory
            -> canvas (batch, parameters), divergence (batch,)

    K. Gregor, I. Danihelka, A. Graves, D. J. Rezende, D. Wierstra, "DRAW: A Recurrent Neural Network For Image
    Generation", ICML 2015. The noise, standard normal, is an input: a call draws nothing, and the same noise gives the
    same answer. The divergence is that of all codes of an image from their prior. Trained by the losses
    `archs.losses.NegativeLogLikelihood` of `canvas`, with the pixels row by row as its targets, and
    `archs.losses.Divergence`, the sum of the two is an upper bound of the negative log-likelihood, in nats per image.
    `archs.drawing` has what follows: noise by seeds, samples and images drawn anew, step by step with the windows, and
    estimates of the likelihood.

    Departures from the paper: see `archs.DRAWCell`. Pixels with `density="gaussian"` have the mean sigma(c) and share
    one deviation, which is learned; the paper takes real images for probabilities, as `"bernoulli"` does, too.

    Args:
        features: (rows, columns, 1) of an image.
        units: positive integer, the size of the encoder and of the decoder.
        latents: positive integer, the number of latent variables of one time step.
        cell: the encoder and the decoder: a catalog name, a cell class, or a function `units -> cell`.
        steps: positive integer, how many glimpses and strokes there are.
        read_size: an image is read by N times N filters. None: all of it is in each step.
        write_size: the canvas is written to by N times N filters. None: all of it is in each step.
        learn_first_states: whether the first canvas and the first states of encoder and decoder are learned. Else they
            are zeros.
        density: `"bernoulli"` or `"gaussian"`: what the canvas has the parameters of, see `archs.losses.Density`.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        dtype: dtype policy of the model. Windows and distributions are computed in float32 at least. Default: Keras'
            global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a dict of `inputs`, a float tensor (batch, rows, columns, 1) from 0 to 1, and
        `noise`, a float tensor (batch, steps, latents). Its output is a dict of `canvas` (batch, parameters), and
        `divergence` (batch,), in nats, of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the catalog.

    Example:

    >>> import keras, archs
    >>> model = archs.draw(features=(8, 8, 1), units=6, latents=3, steps=5, read_size=2, write_size=3)
    >>> answer = model({"inputs": keras.ops.ones((2, 8, 8, 1)), "noise": archs.drawing.noise(model, [1, 2])})
    >>> answer["canvas"].shape, answer["divergence"].shape
    (TensorShape([2, 64]), TensorShape([2]))
    """
    rows, columns = checks.grey_image("features", features)
    units, latents = (checks.positive_integer(*pair) for pair in (("units", units), ("latents", latents)))
    steps = checks.positive_integer("steps", steps)
    density = checks.one_of("density", density, ("bernoulli", "gaussian"))
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    (cell,) = make_cells(cell, [units], recurrent_dropout=recurrent_dropout, dtype=dtype)
    machine = entry("draw", "cell").target(
        units,
        rows=rows,
        columns=columns,
        read_size=read_size,
        write_size=write_size,
        cell=cell,
        learn_first_states=learn_first_states,
        dtype=cell.dtype_policy,
    )
    return drawing_model(machine, latents, density=density, steps=steps, name=name)
