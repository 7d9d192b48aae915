"""Language model over characters, bytes or words: after each token, what comes next."""

import keras

from archs._core import checks
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch, output_size
from archs._core.stack import make_cells, run_cells


@arch(paper="Graves 2013", url="https://arxiv.org/abs/1308.0850", year=2013)
def generative_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    mask_zero=False,
    tied=False,
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    stateful=False,
    batch_size=None,
    dtype=None,
    name="generative_lstm",
):
    """Language model: recurrent layers over the embeddings of tokens, logits of the next token in each time step.

        inputs (batch, time) -> Embedding -> Recurrent -> ... -> Recurrent -> Dense -> (batch, time, outputs)

    A. Graves, "Generating Sequences With Recurrent Neural Networks", 2013, sections 2 and 3 (the layers, and text from
    them by feeding back what was drawn; his connections from all layers to the outputs are left out); tied embedding
    and outputs: O. Press, L. Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017.

    `archs.generation` goes on with a text: `prefill` reads a beginning, `step` one more token, with explicit states,
    and `generate` draws, as long as it is told to.

    Truncated backpropagation through time: with `stateful=True` a batch goes on, row by row, from the final states of
    the batch before, without a gradient between the two, and rows that `starts` names begin anew, as at the beginning
    of a document.

    Masks: with `lengths` or `mask_zero`, padding is not read: it changes no answer to the other time steps and no state
    that is carried on. The output carries the mask, so that losses and metrics of Keras leave the padding out.

    Args:
        features: size of the embeddings.
        units: sizes of the layers, lowest first, or one integer for each cell of the list `cell`.
        outputs: number of tokens.
        cell: a catalog name, a cell class, or a function `units -> cell`; or a list of them, one per layer.
        mask_zero: whether token 0 is padding, wherever it stands, as in `keras.layers.Embedding`; not with `lengths`.
        tied: whether the outputs are products with the embeddings, plus no bias; `features` is then the size of the
            last layer.
        dropout: rate in [0, 1) on what goes into each layer and out of the last, a fresh mask in each time step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences, too, each from 0 to the number of time steps.
            Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        stateful: whether a batch goes on, row by row, from the final states of the batch before.
        batch_size: None, or the only one that the model takes; needed with `stateful`.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is an int tensor (batch, time); with `lengths` or `stateful`, a dict of `inputs`,
        that tensor, and `lengths`, an int tensor (batch,), and `starts`, a bool tensor (batch,). Its output is a tensor
        of logits (batch, time, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, sizes do not fit, or `cell` is none of the three.

    Example:

    >>> import keras, archs
    >>> model = archs.generative_lstm(features=4, units=[6, 6], outputs=9)
    >>> model(keras.ops.ones((3, 5), "int32")).shape
    TensorShape([3, 5, 9])
    """
    outputs = checks.positive_integer("outputs", outputs)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    cells = make_cells(cell, units, recurrent_dropout=recurrent_dropout, dtype=dtype)
    size = output_size(cells[-1])
    if checks.flag("tied", tied) and features != size:
        raise ValueError(
            f"Expected `tied=True` with `features` equal to the last layer's size, received {features} and {size}."
        )
    policy = cells[0].dtype_policy.name
    inputs, sequences, mask, embedding = sequence_inputs(
        features,
        lengths=lengths,
        dtype=policy,
        vocabulary=outputs,
        mask_zero=mask_zero,
        tied=tied,
        batch_size=batch_size,
    )
    starts = None
    if checks.flag("stateful", stateful):
        starts = keras.Input((), batch_size, name="starts", dtype="bool")
        inputs = (inputs if lengths else {"inputs": inputs}) | {"starts": starts}
    sequences = run_cells(
        cells, sequences, mask=mask, return_sequences=True, dropout=dropout, stateful=stateful, starts=starts
    )
    # A loss or a client wants no half types: the answer has the dtype of the weights.
    variable_dtype = cells[0].variable_dtype
    if tied:
        logits = keras.layers.Activation("linear", dtype=variable_dtype, name="outputs")(
            embedding(sequences, reverse=True)
        )
    else:
        logits = keras.layers.Dense(outputs, dtype=variable_dtype, name="outputs")(sequences)
    return SequenceModel(inputs, logits, name=name)
