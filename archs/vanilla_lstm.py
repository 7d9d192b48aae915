"""Sequence in, one answer out: one recurrent layer and a dense output."""

import keras

from archs._core import checks
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.recurrent import Recurrent
from archs._core.registry import arch, make_cell


@arch(paper="Hochreiter & Schmidhuber 1997", url="https://doi.org/10.1162/neco.1997.9.8.1735", year=1997)
def vanilla_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    dtype=None,
    name="vanilla_lstm",
):
    """One recurrent layer whose last output goes through a dense layer.

        inputs (batch, time, features) -> Recurrent(cell) -> last h (batch, units) -> Dense -> (batch, outputs)

    S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 4 (the topology:
    one hidden layer of memory cells between an input and an output layer).

    Masks: what a mask leaves out is not read and does not change the answer, be it made of `lengths` or one that
    arrives with the inputs, for instance from a `keras.layers.Masking`.

    Args:
        features: size of one time step.
        units: size of the recurrent layer.
        outputs: size of the answer, for instance the number of classes.
        cell: a catalog name, a cell class, or a function `units -> cell`.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on the inputs of the cell, see `archs.Cell`.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cell, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences as a second input, each from 0 to the number of
            time steps. Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a float tensor (batch, time, features), any time; with `lengths`, a dict of
        `inputs`, that tensor, and `lengths`, an int tensor (batch,). Its output is a tensor (batch, outputs), of
        float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the three.

    Example:

    >>> import keras, archs
    >>> model = archs.vanilla_lstm(features=4, units=6, outputs=2, cell="lstm")
    >>> model(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 2])
    """
    outputs = checks.positive_integer("outputs", outputs)
    units = checks.positive_integer("units", units)
    given = {
        "dropout": checks.rate("dropout", dropout),
        "recurrent_dropout": checks.rate("recurrent_dropout", recurrent_dropout),
        "dtype": dtype,
    }
    layer = Recurrent(
        make_cell(cell, units, **{name: value for name, value in given.items() if value}), name="recurrent"
    )

    inputs, sequences, mask, _ = sequence_inputs(features, lengths=lengths, dtype=layer.dtype_policy.name)
    last = layer(sequences, mask=mask)
    # A loss or a client wants no half types: the answer has the dtype of the weights.
    answer = keras.layers.Dense(outputs, activation=activation, dtype=layer.variable_dtype, name="outputs")(last)
    return SequenceModel(inputs, answer, name=name)
