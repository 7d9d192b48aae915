"""Sequence to sequence: an encoder that reads one, a decoder that writes the other, attention between them."""

import keras
from keras import ops

from archs._core import checks
from archs._core.cell import Cell
from archs._core.inputs import TokenEmbedding, sequence_inputs
from archs._core.lengths import CutToLengths
from archs._core.model import SequenceModel
from archs._core.recurrent import Recurrent
from archs._core.registry import arch, entry, output_size
from archs._core.stack import make_cells


@arch(paper="Sutskever et al. 2014; Bahdanau et al. 2014", url="https://arxiv.org/abs/1409.3215", year=2014)
def encoder_decoder_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    attention="bahdanau",
    bidirectional=False,
    vocabulary=None,
    mask_zero=False,
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
    D. Bahdanau, K. Cho, Y. Bengio, 2014, and M.-T. Luong, H. Pham, C. D. Manning, 2015, see `attention_decoder`.

    In training the decoder is fed the tokens that it should have written before (teacher forcing): `decoder_inputs`
    are the targets one step later, a start token in front. `archs.decoding` writes without targets: `beam_search`,
    and `attention`, where it looked.

    Each layer of the decoder starts from the final states of the encoder's layer of the same height, of a
    bidirectional one from the mean of both ways (Bahdanau: a dense layer on the way back's output). With several layers
    it is the highest one that attends, and with `attention="luong"` that is fed what it saw in the step before.

    Masks: what a mask leaves out of the inputs is never read, and what one leaves out of `decoder_inputs` changes no
    answer to the other time steps, be it made of `lengths` and `decoder_lengths`, of `mask_zero`, or one that arrives
    with the inputs (of which `archs.decoding` does not know). The output carries the decoder's mask, so that losses and
    metrics of Keras leave the padding out.

    Args:
        features: size of one time step of the inputs; with `vocabulary`, of a token's embedding. Also the size of the
            embeddings of the decoder's tokens.
        units: sizes of the layers, lowest first, in the encoder (in each direction) and in the decoder, or one integer
            for each cell of the list `cell`.
        outputs: number of tokens that the decoder can write.
        cell: a catalog name, a cell class, or a function `units -> cell`; or a list of them, one per layer.
        attention: `"bahdanau"`, `"luong"`, or None, with which the decoder knows the final states alone.
        bidirectional: whether the encoder reads both ways.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, time).
        mask_zero: whether token 0 is padding, in the inputs and in the decoder's, wherever it stands, as in
            `keras.layers.Embedding`; not with `lengths`. The start token is then another.
        dropout: rate in [0, 1) on what goes into each layer and out of the last, a fresh mask in each time step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences, too, each from 0 to the number of time steps.
            Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its inputs are a dict of `inputs`, a float tensor (batch, time, features) or an int tensor
        (batch, time), and `decoder_inputs`, an int tensor (batch, steps); with `lengths` also of `lengths` and
        `decoder_lengths`, int tensors (batch,). Its output is a tensor of logits (batch, steps, outputs), of float32
        also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the three.

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
    if attention is not None:
        checks.one_of("attention", attention, ("bahdanau", "luong"))
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
    decoder_cells, encoded = make_cells(cell, units, **given), {"states": finals}
    if attention is not None:
        inner = decoder_cells.pop()
        if not isinstance(inner, Cell):
            raise ValueError(
                f"Expected a cell of the catalog for the layer that attends, received {inner!r}. Give this layer "
                "another `cell`, or `attention=None`."
            )
        size, attentive = output_size(inner), entry("attention_decoder").target
        decoder_cells.append(
            attentive(size, cell=inner, attention=attention, memory_size=memory.shape[-1], dtype=policy)
        )
        finals[-1] = [ops.zeros_like(finals[-1][0]), *finals[-1]]
        encoded |= {"memory": memory} | ({} if mask is None else {"mask": mask})
    encoder = SequenceModel(inputs, encoded, name="encoder")

    inputs = inputs if lengths else {"inputs": inputs}
    inputs = {key: keras.Input(tensor.shape[1:], name=key, dtype=tensor.dtype) for key, tensor in inputs.items()}
    encoded = encoder(inputs if lengths else inputs["inputs"])
    inputs["decoder_inputs"] = keras.Input((None,), name="decoder_inputs", dtype="int32")
    embedding = TokenEmbedding(outputs, features, mask_zero=mask_zero, dtype=policy, name="decoder_embedding")
    sequences, mask = embedding(inputs["decoder_inputs"]), embedding.compute_mask(inputs["decoder_inputs"])
    if lengths:
        inputs["decoder_lengths"] = keras.Input((), name="decoder_lengths", dtype="int32")
        cut = CutToLengths(dtype=policy, name="decoder_cut")
        sequences, mask = cut(sequences, inputs["decoder_lengths"])
    for number, (one, states) in enumerate(zip(decoder_cells, encoded["states"], strict=True), 1):
        layer = Recurrent(one, return_sequences=True, name=f"decoder_{number}")
        reads = getattr(one, "reads_memory", False)
        read = {"memory": encoded["memory"], "memory_mask": encoded.get("mask")} if reads else {}
        sequences = layer(dropped(sequences, f"decoder_dropout_{number}"), initial_state=states, mask=mask, **read)
    # A loss or a client wants no half types: the answer has the dtype of the weights.
    dense = keras.layers.Dense(outputs, dtype=encoder_cells[0].variable_dtype, name="outputs")
    return SequenceModel(inputs, dense(dropped(sequences, "dropout_out")), name=name)
