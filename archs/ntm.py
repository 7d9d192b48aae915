"""A controller with an external memory: sequence in, an answer for each time step out."""

from archs._core import checks
from archs._core.head import head, outputs_of
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch, entry
from archs._core.stack import make_cells, run_cells


@arch(paper="Graves et al. 2014; Collier & Beel 2018", url="https://arxiv.org/abs/1410.5401", year=2014)
def ntm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    memory_locations=128,
    memory_width=20,
    read_heads=1,
    write_heads=1,
    shift_range=1,
    read_memory="old",
    first_weighting="one_hot",
    first_memory="constant",
    learn_first_states=False,
    output_reads=True,
    key_activation="tanh",
    add_activation="tanh",
    clip=20.0,
    vocabulary=None,
    mask_zero=False,
    return_sequences=True,
    pooling=None,
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    stateful=False,
    batch_size=None,
    dtype=None,
    name="ntm",
):
    """Neural Turing Machine: a recurrent controller that reads and writes a memory by heads, a dense layer above.

        inputs (batch, time, features) -> Recurrent(NTM(controller)) -> [h; reads] -> Dense -> (batch, time, outputs)
        or, without `return_sequences`,                                                     -> (batch, outputs)

    A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014; the first values: M. Collier, J. Beel,
    "Implementing Neural Turing Machines", ICANN 2018. The paper trains it on tasks of bits, with logistic outputs: give
    the model a loss `from_logits`. What a trained model reads and writes where, `archs.tracing.trace` tells.

    Masks: what a mask leaves out is neither read nor written to the memory, be it made of `lengths`, of `mask_zero`, or
    one that arrives with the inputs. With `return_sequences` the output carries the mask, so that losses and metrics
    of Keras leave the padding out.

    Args:
        features: size of one time step; with `vocabulary`, of a token's embedding.
        units: positive integer, the size of the controller.
        outputs: size of an answer, for instance the number of bits. None: no dense layer, the features below it.
        cell: the controller: a catalog name, a cell class, or a function `units -> cell`. None: a feed-forward one.
        memory_locations: how many locations the memory has.
        memory_width: the size of each location.
        read_heads: how many heads read in each time step.
        write_heads: how many heads write in each time step.
        shift_range: how far a head can move along the memory from one time step to the next.
        read_memory: `"old"` or `"new"`: whether heads read before or after the writes of the step.
        first_weighting: `"one_hot"`, `"learned"` or `"uniform"`: where the heads are at the start.
        first_memory: `"constant"`, `"random"` or `"learned"`: what the memory holds at the start.
        learn_first_states: whether the first reads and states of the controller are learned. Else they are zeros.
        output_reads: whether the dense layer sees the reads beside the controller's output.
        key_activation: of the keys of content addressing.
        add_activation: of what heads add to the memory.
        clip: None, or the bound of the heads' parameters before they are activated. `archs.NTMCell` describes
            all of these.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, time).
        mask_zero: whether token 0 is padding, wherever it stands, as in `keras.layers.Embedding`; not with `lengths`.
        return_sequences: whether there is an answer for each time step, or one at the end.
        pooling: None, or how the outputs of all time steps become one: `"mean"`, `"max"` or `"attention"` (Yang et al.
            2016). The answer is then one for the sequence, whatever `return_sequences` says.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on the inputs and on what goes into the dense layer, a fresh mask in each time step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the controller and on the reads, see
            `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences as a second input, each from 0 to the number of
            time steps. Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        stateful: whether a batch goes on, row by row, from the final states of the batch before: for texts longer than
            a batch. `reset_state` of each recurrent layer begins anew.
        batch_size: None, or the only one that the model takes; needed with `stateful`.
        dtype: dtype policy of the model; the memory is of float32 at least. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a float tensor (batch, time, features) or an int tensor (batch, time), any time;
        with `lengths`, a dict of `inputs`, that tensor, and `lengths`, an int tensor (batch,). Its output is a tensor
        (batch, time, outputs) or (batch, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, sizes do not fit, or `cell` is none of the catalog.

    Example:

    >>> import keras, archs
    >>> model = archs.ntm(features=4, units=6, outputs=3, memory_locations=16, memory_width=5)
    >>> model(keras.ops.ones((3, 7, 4))).shape
    TensorShape([3, 7, 3])
    """
    outputs = outputs_of(outputs)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    return_sequences = checks.flag("return_sequences", return_sequences)
    units = checks.positive_integer("units", units)
    noise = {"recurrent_dropout": recurrent_dropout}
    if cell is not None:
        (cell,) = make_cells(cell, [units], **noise, dtype=dtype)
        noise = {}
    machine = entry("ntm", "cell").target(
        units,
        cell=cell,
        memory_locations=memory_locations,
        memory_width=memory_width,
        read_heads=read_heads,
        write_heads=write_heads,
        shift_range=shift_range,
        read_memory=read_memory,
        first_weighting=first_weighting,
        first_memory=first_memory,
        learn_first_states=learn_first_states,
        output_reads=output_reads,
        key_activation=key_activation,
        add_activation=add_activation,
        clip=clip,
        dtype=cell.dtype_policy if cell else dtype,
        **noise,
    )
    policy = machine.dtype_policy.name
    inputs, sequences, mask, _ = sequence_inputs(
        features,
        lengths=lengths,
        dtype=policy,
        vocabulary=vocabulary,
        mask_zero=mask_zero,
        batch_size=batch_size,
    )
    sequences = run_cells(
        [machine],
        sequences,
        mask=mask,
        return_sequences=return_sequences or pooling is not None,
        dropout=dropout,
        stateful=stateful,
    )
    answer = head(sequences, outputs, mask=mask, pooling=pooling, activation=activation, dtype=machine.variable_dtype)
    return SequenceModel(inputs, answer, name=name)
