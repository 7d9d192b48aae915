"""Grid LSTM: one recurrent layer that is deep within each time step, or a deep network without time."""

import keras

from archs._core import checks
from archs._core.head import head, outputs_of
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch, make_cell
from archs._core.stack import run_cells


@arch(paper="Kalchbrenner et al. 2015", url="https://arxiv.org/abs/1507.01526", year=2015)
def grid_lstm(
    features,
    units,
    outputs,
    *,
    dimensions=2,
    depth=2,
    tied=True,
    transforms="lstm",
    priority="depth",
    gate_first=True,
    forget_bias=1.0,
    depth_forget_bias=0.0,
    vocabulary=None,
    mask_zero=False,
    return_sequences=False,
    pooling=None,
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    stateful=False,
    batch_size=None,
    dtype=None,
    name="grid_lstm",
):
    """A grid of LSTM blocks, deep within each time step, and a dense layer above; or, without time, a deep network.

        inputs (batch, time, features) -> Recurrent(grid) -> last h (batch, units) -> Dense -> (batch, outputs)
        or, with `return_sequences`,                                               -> (batch, time, outputs)
        with `dimensions=1`: inputs (batch, features) -> blocks along depth -> h (batch, units) -> Dense

    N. Kalchbrenner, I. Danihelka, A. Graves, "Grid Long Short-Term Memory", ICLR 2016: one dimension, for vectors, as
    in its parity task; two, for sequences, as in its addition, memorization and language models. The block and its
    equations are `archs.GridLSTMCell`, which takes further dimensions, too.

    Masks: what a mask leaves out is not read and changes no answer to the other time steps, be it made of `lengths`, of
    `mask_zero`, or one that arrives with the inputs. With `return_sequences` the output carries the mask, so that
    losses and metrics of Keras leave the padding out.

    Args:
        features: size of one time step, or of the vector; with `vocabulary`, of a token's embedding.
        units: size of the h and m of each side of a block.
        outputs: size of the answer, for instance the number of classes. None: no dense layer, the features below it.
        dimensions: 2 for depth and time, or 1 for depth alone.
        depth: number of blocks along depth.
        tied: whether the blocks along depth share their weights.
        transforms: `"lstm"`, or the name of an activation of Keras for a dimension without memory, or a dict with one
            for `"depth"` and `"time"`. With `"relu"` or `"tanh"` and one dimension it is a plain deep network.
        priority: the dimension of a block that reads what the other has computed, `"depth"` or `"time"`. None: neither.
        gate_first: whether h is tanh(o * m), as in the paper, or o * tanh(m).
        forget_bias: what the biases of the forget gates along time start at.
        depth_forget_bias: the same, along depth.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, time).
        mask_zero: whether token 0 is padding, wherever it stands, as in `keras.layers.Embedding`; not with `lengths`.
        return_sequences: whether there is an answer for each time step, or one at the end.
        pooling: None, or how the outputs of all time steps become one: `"mean"`, `"max"` or `"attention"` (Yang et al.
            2016). The answer is then one for the sequence, whatever `return_sequences` says.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on what goes into the grid and out of it, a fresh mask in each time step.
        recurrent_dropout: rate in [0, 1) on the h of time that blocks read, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences as a second input, each from 0 to the number of
            time steps. Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        stateful: whether a batch goes on, row by row, from the final states of the batch before: for texts longer than
            a batch. `reset_state` of each recurrent layer begins anew.
        batch_size: None, or the only one that the model takes; needed with `stateful`.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a float tensor (batch, time, features) or an int tensor (batch, time), any time;
        with `lengths`, a dict of `inputs`, that tensor, and `lengths`, an int tensor (batch,); with one dimension, a
        float tensor (batch, features). Its output is a tensor (batch, outputs) or (batch, time, outputs), of float32
        also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or is about time where there is none.

    Example:

    >>> import keras, archs
    >>> model = archs.grid_lstm(features=4, units=6, outputs=2, depth=3, return_sequences=True)
    >>> model(keras.ops.ones((3, 5, 4))).shape
    TensorShape([3, 5, 2])
    >>> model = archs.grid_lstm(features=16, units=6, outputs=1, dimensions=1, depth=10)
    >>> model(keras.ops.ones((3, 16))).shape
    TensorShape([3, 1])
    """
    outputs = outputs_of(outputs)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    units = checks.positive_integer("units", units)
    of_time = {
        "vocabulary": vocabulary,
        "mask_zero": mask_zero,
        "return_sequences": checks.flag("return_sequences", return_sequences),
        "pooling": pooling,
        "recurrent_dropout": recurrent_dropout,
        "lengths": lengths,
        "stateful": stateful,
    }
    has_time = checks.one_of("dimensions", dimensions, (1, 2)) == 2
    for argument, value in of_time.items():
        if value and not has_time:
            raise ValueError(f"Expected no `{argument}` with `dimensions=1`, which has no time, received {value!r}.")
    cell = make_cell(
        "grid_lstm",
        units,
        depth=depth,
        tied=tied,
        time=has_time,
        transforms=transforms,
        priority=priority,
        gate_first=gate_first,
        forget_bias=forget_bias,
        depth_forget_bias=depth_forget_bias,
        recurrent_dropout=recurrent_dropout,
        dtype=dtype,
    )
    policy = cell.dtype_policy.name
    if has_time:
        inputs, sequences, mask, _ = sequence_inputs(
            features,
            lengths=lengths,
            dtype=policy,
            vocabulary=vocabulary,
            mask_zero=mask_zero,
            batch_size=batch_size,
        )
    else:
        features, mask = checks.positive_integer("features", features), None
        wide = keras.backend.result_type(cell.variable_dtype, "float32")  # as `sequence_inputs` has it
        inputs = keras.Input((features,), batch_size, name="inputs", dtype=wide)
        sequences = keras.layers.Reshape((1, features), dtype=policy, name="one_step")(inputs)
    sequences = run_cells(
        [cell],
        sequences,
        mask=mask,
        return_sequences=return_sequences or pooling is not None,
        dropout=dropout,
        stateful=stateful,
        name="recurrent",
    )
    answer = head(sequences, outputs, mask=mask, pooling=pooling, activation=activation, dtype=cell.variable_dtype)
    return SequenceModel(inputs, answer, name=name)
