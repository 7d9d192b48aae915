"""Stacked bidirectional layers: an answer for each time step, or one for the sequence."""

import keras

from archs._core import checks
from archs._core.head import head, outputs_of
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch
from archs._core.stack import equal_sizes, make_cells, run_cells


@arch(paper="Schuster & Paliwal 1997; Graves & Schmidhuber 2005", url="https://doi.org/10.1109/78.650093", year=1997)
def bidirectional_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    vocabulary=None,
    mask_zero=False,
    return_sequences=True,
    merge_mode="concat",
    pooling=None,
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    residual=False,
    lengths=False,
    dtype=None,
    name="bidirectional_lstm",
):
    """Layers that each read the sequence forwards and backwards, dropout between them, a dense layer above.

        inputs (batch, time, features) -> Bidirectional(Recurrent) -> ... -> Dense -> (batch, time, outputs)
        or, without `return_sequences`,                                            -> (batch, outputs)

    M. Schuster, K. K. Paliwal, "Bidirectional Recurrent Neural Networks", IEEE Transactions on Signal Processing
    45(11), 1997; with LSTM: A. Graves, J. Schmidhuber, "Framewise Phoneme Classification with Bidirectional LSTM and
    Other Neural Network Architectures", Neural Networks 18(5-6), 2005.

    Masks: what a mask leaves out is read in neither direction and changes no answer to the other time steps, be it made
    of `lengths`, of `mask_zero`, or one that arrives with the inputs. With `return_sequences` the output carries the
    mask, so that losses and metrics of Keras leave the padding out.

    Args:
        features: size of one time step; with `vocabulary`, of a token's embedding.
        units: sizes of the layers in each direction, lowest first, or one integer for each cell of the list `cell`.
        outputs: size of an answer, for instance the number of tags. None: no dense layer, the features below it.
        cell: a catalog name, a cell class, or a function `units -> cell`; or a list of them, one per layer.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, time).
        mask_zero: whether token 0 is padding, wherever it stands, as in `keras.layers.Embedding`; not with `lengths`.
        return_sequences: whether there is an answer for each time step, or one: from where the two ways end.
        merge_mode: how the two directions of a layer are joined: `"concat"`, `"sum"`, `"mul"` or `"ave"`.
        pooling: None, or how the outputs of all time steps become one: `"mean"`, `"max"` or `"attention"` (Yang et al.
            2016). The answer is then one for the sequence, whatever `return_sequences` says.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on what goes into each layer and out of the last, a fresh mask in each time step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        residual: whether each layer but the lowest adds its input to its output; needs layers of equal output size, and
            `return_sequences` or `pooling`.
        lengths: whether the model takes the lengths of its sequences as a second input, each from 0 to the number of
            time steps. Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a float tensor (batch, time, features) or an int tensor (batch, time), any time;
        with `lengths`, a dict of `inputs`, that tensor, and `lengths`, an int tensor (batch,). Its output is a tensor
        (batch, time, outputs) or (batch, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, sizes do not fit, or `cell` is none of the three.

    Example:

    >>> import keras, archs
    >>> model = archs.bidirectional_lstm(features=4, units=[6, 6], outputs=2)
    >>> model(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 5, 2])
    """
    outputs = outputs_of(outputs)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    return_sequences = checks.flag("return_sequences", return_sequences)
    checks.one_of("merge_mode", merge_mode, ("concat", "sum", "mul", "ave"))
    cells = make_cells(cell, units, recurrent_dropout=recurrent_dropout, dtype=dtype)
    policy, residual = cells[0].dtype_policy.name, equal_sizes(residual, cells)
    return_sequences = return_sequences or pooling is not None
    if residual and not return_sequences:
        # One answer is where both ways end, and they end in different time steps.
        raise ValueError("Expected `residual=True` with `return_sequences=True` or a `pooling`, received neither.")
    inputs, sequences, mask, _ = sequence_inputs(
        features, lengths=lengths, dtype=policy, vocabulary=vocabulary, mask_zero=mask_zero
    )

    def wrap(layer, number):
        return keras.layers.Bidirectional(layer, merge_mode=merge_mode, dtype=policy, name=f"bidirectional_{number}")

    sequences = run_cells(
        cells,
        sequences,
        mask=mask,
        return_sequences=return_sequences,
        dropout=dropout,
        residual=residual,
        wrap=wrap,
    )
    answer = head(sequences, outputs, mask=mask, pooling=pooling, activation=activation, dtype=cells[0].variable_dtype)
    return SequenceModel(inputs, answer, name=name)
