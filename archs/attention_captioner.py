"""Captions of images: convolutions see them, a decoder writes, and attends to the places that each word is about."""

import keras
from keras import ops

from archs._core import checks
from archs._core.attention_losses import CoverageLoss, HardAttentionLoss
from archs._core.cell import Cell
from archs._core.decoder import AttentionDraws, attentive, attentive_start, run_decoder
from archs._core.frames import backbone_of, convolve
from archs._core.head import Pooling
from archs._core.inputs import sequence_inputs
from archs._core.model import SequenceModel
from archs._core.registry import arch, initial_states, output_size, state_sizes
from archs._core.stack import make_cells


@arch(paper="Xu et al. 2015", url="https://arxiv.org/abs/1502.03044", year=2015)
def attention_captioner(
    features,
    units,
    outputs,
    *,
    cell="lstm",
    token_features=None,
    backbone=None,
    weights=None,
    filters=None,
    kernel_size=None,
    strides=None,
    normalization=None,
    gate=True,
    penalty=1.0,
    hard=False,
    reward=0.1,
    entropy=0.002,
    expectation=0.5,
    dropout=0.0,
    recurrent_dropout=0.0,
    lengths=False,
    seed=None,
    dtype=None,
    name="attention_captioner",
):
    r"""Convolutions that see an image, decoder that writes its caption and looks at the places of which it writes.

        inputs (batch, height, width, channels) -> convolutions -> places (batch, rows * columns, depth): the memory
        mean of the places -> Dense, tanh -> first states of the decoder
        decoder_inputs (batch, steps) -> Embedding -> Recurrent, which reads the memory -> Dense
                                                                                  -> (batch, steps, outputs)

    K. Xu, J. Ba, R. Kiros, K. Cho, A. Courville, R. Salakhutdinov, R. Zemel, Y. Bengio, "Show, Attend and Tell: Neural
    Image Caption Generation with Visual Attention", ICML 2015: equations (1) to (11) and (14), and section 4.2.1.

    The decoder is `attention_decoder`, with Xu's output, whose last step, L_o, is the dense layer here:
    $p(y_t) \propto \exp(L_o(E y_{t-1} + L_h h_t + L_z \hat z_t))$, and with `gate` its number beta. In training it is
    fed the tokens that it should have written before (teacher forcing), a start token in front. `archs.decoding` writes
    without: `beam_search` and `sample`; and `attention` tells at which places it looked, row by row of what
    `model.get_layer("encoder").get_layer("annotations").input` is, (batch, rows, columns, depth).

    Loss: the cross-entropy, by `compile`. In training the layers of the model add the rest to it, as sums over the
    steps of a caption divided by the mean number of steps, so that it all stands in the paper's proportion to a mean
    over tokens, as Keras' losses are: $\lambda \sum_i (1 - \sum_t \alpha_{ti})^2$ with `penalty`, and with `hard` what
    the estimator of section 4.1 has the gradient of, $-\lambda_r (\log p(y) - b) \log p(s) - \lambda_e H[s]$. The loss
    of `evaluate` is the cross-entropy alone.

    Hard attention looks at one place in each step, drawn in training only. Otherwise the decoder reads the expectation,
    the places by their weights. All weights are those of soft attention, and one more, the baseline b, so that hard
    attention can be trained on from soft: `hard.get_layer(name).set_weights(soft.get_layer(name).get_weights())` for
    `encoder`, `decoder_embedding`, `decoder_1` and on, and `outputs`.

    Departures from the paper: the places are those of a small network of its own, trained along, if no `backbone` is
    given. The reward lacks log p of the end token, which the decoder is not fed; b is that of the batches before. beta
    and the score have no biases. The first states are one dense layer with tanh each; states that count steps, or are
    one memory in parts, start as the cell's own. In half precision the random numbers that choose a place are rounded
    to that type.

    Masks: padding of captions changes no answer. With an integer `features`, what `lengths` or a mask that arrives with
    the inputs leaves out is never read. The output carries the decoder's mask, so that losses and metrics of Keras
    leave the padding out.

    Args:
        features: (height, width, channels) of an image, or an integer, the depth of places that were computed before;
            the inputs are then these, (batch, places, features).
        units: sizes of the layers of the decoder, lowest first, or one integer for each cell of the list `cell`. The
            highest attends.
        outputs: number of tokens that the decoder can write.
        cell: a catalog name, a cell class, or a function `units -> cell`; or a list of them, one per layer.
        token_features: size of the embedding of a token, and of what the dense layer reads. Default: that of the
            highest layer.
        backbone: None, or a `keras.Model` or layer that sees an image and answers with (batch, rows, columns, depth),
            or the name of one of `keras.applications`, such as `"MobileNetV2"`. It gets the images unscaled:
            apply the `preprocess_input` of the application first. To freeze it:
            `get_layer("encoder").get_layer("backbone").trainable = False`.
        weights: of a backbone by name: None, drawn at random, or `"imagenet"`, which are downloaded, or a path.
        filters: number of filters of each convolution, lowest first, or of the only one. Default: 32 and 64.
        kernel_size: of each convolution. Default: 3.
        strides: of each convolution: over the image. Default: 2.
        normalization: None, `"batch"` or `"layer"`: of the channels, between each convolution and its rectified linear
            units. With `"batch"`, train on batches of captions of any lengths: images of short captions have other
            statistics than those of long ones.
        gate: whether the decoder weighs what it saw by the number beta.
        penalty: lambda, 0 for none. The paper has 1 with soft attention, and none with hard.
        hard: whether the decoder looks at one place at a time.
        reward: lambda_r, of hard attention.
        entropy: lambda_e, of hard attention.
        expectation: share of the images that hard attention reads by its weights in training, too.
        dropout: rate in [0, 1) on the places, on what goes into each layer and out of the last, a fresh mask in each
            time step.
        recurrent_dropout: rate in [0, 1) on the recurrent products of the cells, see `archs.Cell`.
        lengths: whether the model takes the lengths of its sequences, too, each from 0 to the number of time steps:
            of the captions, and with an integer `features` also the number of places of each image.
        seed: of what hard attention draws.
        dtype: dtype policy of the model, but for a `backbone`. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. Its inputs are a dict of `inputs`, a float tensor (batch, height, width, channels) or (batch,
        places, features), and `decoder_inputs`, an int tensor (batch, steps), of at least one step; with `lengths` also
        of `decoder_lengths`, an int tensor (batch,), and with an integer `features` of `lengths`, likewise. Its output
        is a tensor of logits, (batch, steps, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `cell` is none of the three; or a `backbone` comes with an
            argument of the convolutions or with an integer `features`, or does not answer with places. On a call:
            images of another shape, a caption without a start token, or lengths out of their range.

    Example:

    >>> import keras, archs
    >>> model = archs.attention_captioner(features=(28, 28, 1), units=6, outputs=9)
    >>> x = {"inputs": keras.ops.ones((3, 28, 28, 1)), "decoder_inputs": keras.ops.ones((3, 7), "int32")}
    >>> model(x).shape
    TensorShape([3, 7, 9])
    """
    outputs = checks.positive_integer("outputs", outputs)
    dropout = checks.rate("dropout", dropout)
    recurrent_dropout = checks.rate("recurrent_dropout", recurrent_dropout)
    penalty, hard = checks.not_negative("penalty", penalty), checks.flag("hard", hard)
    reward, entropy = checks.not_negative("reward", reward), checks.not_negative("entropy", entropy)
    expectation = checks.between("expectation", expectation, 0, 1)
    cells = make_cells(cell, units, recurrent_dropout=recurrent_dropout, dtype=dtype)
    policy = cells[0].dtype_policy.name
    token_features = output_size(cells[-1]) if token_features is None else token_features
    convolutions = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "normalization": normalization}
    inputs, places, mask = _places(features, backbone, weights, convolutions, lengths, policy)
    starts = _starts(cells, Pooling("mean", dtype=policy, name="mean")(places, mask=mask), policy)
    if dropout:
        places = keras.layers.Dropout(dropout, dtype=policy, name="dropout_memory")(places)
    cells = attentive(
        cells,
        checks.positive_integer("token_features", token_features),
        memory_size=places.shape[-1],
        gate=gate,
        deep_output=True,
        hard=hard,
        coverage="sum" if penalty else None,
    )
    starts[-1] = attentive_start(cells[-1], starts[-1], places)
    encoded = {"states": starts, "memory": places} | ({} if mask is None else {"mask": mask})
    encoder = SequenceModel(inputs, encoded, name="encoder")

    inputs = inputs if isinstance(inputs, dict) else {"inputs": inputs}
    inputs = {key: keras.Input(tensor.shape[1:], name=key, dtype=tensor.dtype) for key, tensor in inputs.items()}
    encoded = encoder(inputs if len(inputs) > 1 else inputs["inputs"])
    fed, sequences, mask, _ = sequence_inputs(
        token_features, lengths=lengths, dtype=policy, vocabulary=outputs, prefix="decoder_"
    )
    inputs |= fed if isinstance(fed, dict) else {"decoder_inputs": fed}
    draws = AttentionDraws(expectation, seed, dtype=policy, name="decoder_draws") if hard else None
    said, finals = run_decoder(cells, sequences, encoded, mask=mask, dropout=dropout, draws=draws)
    kept = dict(zip(cells[-1].states, finals, strict=True))
    if penalty:
        term = CoverageLoss("all", penalty, dtype=policy, name="penalty")
        said = term(said, kept["coverage"], mask=mask, sums_mask=encoded.get("mask"))
    # A loss or a client wants no half types: the answer has the dtype of the weights.
    answer = keras.layers.Dense(outputs, dtype=cells[0].variable_dtype, name="outputs")(said)
    if hard:
        term = HardAttentionLoss(reward, entropy, dtype=policy, name="reinforce")
        answer = term(answer, inputs["decoder_inputs"], kept["log_probability"], kept["entropy"], mask=mask)
    return SequenceModel(inputs, answer, name=name)


def _places(features, backbone, weights, convolutions, lengths, policy):
    """The inputs of the encoder, the places (batch, places, depth) and their mask or None."""
    if not isinstance(features, (tuple, list)):
        given = {"backbone": backbone, "weights": weights, **convolutions}
        given = {key: value for key, value in given.items() if value is not None}
        if given:
            raise ValueError(
                f"Expected `features` to be (height, width, channels) of an image with {', '.join(given)}, received "
                f"{features!r}."
            )
        inputs, places, mask, _ = sequence_inputs(features, lengths=lengths, dtype=policy)
        return inputs, keras.layers.Activation("linear", dtype=policy, name="annotations")(places), mask
    frames, *_ = sequence_inputs(features, lengths=False, dtype=policy, frames=True)
    image = keras.Input(frames.shape[2:], name="image", dtype=frames.dtype)
    if backbone is None:
        if weights is not None:
            raise ValueError(f"Expected no `weights` without the name of a `backbone`, received {weights!r}.")
        seen, called = convolve(image, **convolutions, dtype=policy), "convolutions"
    else:
        seen, called = backbone_of(backbone, convolutions, image.shape[1:], weights)(image), "backbone"
    shape = getattr(seen, "shape", ())  # of several answers there is none
    if len(shape) != 4 or None in shape[1:]:
        raise ValueError(f"Expected a `backbone` that answers with (batch, rows, columns, depth), received {seen}.")
    inputs = keras.Input(image.shape[1:], name="inputs", dtype=image.dtype)
    seen = SequenceModel(image, seen, name=called)(inputs)
    return inputs, keras.layers.Reshape((-1, seen.shape[-1]), dtype=policy, name="annotations")(seen), None


def _starts(cells, mean, policy):
    """The initial states of each cell from the mean of the places."""
    starts = []
    for number, cell in enumerate(cells, 1):
        names = cell.states if isinstance(cell, Cell) else range(1, len(state_sizes(cell)) + 1)
        fixed, states = {*cell.clocks, *cell.one_memory, *cell.own_starts} if isinstance(cell, Cell) else (), []
        for name, own in zip(names, initial_states(cell, 1), strict=True):
            if name in fixed:
                states.append(ops.zeros_like(mean[:, :1]) + ops.convert_to_numpy(ops.cast(own, "float32")))
            else:
                dense = keras.layers.Dense(
                    own.shape[-1], activation="tanh", dtype=policy, name=f"start_{number}_{name}"
                )
                states.append(dense(mean))
        starts.append(states)
    return starts
