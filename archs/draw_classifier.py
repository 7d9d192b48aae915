"""A label of an image by reading alone: glimpses through a window that moves, a dense layer on the last state."""

import keras
from keras import ops

from archs._core import checks
from archs._core.head import head, outputs_of
from archs._core.model import SequenceModel
from archs._core.recurrent import Recurrent
from archs._core.registry import arch, entry
from archs._core.stack import make_cells


@arch(paper="Gregor et al. 2015", url="https://arxiv.org/abs/1502.04623", year=2015)
def draw_classifier(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    steps=8,
    read_size=12,
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    dtype=None,
    name="draw_classifier",
):
    """Reader of an image: it looks through a window several times, moves it by what it saw, and gives one answer.

        inputs (batch, rows, columns, 1): the memory
        zeros (batch, steps, 1) -> Recurrent(DRAWReader(cell)), which reads the memory -> Dense -> (batch, outputs)

    K. Gregor, I. Danihelka, A. Graves, D. J. Rezende, D. Wierstra, "DRAW: A Recurrent Neural Network For Image
    Generation", ICML 2015, section 4.1. Where a trained model looked, `archs.tracing.trace` tells.
    Departures from the paper: see `archs.DRAWReaderCell`.

    Args:
        features: (rows, columns, 1) of an image.
        units: positive integer, the size of the recurrence.
        outputs: size of the answer, for instance the number of classes. None: no dense layer, the features below it.
        cell: the recurrence: a catalog name, a cell class, or a function `units -> cell`.
        steps: positive integer, how many glimpses there are.
        read_size: an image is read by N times N filters.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on what goes into the dense layer.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cell, see `archs.Cell`.
        dtype: dtype policy of the model. Windows are computed in float32 at least. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a float tensor (batch, rows, columns, 1). Its output is a tensor (batch, outputs),
        of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the catalog.

    Example:

    >>> import keras, archs
    >>> model = archs.draw_classifier(features=(20, 20, 1), units=6, outputs=3, read_size=4)
    >>> model(keras.ops.ones((2, 20, 20, 1))).shape
    TensorShape([2, 3])
    """
    rows, columns = checks.grey_image("features", features)
    units, outputs = checks.positive_integer("units", units), outputs_of(outputs)
    steps, dropout = checks.positive_integer("steps", steps), checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    (cell,) = make_cells(cell, [units], recurrent_dropout=recurrent_dropout, dtype=dtype)
    sizes = {"rows": rows, "columns": columns, "read_size": read_size}
    reader = entry("draw_reader", "cell").target(units, cell=cell, dtype=cell.dtype_policy, **sizes)
    images = keras.Input((rows, columns, 1), name="inputs", dtype=reader.variable_dtype)
    nothing = ops.repeat(ops.zeros_like(images[:, :1, 0]), steps, axis=1)
    last = Recurrent(reader, name="recurrent")(nothing, memory=ops.reshape(images, (-1, rows, columns)))
    if dropout:
        last = keras.layers.Dropout(dropout, dtype=reader.dtype_policy, name="dropout_out")(last)
    return SequenceModel(images, head(last, outputs, activation=activation, dtype=reader.variable_dtype), name=name)
