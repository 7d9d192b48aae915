"""Convolutions below, recurrent layers above: for frames, or for signals and spectrograms."""

import keras

from archs._core import checks
from archs._core.frames import EachFrame, TimeConvolution
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch
from archs._core.stack import make_cells, run_cells


@arch(paper="Donahue et al. 2015; Sainath et al. 2015", url="https://arxiv.org/abs/1411.4389", year=2015)
def cnn_lstm(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    filters=(32, 64),
    kernel_size=3,
    strides=2,
    return_sequences=False,
    activation=None,
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    dtype=None,
    name="cnn_lstm",
):
    """Convolutions that look at each frame, or along time at a signal, recurrent layers on what they see.

        signals (batch, time, features) -> Conv1D -> ... -> Recurrent -> ... -> Dense -> (batch, outputs)
        frames (batch, time, height, width, channels) -> each frame: Conv2D -> ... -> Flatten -> Recurrent -> ...

    J. Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and Description", CVPR 2015
    (frames); T. N. Sainath et al., "Convolutional, Long Short-Term Memory, fully connected Deep Neural Networks",
    ICASSP 2015 (spectrograms).

    Masks: what a mask leaves out changes no answer, be it made of `lengths` or one that arrives with the inputs. It is
    zero for each convolution, which sees zeros after the end as before the beginning. Where convolutions stride along
    time, what they hand on ends at the length divided by the strides, rounded up, and padding before a signal shifts
    the places that they look at.

    Args:
        features: size of one time step of a signal; or (height, width, channels) of a frame.
        units: sizes of the recurrent layers, lowest first, or one integer for each cell of the list `cell`.
        outputs: size of the answer, for instance the number of classes.
        cell: a catalog name, a cell class, or a function `units -> cell`; or a list of them, one per layer.
        filters: number of filters of each convolution, lowest first, or of the only one.
        kernel_size: of each convolution.
        strides: of each convolution: along time for signals, over the picture for frames, whose time stays as it is.
        return_sequences: whether there is an answer for each time step that the recurrent layers see, or one.
        activation: of the dense layer. Default None: logits. Convolutions have rectified linear units.
        dropout: rate in [0, 1) on what goes into each recurrent layer and out of the last.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences as a second input, each from 0 to the number of
            time steps. Others are refused, but not in a graph that XLA compiles, nor in one of another backend.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its input is a float tensor (batch, time, features) or (batch, time, height, width, channels),
        any time; with `lengths`, a dict of `inputs`, that tensor, and `lengths`, an int tensor (batch,). Its output is
        a tensor (batch, outputs) or (batch, shorter time, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the three.

    Example:

    >>> import keras, archs
    >>> model = archs.cnn_lstm(features=(16, 16, 1), units=6, outputs=2, filters=[4, 8])
    >>> model(keras.ops.ones((3, 5, 16, 16, 1))).shape
    TensorShape([3, 2])
    """
    outputs = checks.positive_integer("outputs", outputs)
    filters = filters if isinstance(filters, (tuple, list)) else [filters]
    filters = [checks.positive_integer("filters", n) for n in filters]
    kernel_size = checks.positive_integer("kernel_size", kernel_size)
    strides = checks.positive_integer("strides", strides)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    return_sequences = checks.flag("return_sequences", return_sequences)
    cells = make_cells(cell, units, recurrent_dropout=recurrent_dropout, dtype=dtype)
    policy = cells[0].dtype_policy.name
    inputs, sequences, mask, _ = sequence_inputs(features, lengths=lengths, dtype=policy, frames=True)
    given = {"kernel_size": kernel_size, "strides": strides, "activation": "relu", "dtype": policy}
    if len(sequences.shape) == 5:
        frame = keras.Input(sequences.shape[2:], name="frame", dtype=sequences.dtype)
        seen = frame
        for n in filters:
            seen = keras.layers.Conv2D(n, padding="same", **given)(seen)
        frames = SequenceModel(frame, keras.layers.Flatten(dtype=policy)(seen), name="convolutions")
        sequences = EachFrame(frames, dtype=policy, name="frames")(sequences)
    else:
        for number, n in enumerate(filters, 1):
            convolution = TimeConvolution(n, **given, name=f"convolution_{number}")
            sequences = convolution(sequences, mask=mask)
            mask = convolution.compute_mask(sequences, mask)
    sequences = run_cells(cells, sequences, mask=mask, return_sequences=return_sequences, dropout=dropout)
    # A loss or a client wants no half types: the answer has the dtype of the weights.
    dense = keras.layers.Dense(outputs, activation=activation, dtype=cells[0].variable_dtype, name="outputs")
    return SequenceModel(inputs, dense(sequences), name=name)
