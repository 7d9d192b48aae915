"""Sequence in, one answer out: one recurrent layer and a dense output."""

from archs._core import checks
from archs._core.head import head, outputs_of
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch
from archs._core.stack import make_cells, run_cells


@arch(paper="Hochreiter & Schmidhuber 1997", url="https://doi.org/10.1162/neco.1997.9.8.1735", year=1997)
def vanilla_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    vocabulary=None,
    mask_zero=False,
    pooling=None,
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    stateful=False,
    batch_size=None,
    dtype=None,
    name="vanilla_lstm",
):
    """One recurrent layer whose last output goes through a dense layer.

        inputs (batch, time, features) -> Recurrent(cell) -> last h (batch, units) -> Dense -> (batch, outputs)

    S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 4 (the topology:
    one hidden layer of memory cells between an input and an output layer).

    Masks: what a mask leaves out is not read and does not change the answer, be it made of `lengths`, of `mask_zero`,
    or one that arrives with the inputs, for instance from a `keras.layers.Masking`.

    Args:
        features: size of one time step; with `vocabulary`, of a token's embedding.
        units: size of the recurrent layer.
        outputs: size of the answer, for instance the number of classes. None: no dense layer, the features below it.
        cell: a catalog name, a cell class, or a function `units -> cell`.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, time).
        mask_zero: whether token 0 is padding, wherever it stands, as in `keras.layers.Embedding`; not with `lengths`.
        pooling: None, or how the outputs of all time steps become one: `"mean"`, `"max"` or `"attention"` (Yang et al.
            2016). The answer is then one for the sequence.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on what goes into the layer and out of it, a fresh mask in each time step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cell, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences as a second input, each from 0 to the number of
            time steps. Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        stateful: whether a batch goes on, row by row, from the final states of the batch before: for texts longer than
            a batch. `reset_state` of each recurrent layer begins anew.
        batch_size: None, or the only one that the model takes; needed with `stateful`.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a float tensor (batch, time, features) or an int tensor (batch, time), any time;
        with `lengths`, a dict of `inputs`, that tensor, and `lengths`, an int tensor (batch,). Its output is a tensor
        (batch, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the three.

    Example:

    >>> import keras, archs
    >>> model = archs.vanilla_lstm(features=4, units=6, outputs=2, cell="lstm")
    >>> model(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 2])
    """
    outputs = outputs_of(outputs)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    units = checks.positive_integer("units", units)
    cells = make_cells([cell], units, recurrent_dropout=recurrent_dropout, dtype=dtype)
    inputs, sequences, mask, _ = sequence_inputs(
        features,
        lengths=lengths,
        dtype=cells[0].dtype_policy.name,
        vocabulary=vocabulary,
        mask_zero=mask_zero,
        batch_size=batch_size,
    )
    sequences = run_cells(
        cells,
        sequences,
        mask=mask,
        return_sequences=pooling is not None,
        dropout=dropout,
        stateful=stateful,
        name="recurrent",
    )
    answer = head(sequences, outputs, mask=mask, pooling=pooling, activation=activation, dtype=cells[0].variable_dtype)
    return SequenceModel(inputs, answer, name=name)
