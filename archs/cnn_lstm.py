"""Convolutions below, recurrent layers above: for frames, or for signals and spectrograms."""

import keras

from archs._core import checks
from archs._core.frames import (
    EachFrame,
    TimeBatchNormalization,
    TimeConvolution,
    backbone_of,
    convolution_settings,
    convolve,
    holds_batch_normalization,
)
from archs._core.head import head, outputs_of
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch
from archs._core.stack import equal_sizes, make_cells, run_cells


@arch(paper="Donahue et al. 2015; Sainath et al. 2015", url="https://arxiv.org/abs/1411.4389", year=2015)
def cnn_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    vocabulary=None,
    mask_zero=False,
    filters=None,
    kernel_size=None,
    strides=None,
    normalization=None,
    backbone=None,
    return_sequences=False,
    pooling=None,
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    residual=False,
    lengths=False,
    dtype=None,
    name="cnn_lstm",
):
    """Convolutions that look at each frame, or along time at a signal, recurrent layers on what they see.

        signals (batch, time, features) -> Conv1D -> ... -> Recurrent -> ... -> Dense -> (batch, outputs)
        frames (batch, time, height, width, channels) -> each frame: Conv2D -> ... -> Flatten -> Recurrent -> ...
        with `backbone`, any (batch, time, ...)       -> each time step: backbone -> Flatten -> Recurrent -> ...

    J. Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and Description", CVPR 2015
    (frames); T. N. Sainath et al., "Convolutional, Long Short-Term Memory, fully connected Deep Neural Networks",
    ICASSP 2015 (spectrograms).

    A `backbone` is a network of one's own for each frame, for instance one of `keras.applications` with
    `include_top=False, pooling="avg"`. It is given the frames as they come: scale them as it wants them. Freeze it by
    `backbone.trainable = False`, or train it along.

    Masks: what a mask leaves out changes no answer, be it made of `lengths`, of `mask_zero`, or one that arrives with
    the inputs, and no statistics of `normalization="batch"`. It is zero for each convolution, which sees zeros after
    the end as before the beginning. Where convolutions stride along time, what they hand on ends at the length divided
    by the strides, rounded up, and padding before a signal shifts the places that they look at.

    Args:
        features: size of one time step of a signal; with `vocabulary`, of a token's embedding; or (height, width,
            channels) of a frame.
        units: sizes of the recurrent layers, lowest first, or one integer for each cell of the list `cell`.
        outputs: size of the answer, for instance the number of classes. None: no dense layer, the features below it.
        cell: a catalog name, a cell class, or a function `units -> cell`; or a list of them, one per layer.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, time).
        mask_zero: whether token 0 is padding, wherever it stands, as in `keras.layers.Embedding`; not with `lengths`.
        filters: number of filters of each convolution, lowest first, or of the only one. Default: 32 and 64.
        kernel_size: of each convolution. Default: 3.
        strides: of each convolution: along time for signals, over the picture for frames, whose time stays as it is.
            Default: 2.
        normalization: None, `"batch"` or `"layer"`: of the channels, between each convolution and its rectified linear
            units.
        backbone: None, or a `keras.Model` or layer that sees each time step on its own, of its own dtype policy, in the
            place of the convolutions. What it says is flattened.
        return_sequences: whether there is an answer for each time step that the recurrent layers see, or one.
        pooling: None, or how the outputs of all time steps become one: `"mean"`, `"max"` or `"attention"` (Yang et al.
            2016). The answer is then one for the sequence, whatever `return_sequences` says.
        activation: of the dense layer. Default None: logits. Convolutions have rectified linear units.
        dropout: rate in [0, 1) on what goes into each recurrent layer and out of the last, a fresh mask in each time
            step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        residual: whether each recurrent layer but the lowest adds its input to its output; needs layers of equal output
            size.
        lengths: whether the model takes the lengths of its sequences as a second input, each from 0 to the number of
            time steps. Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a float tensor (batch, time, features) or (batch, time, height, width, channels),
        or an int tensor (batch, time), any time; with `lengths`, a dict of `inputs`, that tensor, and `lengths`, an int
        tensor (batch,). Its output is a tensor (batch, outputs) or (batch, shorter time, outputs), of float32 also
        under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, sizes do not fit, or `cell` is none of the three; or a `backbone`
            comes with an argument of the convolutions, or, with `lengths`, has a trainable `BatchNormalization`, whose
            statistics would take padding in.

    Example:

    >>> import keras, archs
    >>> model = archs.cnn_lstm(features=(16, 16, 1), units=6, outputs=2, filters=[4, 8])
    >>> model(keras.ops.ones((3, 5, 16, 16, 1))).shape
    TensorShape([3, 2])
    """
    outputs = outputs_of(outputs)
    convolutions = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "normalization": normalization}
    if backbone is not None:
        _check_backbone(backbone, convolutions, lengths)
    filters, kernel_size, strides, normalization = convolution_settings(**convolutions)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    return_sequences = checks.flag("return_sequences", return_sequences)
    cells = make_cells(cell, units, recurrent_dropout=recurrent_dropout, dtype=dtype)
    policy, residual = cells[0].dtype_policy.name, equal_sizes(residual, cells)
    inputs, sequences, mask, _ = sequence_inputs(
        features,
        lengths=lengths,
        dtype=policy,
        vocabulary=vocabulary,
        mask_zero=mask_zero,
        frames=vocabulary is None,
    )
    given = {"kernel_size": kernel_size, "strides": strides, "dtype": policy}
    given["activation"] = "relu" if normalization is None else None
    is_frames = len(sequences.shape) == 5

    def normalized(seen, number):
        kinds = {"batch": TimeBatchNormalization, "layer": keras.layers.LayerNormalization}
        layer = kinds[normalization](dtype=policy, name=f"normalization_{number}")
        seen = layer(seen, mask=mask) if normalization == "batch" else layer(seen)
        return keras.layers.Activation("relu", dtype=policy, name=f"activation_{number}")(seen)

    if backbone is not None or (is_frames and normalization is None):
        frame = keras.Input(sequences.shape[2:], name="frame", dtype=sequences.dtype)
        seen = convolve(frame, dtype=policy, **convolutions) if backbone is None else backbone(frame)
        seen_by = policy if backbone is None else backbone.dtype_policy
        if len(seen.shape) > 2:
            seen = keras.layers.Flatten(dtype=seen_by)(seen)
        frames = SequenceModel(frame, seen, name="convolutions" if backbone is None else "backbone")
        sequences = EachFrame(frames, dtype=seen_by, name="frames")(sequences)
    elif is_frames:
        for number, n in enumerate(filters, 1):
            convolution = keras.layers.Conv2D(n, padding="same", **given)
            sequences = EachFrame(convolution, dtype=policy, name=f"convolution_{number}")(sequences)
            sequences = normalized(sequences, number)
        sequences = EachFrame(keras.layers.Flatten(dtype=policy), dtype=policy, name="frames")(sequences)
    else:
        for number, n in enumerate(filters, 1):
            convolution = TimeConvolution(n, **given, name=f"convolution_{number}")
            sequences = convolution(sequences, mask=mask)
            mask = convolution.compute_mask(sequences, mask)
            if normalization is not None:
                sequences = normalized(sequences, number)
    sequences = run_cells(
        cells,
        sequences,
        mask=mask,
        return_sequences=return_sequences or pooling is not None,
        dropout=dropout,
        residual=residual,
    )
    answer = head(sequences, outputs, mask=mask, pooling=pooling, activation=activation, dtype=cells[0].variable_dtype)
    return SequenceModel(inputs, answer, name=name)


def _check_backbone(backbone, convolutions, lengths):
    backbone_of(backbone, convolutions)
    if lengths and holds_batch_normalization(backbone):
        raise ValueError(
            f"Expected a `backbone` without trainable BatchNormalization, whose statistics would take padding in, with "
            f"`lengths=True`, received {backbone.name!r}. Set its `trainable = False`, or give no `lengths`."
        )
