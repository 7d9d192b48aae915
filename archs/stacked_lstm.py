"""Recurrent layers on top of each other: one answer for a sequence, or one for each of its time steps."""

from archs._core import checks
from archs._core.head import head, outputs_of
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch, output_size
from archs._core.stack import equal_sizes, make_cells, run_cells


@arch(paper="Graves et al. 2013; Zaremba et al. 2014", url="https://arxiv.org/abs/1409.2329", year=2013)
def stacked_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    vocabulary=None,
    mask_zero=False,
    tied=False,
    return_sequences=False,
    pooling=None,
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    residual=False,
    lengths=False,
    stateful=False,
    batch_size=None,
    dtype=None,
    name="stacked_lstm",
):
    """Recurrent layers of any sizes on top of each other, dropout between them, a dense layer above.

        inputs (batch, time, features) -> Recurrent -> ... -> Recurrent -> Dense -> (batch, outputs)
        or, with `return_sequences`,                                            -> (batch, time, outputs)

    A. Graves, A. Mohamed, G. Hinton, "Speech Recognition with Deep Recurrent Neural Networks", ICASSP 2013 (the
    stack); W. Zaremba, I. Sutskever, O. Vinyals, "Recurrent Neural Network Regularization", 2014 (the dropout); tied
    embedding and outputs: O. Press, L. Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017.

    Masks: what a mask leaves out is not read and changes no answer to the other time steps, be it made of `lengths`, of
    `mask_zero`, or one that arrives with the inputs. With `return_sequences` the output carries the mask, so that
    losses and metrics of Keras leave the padding out.

    Args:
        features: size of one time step; with `vocabulary`, of a token's embedding.
        units: list of the sizes of the layers, lowest first; or one integer for each cell of the list `cell`.
        outputs: size of the answer, for instance the number of classes. None: no dense layer, the features below it.
        cell: a catalog name, a cell class, or a function `units -> cell`; or a list of them, one per layer.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, time).
        mask_zero: whether token 0 is padding, wherever it stands, as in `keras.layers.Embedding`; not with `lengths`.
        tied: whether the outputs are products with the embedding's own vectors, plus no bias; needs a `vocabulary`
            equal to `outputs`, and `features` equal to the size of the last layer.
        return_sequences: whether there is an answer for each time step, or one at the end.
        pooling: None, or how the outputs of all time steps become one: `"mean"`, `"max"` or `"attention"` (Yang et al.
            2016). The answer is then one for the sequence, whatever `return_sequences` says.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on what goes into each layer and out of the last, a fresh mask in each time step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        residual: whether each layer but the lowest adds its input to its output; needs layers of equal output size.
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
        (batch, outputs) or (batch, time, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, sizes do not fit, or `cell` is none of the three.

    Example:

    >>> import keras, archs
    >>> model = archs.stacked_lstm(features=4, units=[6, 5], outputs=2, cell=["lstm", "gru"], return_sequences=True)
    >>> model(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 5, 2])
    """
    outputs = outputs_of(outputs)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    return_sequences = checks.flag("return_sequences", return_sequences)
    if not isinstance(units, (list, tuple)) and not isinstance(cell, (list, tuple)):
        units = checks.positive_integer("units", units)
        raise ValueError(
            f"Expected `units` to be a list of sizes, one for each layer, received {units}. For two layers of this "
            f"size give [{units}, {units}], for one [{units}]."
        )
    cells = make_cells(cell, units, recurrent_dropout=recurrent_dropout, dtype=dtype)
    residual, size = equal_sizes(residual, cells), output_size(cells[-1])
    if checks.flag("tied", tied) and (
        (vocabulary, features) != (outputs, size) or activation is not None or pooling is not None
    ):
        raise ValueError(
            "Expected `tied=True` with `vocabulary` equal to `outputs`, `features` equal to the last layer's size and "
            "neither `activation` nor `pooling`, received "
            f"{vocabulary}, {outputs}, {features}, {size}, {activation!r} and {pooling!r}."
        )
    policy = cells[0].dtype_policy.name
    inputs, sequences, mask, embedding = sequence_inputs(
        features,
        lengths=lengths,
        dtype=policy,
        vocabulary=vocabulary,
        mask_zero=mask_zero,
        tied=tied,
        batch_size=batch_size,
    )
    sequences = run_cells(
        cells,
        sequences,
        mask=mask,
        return_sequences=return_sequences or pooling is not None,
        dropout=dropout,
        residual=residual,
        stateful=stateful,
    )
    if tied:
        sequences, outputs = embedding(sequences, reverse=True), None
    answer = head(sequences, outputs, mask=mask, pooling=pooling, activation=activation, dtype=cells[0].variable_dtype)
    return SequenceModel(inputs, answer, name=name)
