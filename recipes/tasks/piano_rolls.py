"""Polyphonic music: the keys of a piano that sound in the next frame."""

import keras
import numpy as np
import tensorflow as tf

import archs
from recipes._core.data import batching, datasets, midi
from recipes._core.evaluate import plots
from recipes._core.export import signatures
from recipes._core.task import Task

# Name of the dataset -> how many quarter notes a frame lasts.
DATASETS = {"jsb_chorales": 1.0, "nottingham": 0.5, "piano_midi": 0.5, "muse_data": 0.5}


class PianoRolls(Task):
    """The next frame of a piano roll: which of its 88 keys sound.

    A split has the columns `roll`, uint8 (pieces, frames, 88) of 0 and 1, and `roll_length`, (pieces,). The model is of
    recurrent layers and a dense one, `outputs`, with a logit for each key in each frame.

    Attributes:
        gain: of the inputs.
        beats: quarter notes that a frame lasts, by default those of the setting `dataset`.
        primer: frames of a piece from which the model goes on, in the picture.
    """

    kept = ()
    gain = 1.0
    primer = 16

    @property
    def beats(self):
        return DATASETS.get(getattr(self.config, "dataset", None), 1.0)

    def batches(self, columns, training=False):
        def example(batch, seed):
            lengths = batch["roll_length"] - 1
            frames = tf.cast(batch["roll"][:, : tf.reduce_max(lengths) + 1], tf.float32)
            return {"inputs": self.gain * frames[:, :-1], "lengths": lengths}, frames[:, 1:]

        seed = self.config.seed if training else None
        return batching.Batches(columns, self.config.batch_size, example, seed, columns["roll_length"])

    def compile(self, model, steps):
        model.compile(self.optimizer(steps), nll)

    def signatures(self, model):
        """Rolls in; what comes next, and how likely they are; or continuations of them, drawn at random."""
        layers = [layer for layer in model.layers if isinstance(layer, archs.Recurrent)]
        specs = [tf.TensorSpec((None,), tf.int32, name=name) for name in ("lengths", "steps", "seed")]
        specs = [tf.TensorSpec((None, None, midi.KEYS), tf.uint8, name="rolls"), *specs]

        def checked(rolls, lengths):
            rolls, lengths = signatures.checked_lengths(rolls, lengths, names=("rolls", "lengths"))
            binary = signatures.expect(rolls <= 1, "rolls: expected 0 or 1", rolls)
            return tf.cast(signatures.checked({"rolls": rolls}, binary)["rolls"], tf.float32), lengths

        def draw(seed):
            return tf.random.stateless_uniform((midi.KEYS,), seed)

        def step(frame, states):
            output, following = self.gain * frame, []
            for layer, state in zip(layers, states, strict=True):
                output, state = layer.cell(output, state, training=False)
                following.append(state)
            return tf.nn.sigmoid(model.get_layer("outputs")(output)), following

        def serving_default(inputs):
            frames, lengths = checked(**inputs)
            logits = model({"inputs": self.gain * frames, "lengths": lengths}, training=False)
            known = tf.sequence_mask(lengths - 1, tf.shape(frames)[1] - 1, tf.float32)
            likelihoods = tf.reduce_sum(known * nll(frames[:, 1:], logits[:, :-1]), axis=1)
            probabilities = tf.nn.sigmoid(logits)
            return {
                "probabilities": probabilities,
                "next": tf.gather(probabilities, lengths - 1, axis=1, batch_dims=1),
                "nll": tf.math.divide_no_nan(likelihoods, tf.cast(lengths - 1, tf.float32)),
            }

        def generate(inputs):
            rolls, lengths, steps, seed = inputs.values()
            frames, lengths = checked(rolls, lengths)
            inputs = signatures.checked_rows({"rolls": frames, "steps": steps, "seed": seed})
            in_range = (inputs["steps"] > 0) & (inputs["steps"] <= signatures.LIMIT)
            expected = signatures.expect(in_range, f"steps: expected 1 to {signatures.LIMIT}", inputs["steps"])
            frames, steps, seed = signatures.checked(inputs, expected).values()
            most = tf.reduce_max(steps)
            frames = tf.pad(frames, [[0, 0], [0, most], [0, 0]])
            states = [layer.cell.get_initial_state(tf.shape(frames)[0]) for layer in layers]
            count, frame = tf.shape(frames)[1] - 1, frames[:, 0]
            played = tf.TensorArray(tf.float32, count, element_shape=(None, midi.KEYS))
            for t in tf.range(count):
                probabilities, states = step(frame, states)
                seeds = tf.stack([seed, tf.fill(tf.shape(seed), t)], axis=1)
                drawn = tf.map_fn(draw, seeds, fn_output_signature=tf.float32) < probabilities
                frame = tf.where(t + 1 < lengths[:, None], frames[:, t + 1], tf.cast(drawn, tf.float32))
                played = played.write(t, frame)
            played = tf.transpose(played.stack(), [1, 0, 2])
            drawn = tf.gather(played, lengths[:, None] - 1 + tf.range(most), axis=1, batch_dims=1)
            drawn = tf.where(tf.sequence_mask(steps)[..., None], drawn, 0)
            return {"rolls": tf.cast(drawn, tf.uint8)}

        return {
            "serving_default": signatures.by_name(serving_default, specs[:2]),
            "generate": signatures.by_name(generate, specs),
            "logits": signatures.logits(model),
        }

    def request(self, rolls, lengths):
        """A request of `serving_default` for rolls (pieces, frames, 88) of 0 and 1, cut to the longest."""
        lengths = np.asarray(lengths, np.int32)
        return {"rolls": np.asarray(rolls[:, : lengths.max()], np.uint8), "lengths": lengths}

    def opening(self, columns):
        """Number of the first piece that goes on after `primer` frames, and how many to take, fewer if none does."""
        lengths = np.asarray(columns["roll_length"])
        number = int(np.argmax(lengths > self.primer))
        return number, min(self.primer, max(1, int(lengths[number]) - 1))

    def sample(self, model, splits):
        number, known = self.opening(splits.test)
        roll = self.request(splits.test["roll"][number : number + 1], [known])
        drawn = roll | {"steps": np.array([8], np.int32), "seed": np.array([0], np.int32)}
        logits = signatures.first(self.batches(splits.validation))
        return {"serving_default": roll, "generate": drawn, "logits": logits}

    def test_request(self, columns, number):
        return self.request(*(columns[name][number : number + 1] for name in ("roll", "roll_length")))

    def read(self, text):
        roll = midi.read_roll(text, self.beats)
        return self.request(roll[None], [len(roll)])

    def show(self, answer):
        following = np.asarray(answer["next"][0])
        keys = ", ".join(f"{midi.key_name(key)} {following[key]:.2f}" for key in np.argsort(-following)[:6])
        return f"{answer['nll'][0]:.2f} nats a frame; the likeliest keys of the next frame: {keys}"

    def evaluate(self, answer, splits, folder=None):
        """Negative log-likelihood of a frame, beside two models that know each key only; draws a continuation."""
        rolls, lengths = np.asarray(splits.test["roll"]), np.asarray(splits.test["roll_length"])
        several = np.array_split(np.argsort(lengths), -(-len(lengths) // 16))
        per_frame = np.concatenate([answer(self.request(rolls[some], lengths[some]))["nll"] for some in several])
        frames = np.concatenate([lengths[some] - 1 for some in several])
        if folder:
            self.draw(answer, splits.test, folder)
        return {"test_nll": float(np.average(per_frame, weights=frames))} | self.baselines(splits)

    def baselines(self, splits):
        """Costs of a frame by two models that know each key only."""
        known, asked = (pairs(split["roll"], split["roll_length"]) for split in (splits.train, splits.test))
        return {
            "key_frequencies": key_nll([np.zeros_like(known[0]), known[1]], [np.zeros_like(asked[0]), asked[1]]),
            "key_given_frame_before": key_nll(known, asked),
        }

    def draw(self, answer, columns, folder):
        """Draws a piece beside how the model continues its beginning, and writes that as a MIDI file."""
        number, known = self.opening(columns)
        piece = np.asarray(columns["roll"][number, : int(columns["roll_length"][number])])
        steps = np.array([max(1, len(piece) - known)], np.int32)
        settings = {"steps": steps, "seed": np.array([0], np.int32)}
        drawn = answer(self.request(piece[None], [known]) | settings, "generate")["rolls"][0]
        drawn = np.concatenate([piece[:known], drawn])
        titled = {"in the test split": piece, "continued by the model": drawn}
        plots.piano_rolls(titled, known, folder / "continuation.png")
        midi.write_roll(drawn, folder / "continuation.mid", self.beats)


def load(config, data_dir):
    """The rolls of `config.dataset` as bytes, (pieces, frames, 88), those to train on in parts of `config.window`."""
    builder = datasets.prepare(f"piano_rolls/{config.dataset}", data_dir=data_dir)
    train, *others = (
        [example["roll"] for example in datasets.examples(builder, split)] for split in ("train", "validation", "test")
    )
    splits = [batching.columns({"roll": roll} for roll in rolls) for rolls in (windows(train, config.window), *others)]
    return batching.Splits(*splits, facts=datasets.describe(builder, *splits))


def windows(rolls, frames):
    """The rolls in parts of at most `frames` frames to predict; each begins with the last frame of the one before."""
    return [roll[start : start + frames + 1] for roll in rolls for start in range(0, len(roll) - 1, frames)]


def nll(frames, logits):
    """Negative log-likelihood of each frame, in nats."""
    return keras.ops.sum(keras.ops.binary_crossentropy(frames, logits, from_logits=True), axis=-1)


def pairs(rolls, lengths):
    """All frames but the last of each piece, and the frames that follow them, both (frames, 88)."""
    pieces = [roll[:length] for roll, length in zip(np.asarray(rolls), np.asarray(lengths), strict=True)]
    return [np.concatenate([roll[part] for roll in pieces]) for part in (slice(-1), slice(1, None))]


def key_nll(known, asked):
    """Cost of a frame, in nats, if each key knows only whether it sounded in the frame before, counted in `known`."""
    before, after = known
    counts = [np.sum(before == state, axis=0) for state in (0, 1)]
    sounded = [np.sum(after * (before == state), axis=0) for state in (0, 1)]
    chances = (np.array(sounded) + 0.5) / (np.array(counts) + 1)  # as if each had been seen half a time more
    before, after = asked
    chances = np.where(before, chances[1], chances[0])
    return float(-np.log(np.where(after, chances, 1 - chances)).sum(axis=1).mean())
