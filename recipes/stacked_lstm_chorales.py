"""Bach chorales, frame by frame: an LSTM layer says which of a piano's 88 keys will sound next.

    python -m recipes train stacked_lstm_chorales

Data: piano rolls of 382 chorales in the splits of Boulanger-Lewandowski et al. 2012, 229 to train, 76 to validate, 77
to test. TFDS downloads 0.1 MB. `--dataset=nottingham`, `piano_midi` and `muse_data` take their other collections.
The figure is the negative log-likelihood of a frame given all frames before it, in nats, summed over the keys and
averaged over the frames of the whole test split, but for the first of each piece, as Bai et al. 2018 compute it.
Result: 8.14 (8.12 to 8.16 over seeds 0, 1 and 2) with `--cell=lstm`, 8.36 (8.33 to 8.40) with `gru` and 8.36 (8.36 to
8.37) with `simple_rnn`; 248,888, 191,088 and 75,488 parameters, about 75, 80 and 38 seconds of training on two CPU
cores shared with other work. Each key with its frequency alone costs 11.09, with what it did in the frame before 10.49.
Bai et al. 2018 have 8.45, 8.43 and 8.91, Chung et al. 2014 8.67, 8.54 and 9.10. That LSTM and GRU are about equal holds
within 0.25; so does the simple network here, other than there.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

import archs
from archs._core import checks
from recipes._core import card, data, export, midi, pictures, plots, signatures, training

# Name of the dataset -> how many quarter notes a frame lasts.
DATASETS = {"jsb_chorales": 1.0, "nottingham": 0.5, "piano_midi": 0.5, "muse_data": 0.5}

GAIN = 5.0  # of the inputs: as only 4 of 88 keys sound in a frame, it brings their mean square to 1
PRIMER = 16  # frames of a piece from which the model goes on, in the picture

METRIC = "test_nll"
PUBLISHED = {
    "jsb_chorales": {
        "Bai et al. 2018, LSTM": 8.45,
        "Bai et al. 2018, GRU": 8.43,
        "Bai et al. 2018, RNN": 8.91,
        "Chung et al. 2014, LSTM": 8.67,
        "Chung et al. 2014, GRU": 8.54,
        "Chung et al. 2014, RNN": 9.10,
    },
    "nottingham": {
        "Bai et al. 2018, LSTM": 3.29,
        "Bai et al. 2018, GRU": 3.46,
        "Bai et al. 2018, RNN": 4.05,
        "Chung et al. 2014, LSTM": 3.20,
        "Chung et al. 2014, GRU": 3.23,
        "Chung et al. 2014, RNN": 3.13,
    },
    "piano_midi": {
        "Chung et al. 2014, LSTM": 9.03,
        "Chung et al. 2014, GRU": 8.82,
        "Chung et al. 2014, RNN": 9.03,
    },
    "muse_data": {
        "Chung et al. 2014, LSTM": 6.23,
        "Chung et al. 2014, GRU": 5.99,
        "Chung et al. 2014, RNN": 6.23,
    },
}


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "jsb_chorales"  # or nottingham, piano_midi, muse_data
    cell: str = "lstm"  # any cell of `python -m archs`
    units: int = 200  # in each layer
    layers: int = 1  # of more, the upper ones are long in learning anything
    dropout: float = 0.0  # of 4 keys that sound, none can be spared
    recurrent_dropout: float = 0.5  # or so few chorales are soon known by heart
    epochs: int = 30
    batch_size: int = 4
    learning_rate: float = 5e-3  # falls to zero along a cosine, so that the last epoch is the one to keep
    clipnorm: float = 1.0
    window: int = 200  # longer pieces are trained on in parts of so many frames; no chorale is
    seed: int = 0

    def __post_init__(self):
        for name in ("layers", "epochs", "batch_size", "window"):
            checks.positive_integer(name, getattr(self, name))
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("clipnorm", self.clipnorm)
        checks.between("seed", self.seed, 0, 2**32 - 1)


def load(cfg, data_dir=None):
    """The splits of the dataset. Rolls stay bytes, (pieces, frames, 88), until they are batched."""
    builder = data.prepare(f"piano_rolls/{cfg.dataset}", data_dir=data_dir)
    train, validation, test = (
        [example["roll"] for example in data.examples(builder, split)] for split in ("train", "validation", "test")
    )
    train, validation, test = (
        data.columns({"roll": roll} for roll in rolls) for rolls in (windows(train, cfg.window), validation, test)
    )

    def example(batch, seed):
        lengths = batch["roll_length"] - 1
        frames = tf.cast(batch["roll"][:, : tf.reduce_max(lengths) + 1], tf.float32)
        return {"inputs": GAIN * frames[:, :-1], "lengths": lengths}, frames[:, 1:]

    return data.Splits(
        train=data.Batches(train, cfg.batch_size, example, seed=cfg.seed, lengths=train["roll_length"]),
        validation=data.Batches(validation, cfg.batch_size, example, lengths=validation["roll_length"]),
        test=test,
        facts=data.describe(builder, train, validation, test),
        more={"beats": DATASETS[cfg.dataset]},
    )


def windows(rolls, frames):
    """The rolls in parts of at most `frames` frames to predict; each begins with the last frame of the one before."""
    return [roll[start : start + frames + 1] for roll in rolls for start in range(0, len(roll) - 1, frames)]


def nll(frames, logits):
    """Negative log-likelihood of each frame, in nats."""
    return keras.ops.sum(keras.ops.binary_crossentropy(frames, logits, from_logits=True), axis=-1)


def build_model(cfg, steps):
    """The compiled model; `steps` is the number of training steps, over which the learning rate falls."""
    model = archs.stacked_lstm(
        features=midi.KEYS,
        units=[cfg.units] * cfg.layers,
        outputs=midi.KEYS,
        cell=cfg.cell,
        return_sequences=True,
        dropout=cfg.dropout,
        recurrent_dropout=cfg.recurrent_dropout,
        lengths=True,
    )
    schedule = keras.optimizers.schedules.CosineDecay(cfg.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule, clipnorm=cfg.clipnorm), loss=nll)
    return model


def serving(model, splits):
    """The signatures: a roll in; what comes next, and how likely the roll is; or a continuation of it, drawn."""
    layers = [layer for layer in model.layers if isinstance(layer, archs.Recurrent)]
    rolls_and_lengths = [
        tf.TensorSpec((None, None, midi.KEYS), tf.uint8, name="rolls"),
        tf.TensorSpec((None,), tf.int32, name="lengths"),
    ]

    def checked(rolls, lengths):
        rolls, lengths = signatures.checked_lengths(rolls, lengths, names=("rolls", "lengths"))
        with tf.control_dependencies([tf.debugging.assert_less_equal(rolls, np.uint8(1), "rolls: expected 0 or 1")]):
            return tf.cast(rolls, tf.float32), lengths

    def draw(seed):
        return tf.random.stateless_uniform((midi.KEYS,), seed)

    def step(frame, states):
        output, following = GAIN * frame, []
        for layer, state in zip(layers, states, strict=True):
            output, state = layer.cell(output, state, training=False)
            following.append(state)
        return tf.nn.sigmoid(model.get_layer("outputs")(output)), following

    @tf.function(input_signature=rolls_and_lengths)
    def serving_default(rolls, lengths):
        frames, lengths = checked(rolls, lengths)
        logits = model({"inputs": GAIN * frames, "lengths": lengths}, training=False)
        known = tf.sequence_mask(lengths - 1, tf.shape(frames)[1] - 1, tf.float32)
        likelihoods = tf.reduce_sum(known * nll(frames[:, 1:], logits[:, :-1]), axis=1)
        probabilities = tf.nn.sigmoid(logits)
        return {
            "probabilities": probabilities,
            "next": tf.gather(probabilities, lengths - 1, axis=1, batch_dims=1),
            "nll": tf.math.divide_no_nan(likelihoods, tf.cast(lengths - 1, tf.float32)),
        }

    @tf.function(
        input_signature=[
            *rolls_and_lengths,
            tf.TensorSpec((None,), tf.int32, name="steps"),
            tf.TensorSpec((None,), tf.int32, name="seed"),
        ]
    )
    def generate(rolls, lengths, steps, seed):
        frames, lengths = checked(rolls, lengths)
        inputs = signatures.checked_rows({"rolls": frames, "steps": steps, "seed": seed})
        in_range = (inputs["steps"] > 0) & (inputs["steps"] <= signatures.LIMIT)
        expected = signatures.expect(in_range, f"steps: expected 1 to {signatures.LIMIT}")
        frames, steps, seed = signatures.checked(inputs, expected).values()
        most = tf.reduce_max(steps)
        frames = tf.pad(frames, [[0, 0], [0, most], [0, 0]])
        states = [layer.cell.get_initial_state(tf.shape(frames)[0]) for layer in layers]
        count, frame = tf.shape(frames)[1] - 1, frames[:, 0]
        played = tf.TensorArray(tf.float32, count, element_shape=(None, midi.KEYS))
        for t in tf.range(count):
            probabilities, states = step(frame, states)
            seeds = tf.stack([seed, tf.fill(tf.shape(seed), t)], axis=1)
            draws = tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
            drawn = draws < probabilities
            frame = tf.where(t + 1 < lengths[:, None], frames[:, t + 1], tf.cast(drawn, tf.float32))
            played = played.write(t, frame)
        played = tf.transpose(played.stack(), [1, 0, 2])
        drawn = tf.gather(played, lengths[:, None] - 1 + tf.range(most), axis=1, batch_dims=1)
        drawn = tf.where(tf.sequence_mask(steps)[..., None], drawn, 0)
        return {"rolls": tf.cast(drawn, tf.uint8)}

    return {"serving_default": serving_default, "generate": generate, "logits": signatures.logits(model)}


def request(rolls, lengths):
    """What the signature takes, for rolls (pieces, frames, 88) of 0 and 1, cut to the longest."""
    lengths = np.asarray(lengths, np.int32)
    return {"rolls": np.asarray(rolls[:, : lengths.max()], np.uint8), "lengths": lengths}


def sample(model, splits):
    roll = request(splits.test["roll"][:1], [PRIMER])
    drawn = roll | {"steps": np.array([8], np.int32), "seed": np.array([0], np.int32)}
    return {"serving_default": roll, "generate": drawn, "logits": signatures.first(splits.validation)}


def read_input(text, cfg, data_dir=None):
    """A request from a MIDI file's path, or from `test:N`, the N-th piece of the test split."""
    if text.startswith("test:"):
        test = load(cfg, data_dir).test
        index = pictures.index(text, len(test["roll"]))
        return request(test["roll"][index : index + 1], test["roll_length"][index : index + 1])
    roll = midi.read_roll(text, DATASETS[cfg.dataset])
    return request(roll[None], [len(roll)])


def show(answer):
    """One answer of the signature, for a person."""
    following = np.asarray(answer["next"][0])
    keys = ", ".join(f"{midi.key_name(key)} {following[key]:.2f}" for key in np.argsort(-following)[:6])
    return f"{answer['nll'][0]:.2f} nats a frame; the likeliest keys of the next frame: {keys}"


def evaluate(answer, splits, folder=None):
    """Likelihood of the test split, beside two models that know each key only; draws a continuation into `folder`."""
    rolls, lengths = np.asarray(splits.test["roll"]), np.asarray(splits.test["roll_length"])
    parts = np.array_split(np.argsort(lengths), -(-len(lengths) // 16))
    per_frame = np.concatenate([answer(request(rolls[part], lengths[part]))["nll"] for part in parts])
    frames = np.concatenate([lengths[part] - 1 for part in parts])
    if folder:
        primer = request(rolls[:1], [PRIMER])
        steps = np.array([lengths[0] - PRIMER], np.int32)
        drawn = answer(primer | {"steps": steps, "seed": np.array([0], np.int32)}, "generate")["rolls"]
        drawn = np.concatenate([primer["rolls"][0], drawn[0]])
        plots.piano_rolls(
            {"in the test split": rolls[0, : lengths[0]], "continued by the model": drawn},
            PRIMER,
            folder / "continuation.png",
        )
        midi.write_roll(drawn, folder / "continuation.mid", splits.more["beats"])
    known, asked = (pairs(split["roll"], split["roll_length"]) for split in (splits.train.columns, splits.test))
    return {
        "test_nll": float(np.average(per_frame, weights=frames)),
        "key_frequencies": key_nll([np.zeros_like(known[0]), known[1]], [np.zeros_like(asked[0]), asked[1]]),
        "key_given_frame_before": key_nll(known, asked),
    }


def pairs(rolls, lengths):
    """All frames but the last of each piece, and the frames that follow them, both (frames, 88)."""
    pieces = [roll[:length] for roll, length in zip(np.asarray(rolls), np.asarray(lengths), strict=True)]
    return [np.concatenate([roll[part] for roll in pieces]) for part in (slice(-1), slice(1, None))]


def key_nll(known, asked):
    """What a frame costs if each key knows only whether it sounded in the frame before, counted in `known`."""
    before, after = known
    counts = [np.sum(before == state, axis=0) for state in (0, 1)]
    sounded = [np.sum(after * (before == state), axis=0) for state in (0, 1)]
    chances = (np.array(sounded) + 0.5) / (np.array(counts) + 1)  # as if each had been seen half a time more
    before, after = asked
    chances = np.where(before, chances[1], chances[0])
    return float(-np.log(np.where(after, chances, 1 - chances)).sum(axis=1).mean())


def run(cfg, session):
    # 1. Data
    splits = load(cfg, session.data_dir)
    # 2. Model
    keras.utils.set_random_seed(cfg.seed)
    model = build_model(cfg, steps=cfg.epochs * len(splits.train))
    session.announce(model, splits)
    # 3. Fit
    history = training.fit(model, splits.train, validation=splits.validation, epochs=cfg.epochs, session=session)
    # 4. Evaluate
    plots.curves(history, session.folder / "curves.png")
    functions = serving(model, splits)
    metrics = evaluate(export.as_arrays(functions), splits, session.folder)
    # 5. Export
    facts = card.card(session, cfg, model, splits, metrics, history)
    return export.export(functions, sample=sample(model, splits), card=facts, folder=session.exports)
