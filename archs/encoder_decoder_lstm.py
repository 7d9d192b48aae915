"""Sequence to sequence: an encoder that reads one, a decoder that writes the other, attention between them."""

import keras

from archs._core import checks
from archs._core.attention_losses import CoverageLoss
from archs._core.cell import Cell
from archs._core.decoder import attentive, attentive_start, run_decoder
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.recurrent import Recurrent
from archs._core.registry import arch, state_sizes
from archs._core.stack import make_cells


@arch(paper="Sutskever et al. 2014; Bahdanau et al. 2014", url="https://arxiv.org/abs/1409.3215", year=2014)
def encoder_decoder_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    attention="bahdanau",
    heads=1,
    local=None,
    window=10,
    coverage=None,
    coverage_loss=1.0,
    bidirectional=False,
    vocabulary=None,
    mask_zero=False,
    decoder_units=None,
    decoder_features=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    dtype=None,
    name="encoder_decoder_lstm",
):
    """Encoder that reads a sequence, decoder that writes another, token by token, looking back at the first.

        inputs (batch, time, features) -> encoder: Recurrent -> ... -> memory, final states
        decoder_inputs (batch, steps) -> Embedding -> Recurrent from those states, which reads the memory -> Dense
                                                                                    -> (batch, steps, outputs)

    I. Sutskever, O. Vinyals, Q. V. Le, "Sequence to Sequence Learning with Neural Networks", NIPS 2014; with attention:
    D. Bahdanau, K. Cho, Y. Bengio, 2014, and M.-T. Luong, H. Pham, C. D. Manning, 2015. `attention_decoder` has the
    equations of these, and the sources of `local`, `coverage` and `heads`.

    In training the decoder is fed the tokens that it should have written before (teacher forcing): `decoder_inputs`
    are the targets one step later, a start token in front. `archs.decoding` writes without targets: `beam_search` and
    `sample`; and `attention`, where it looked.

    Each layer of the decoder starts from the final states of the encoder's layer of the same height, of a
    bidirectional one from the mean of both ways (Bahdanau: a dense layer on the way back's output). With several layers
    it is the highest one that attends, and with Luong's attentions that is fed what it saw in the step before. Where
    `decoder_units` are other sizes, heights count from the top, the layers that a deeper decoder has below start as the
    encoder's lowest, and a state of another size goes through a dense layer with tanh, `bridge_<layer>_<state>`
    (Bahdanau et al. 2014, appendix A.2.2).

    With `decoder_features` the decoder reads vectors and answers with numbers, for instance to forecast: `inputs` are
    the past, `decoder_inputs` what is known of each step to come, such as calendar and prices, and one call answers for
    all steps. Nothing that it wrote is fed back.

    Masks: what a mask leaves out of the inputs is never read, and what one leaves out of `decoder_inputs` changes no
    answer to the other time steps, be it made of `lengths` and `decoder_lengths`, of `mask_zero`, or one that arrives
    with the inputs (of which `archs.decoding` does not know). The output carries the decoder's mask, so that losses and
    metrics of Keras leave the padding out.

    Args:
        features: size of one time step of the inputs; with `vocabulary`, of a token's embedding. Also the size of the
            embeddings of the decoder's tokens, if it reads tokens.
        units: sizes of the layers, lowest first, in the encoder (in each direction) and in the decoder, or one integer
            for each cell of the list `cell`.
        outputs: number of tokens that the decoder can write; with `decoder_features`, of numbers in each step.
        cell: a catalog name, a cell class, or a function `units -> cell`; or a list of them, one per layer.
        attention: `"bahdanau"`, `"luong"`, `"luong_dot"`, `"luong_concat"`, or None, with which the decoder knows the
            final states alone. With `"luong_dot"` the outputs of the last layers of both are of one size.
        heads: number of heads of attention; it divides the sizes of the outputs of both last layers.
        local: None, `"monotonic"` or `"predictive"`: which part of the inputs is looked at in a step.
        window: of `local`, how far from its middle entries are read.
        coverage: None, `"score"` or `"fertility"`: with attention `"bahdanau"` or `"luong_concat"`, it takes into
            account what was looked at before.
        coverage_loss: factor of See's loss of coverage, which a layer adds in training, as a mean over the tokens.
        bidirectional: whether the encoder reads both ways.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, time).
        mask_zero: whether token 0 is padding, in the inputs and in the decoder's, wherever it stands, as in
            `keras.layers.Embedding`; not with `lengths`. The start token is then another.
        decoder_units: None, or the sizes of the decoder's layers, as `units`; with a list `cell`, as many.
        decoder_features: None, or the size of one step of the decoder's inputs, which are then vectors; none of its
            steps is then padding but by `lengths`.
        dropout: rate in [0, 1) on what goes into each layer and out of the last, a fresh mask in each time step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences, too, each from 0 to the number of time steps.
            Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its inputs are a dict of `inputs`, a float tensor (batch, time, features) or an int tensor
        (batch, time), and `decoder_inputs`, an int tensor (batch, steps), or a float tensor (batch, steps,
        decoder_features); with `lengths` also of `lengths` and `decoder_lengths`, int tensors (batch,). Its output is a
        tensor of logits, or numbers, (batch, steps, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the three; or `decoder_units` are other sizes
            of a cell whose states no dense layer can make: `slstm`, whose memory is in parts.

    Example:

    >>> import keras, archs
    >>> model = archs.encoder_decoder_lstm(features=4, units=6, outputs=9)
    >>> model({"inputs": keras.ops.ones((3, 5, 4)), "decoder_inputs": keras.ops.ones((3, 7), "int32")}).shape
    TensorShape([3, 7, 9])
    """
    outputs = checks.positive_integer("outputs", outputs)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    bidirectional = checks.flag("bidirectional", bidirectional)
    coverage_loss = checks.not_negative("coverage_loss", coverage_loss)
    looks = {"attention": attention, "heads": heads, "local": local, "window": window, "coverage": coverage}
    if attention is None and (heads, local, window, coverage) != (1, None, 10, None):
        raise ValueError(f"Expected `heads`, `local`, `window` and `coverage` with an `attention`, received {looks}.")
    checks.one_of("coverage", coverage, (None, "score", "fertility"))
    given = {"recurrent_dropout": recurrent_dropout, "dtype": dtype}
    encoder_cells = make_cells(cell, units, **given)
    policy = encoder_cells[0].dtype_policy.name

    def dropped(tensor, name):
        return keras.layers.Dropout(dropout, dtype=policy, name=name)(tensor) if dropout else tensor

    inputs, sequences, mask, _ = sequence_inputs(
        features, lengths=lengths, dtype=policy, vocabulary=vocabulary, mask_zero=mask_zero
    )
    finals = []
    for number, one in enumerate(encoder_cells, 1):
        layer = Recurrent(one, return_sequences=True, return_state=True, name=f"encoder_{number}")
        if bidirectional:
            layer = keras.layers.Bidirectional(layer, dtype=policy, name=f"bidirectional_{number}")
        sequences, *states = layer(dropped(sequences, f"dropout_{number}"), mask=mask)
        ways = len(states) // 2
        if bidirectional:
            states = [(there + back) / 2 for there, back in zip(states[:ways], states[ways:], strict=True)]
        finals.append(states)
    memory = dropped(sequences, "dropout_memory")
    decoder_cells = make_cells(cell, units if decoder_units is None else decoder_units, **given)
    if decoder_units is not None:
        finals = _bridged(finals, decoder_cells, policy)
    encoded = {"states": finals}
    if attention is not None:
        decoder_cells = attentive(decoder_cells, memory_size=memory.shape[-1], **looks)
        finals[-1] = attentive_start(decoder_cells[-1], finals[-1], memory)
        encoded |= {"memory": memory} | ({} if mask is None else {"mask": mask})
    encoder = SequenceModel(inputs, encoded, name="encoder")

    inputs = inputs if lengths else {"inputs": inputs}
    inputs = {key: keras.Input(tensor.shape[1:], name=key, dtype=tensor.dtype) for key, tensor in inputs.items()}
    encoded = encoder(inputs if lengths else inputs["inputs"])
    reads_tokens = decoder_features is None
    fed, sequences, mask, _ = sequence_inputs(
        features if reads_tokens else decoder_features,
        lengths=lengths,
        dtype=policy,
        vocabulary=outputs if reads_tokens else None,
        mask_zero=mask_zero and reads_tokens,
        prefix="decoder_",
    )
    inputs |= fed if lengths else {"decoder_inputs": fed}
    said, finals = run_decoder(decoder_cells, sequences, encoded, mask=mask, dropout=dropout)
    if coverage is not None and coverage_loss:
        overlap = finals[decoder_cells[-1].states.index("overlap")]
        said = CoverageLoss("twice", coverage_loss, dtype=policy, name="coverage_loss")(said, overlap, mask=mask)
    # A loss or a client wants no half types: the answer has the dtype of the weights.
    dense = keras.layers.Dense(outputs, dtype=encoder_cells[0].variable_dtype, name="outputs")
    return SequenceModel(inputs, dense(said), name=name)


def _bridged(finals, cells, policy):
    """The initial states of the decoder's `cells`, from the final ones of each layer of the encoder, lowest first."""
    starts = []
    for number, cell in enumerate(cells, 1):
        states, sizes = finals[max(len(finals) - len(cells) + number - 1, 0)], state_sizes(cell)
        names = cell.states if isinstance(cell, Cell) else range(1, len(sizes) + 1)
        is_other = [state.shape[-1] != size for state, size in zip(states, sizes, strict=True)]
        if any(is_other) and getattr(cell, "one_memory", ()):
            raise ValueError(
                f"Expected `decoder_units` of the sizes of the encoder with {type(cell).__name__}, whose states "
                f"{', '.join(cell.one_memory)} are one memory, received {cell.units} for layer {number}."
            )
        starts.append(
            [
                keras.layers.Dense(size, activation="tanh", dtype=policy, name=f"bridge_{number}_{name}")(state)
                if other
                else state
                for state, size, name, other in zip(states, sizes, names, is_other, strict=True)
            ]
        )
    return starts
