"""Sequences of vectors and the latent variables behind them: likelihoods, reconstructions, samples."""

import numpy as np
import tensorflow as tf
from scipy.io import wavfile

import archs
from archs import latents, losses
from recipes._core.data import batching, midi, signals
from recipes._core.evaluate import plots
from recipes._core.export import signatures
from recipes._core.export.signatures import expect
from recipes._core.task import Task, slices
from recipes.tasks.piano_rolls import PianoRolls

MOST_DRAWS = 1000
MOST_TOGETHER = 100_000  # rows times draws, which are computed at once and need memory
_USES = 1 << 16  # seeds between those of two uses; no request has as many time steps


class LatentSequences(Task):
    """Sequences scored, reconstructed and drawn, by a model of `archs.vrnn` or `archs.storn`.

    Or, to compare with, by one of `archs.stacked_lstm`, which has no latent variables: of each vector it says the
    parameters of the density from those before alone. Its divergence is zero.

    In the share `warmup` of the training, a setting, the weight of the divergence rises from 0 to 1. With 0 it is 1
    from the start.

    Attributes:
        column: of a split, of arrays (sequences, time, ...); beside it stands `<column>_length`.
        features: of a vector.
        asked: `tf.TensorSpec` of what the signatures take, (None, None, ...).
        density, components: of a vector, see `archs.losses.Density`.
        gain: of the inputs.
        first: how many vectors at the beginning of a sequence are read and not scored.
        draws: of latent variables for each sequence, for the importance-weighted estimate of the test split.
        several: sequences that are scored together there.
        longest: what a sequence of the signatures may have of entries in time.
        most_steps: how many vectors `sample` draws.
    """

    kept = ()
    longest = most_steps = signatures.LIMIT
    density, components = "bernoulli", 1
    gain = 1.0
    first = 1
    draws = 100
    several = 16

    def vectors(self, values, lengths):
        """Float vectors (batch, time, features) and their number in each row, of what a signature or a split holds."""
        return tf.cast(values, tf.float32), lengths

    def checks(self, inputs):
        """Operations that fail where what a signature takes is nothing that the model knows."""
        return []

    def answered(self, vectors):
        """Returns the answer of the signature `sample` for drawn vectors (batch, time, features): a dict."""
        raise NotImplementedError

    def expected(self, means):
        """Returns the answer of the signature `reconstruct` for the means of the density, likewise."""
        raise NotImplementedError

    def learn(self, splits):
        pass

    def batches(self, columns, training=False):
        def example(batch, seed):
            lengths = batch[f"{self.column}_length"]
            values = batch[self.column][:, : tf.reduce_max(lengths)]
            vectors, lengths = self.vectors(values, lengths)
            inputs = {"inputs": self.gain * vectors, "lengths": lengths}
            if not self.is_latent:
                return inputs | {"inputs": delayed(inputs["inputs"])}, vectors
            rows, time, _ = tf.unstack(tf.shape(vectors))
            noise = tf.random.stateless_normal((rows, time, self.config.latents), seed)
            return inputs | {"noise": noise}, {"outputs": vectors, "divergence": tf.zeros((rows, time))}

        seed = self.config.seed if training else None
        return batching.Batches(columns, self.config.batch_size, example, seed, columns[f"{self.column}_length"])

    @property
    def is_latent(self):
        return getattr(self.config, "model", None) != "rnn"

    def compile(self, model, steps):
        loss, self._callbacks = losses.NegativeLogLikelihood(self.density, self.components), []
        if self.is_latent:
            divergence = losses.Divergence()
            loss = {"outputs": loss, "divergence": divergence}
            self._callbacks = [losses.DivergenceSchedule(divergence, steps, end=self.config.warmup)]
        model.compile(self.optimizer(steps), loss)

    def callbacks(self):
        return self._callbacks

    def signatures(self, model):
        """Sequences in; how likely they are, or what their latent variables say of them. Or sequences, drawn at random.

        Each row has a seed, which alone decides what is drawn for it. `bound` is of one draw of the latent variables,
        `importance_weighted` of `draws` others: it is the lower one in expectation, and not in each row.
        """
        name, density = self.asked.name, losses.Density(self.density, self.features, self.components)
        machine = _Latent(model) if self.is_latent else _Plain(model, density)
        specs = {one: tf.TensorSpec((None,), tf.int32, name=one) for one in ("lengths", "draws", "steps", "seed")}

        def checked(inputs):
            names = name, "lengths"
            seen = signatures.checked_lengths(*(inputs[one] for one in names), self.longest, names)
            inputs = numbers(inputs | dict(zip(names, seen, strict=True)))
            inputs = signatures.checked(inputs, *self.checks(inputs))
            return *self.vectors(inputs[name], inputs["lengths"]), inputs

        def numbers(inputs):
            inputs = signatures.checked_rows(inputs)
            checks = [expect(inputs["seed"] >= 0, "seed: expected 0 or more", inputs["seed"])]
            for one, most in (("draws", MOST_DRAWS), ("steps", self.most_steps)):
                if one in inputs:
                    is_right = (inputs[one] > 0) & (inputs[one] <= most)
                    checks.append(expect(is_right, f"{one}: expected 1 to {most}", inputs[one]))
            inputs = signatures.checked(inputs, *checks)
            if "draws" not in inputs:
                return inputs
            together = tf.size(inputs["draws"]) * tf.reduce_max(inputs["draws"])
            message = f"draws: expected no more than {MOST_TOGETHER} by the largest of them times the rows"
            return signatures.checked(inputs, expect(together <= MOST_TOGETHER, message, together))

        def serving_default(inputs):
            vectors, lengths, inputs = checked(inputs)
            theta, divergence = machine.explained(self.gain * vectors, lengths, inputs["seed"])
            time, most = tf.shape(vectors)[1], tf.reduce_max(inputs["draws"])
            counted = tf.sequence_mask(lengths, time) & (tf.range(time) >= self.first)
            nll = -density.log_likelihood(vectors, theta, counted)
            weights = machine.log_weights(self.gain * vectors, vectors, inputs["seed"], counted, most, nll)
            weights = tf.where(tf.sequence_mask(inputs["draws"], most), weights, -np.inf)
            weighted = tf.math.log(tf.cast(inputs["draws"], tf.float32)) - tf.reduce_logsumexp(weights, axis=1)
            by_step = tf.where(counted, divergence, 0)
            sums = {"nll": tf.reduce_sum(nll, 1), "divergence": tf.reduce_sum(by_step, 1)}
            sums = {"bound": sums["nll"] + sums["divergence"]} | sums | {"importance_weighted": weighted}
            scored = tf.maximum(lengths - self.first, 0)
            means = {one: tf.math.divide_no_nan(value, tf.cast(scored, tf.float32)) for one, value in sums.items()}
            return means | {"scored": scored, "divergences": by_step}

        def reconstruct(inputs):
            vectors, lengths, inputs = checked(inputs)
            theta, _ = machine.explained(self.gain * vectors, lengths, inputs["seed"])
            inside = tf.sequence_mask(lengths, tf.shape(vectors)[1])[..., None]
            return self.expected(tf.where(inside, density.mean(theta), 0))

        def sample(inputs):
            inputs = numbers(inputs)
            drawn = machine.sample(inputs["seed"], tf.reduce_max(inputs["steps"]), self.gain)
            return self.answered(tf.where(tf.sequence_mask(inputs["steps"])[..., None], drawn, 0))

        found = {
            "serving_default": (serving_default, [self.asked, specs["lengths"], specs["draws"], specs["seed"]]),
            "reconstruct": (reconstruct, [self.asked, specs["lengths"], specs["seed"]]),
            "sample": (sample, [specs["steps"], specs["seed"]]),
        }
        return {one: signatures.by_name(*pair) for one, pair in found.items()}

    def request(self, values, lengths):
        """A request of `serving_default`, with as many draws as the test split is scored by, and the seed 0."""
        numbers = {"draws": self.draws, "seed": 0}
        lengths = np.asarray(lengths, np.int32)
        asked = {self.asked.name: np.asarray(values[:, : lengths.max()], self.asked.dtype.as_numpy_dtype)}
        return asked | {"lengths": lengths} | {one: np.full(len(lengths), n, np.int32) for one, n in numbers.items()}

    def test_request(self, columns, number):
        rows = slice(number, number + 1)
        return self.request(columns[self.column][rows], columns[f"{self.column}_length"][rows])

    def sample(self, model, splits):
        scored = self.test_request(splits.test, 0) | {"draws": np.array([8], np.int32)}
        drawn = {"steps": np.array([8], np.int32), "seed": np.array([0], np.int32)}
        return {"serving_default": scored, "reconstruct": _without_draws(scored), "sample": drawn}

    def show(self, answer):
        found = {one: float(answer[one][0]) for one in ("bound", "nll", "divergence", "importance_weighted")}
        parts = f"{found['nll']:.2f} + {found['divergence']:.2f} of the latent variables"
        return f"{found['bound']:.2f} nats a step ({parts}); importance-weighted {found['importance_weighted']:.2f}"

    def scores(self, answer, columns):
        """Means over all scored steps of a split: bound, its two parts, and the importance-weighted estimate."""
        values, lengths = (np.asarray(columns[name]) for name in (self.column, f"{self.column}_length"))
        order = np.argsort(lengths)
        parts = [order[some] for some in slices(len(order), self.several)]
        # Of one seed all rows would have the same noise, whose chance no number of rows would even out.
        requests = [self.request(values[part], lengths[part]) | {"seed": part.astype(np.int32)} for part in parts]
        answers = [answer(request) for request in requests]
        names = {one: one for one in ("bound", "nll", "divergence")}
        names["importance_weighted"] = f"importance_weighted_{self.draws}"
        scored = np.concatenate([one["scored"] for one in answers])
        found = {new: np.concatenate([one[name] for one in answers]) for name, new in names.items()}
        return {name: float(np.average(value, weights=scored)) for name, value in found.items()}


class LatentRolls(LatentSequences, PianoRolls):
    """Piano rolls, by their keys; requests, MIDI files and baselines are those of `PianoRolls`."""

    column, features = "roll", midi.KEYS
    asked = tf.TensorSpec((None, None, midi.KEYS), tf.uint8, name="rolls")
    gain = 5.0  # as only 4 of 88 keys sound in a frame, it brings the mean square of the inputs to 1

    def checks(self, inputs):
        return [expect(inputs["rolls"] <= 1, "rolls: expected 0 or 1", inputs["rolls"])]

    def answered(self, vectors):
        return {"rolls": tf.cast(vectors, tf.uint8)}

    def expected(self, means):
        return {"probabilities": means}

    def evaluate(self, answer, splits, folder=None):
        """Bound, its parts and the importance-weighted estimate of a frame, in nats; two models of single keys."""
        found = self.scores(answer, splits.test)
        if folder:
            self.draw(answer, splits.test, folder)
        return {"test_bound": found.pop("bound")} | found | self.baselines(splits)

    def draw(self, answer, columns, folder):
        """Draws a piece, its reconstruction and its divergence frame by frame; two samples, also as MIDI files."""
        number, _ = self.opening(columns)
        request = self.test_request(columns, number)
        rebuilt = answer(_without_draws(request), "reconstruct")["probabilities"][0]
        divergence = answer(request)["divergences"][0][:, None]
        tracks = {"in the test split": request["rolls"][0], "reconstructed": rebuilt}
        keys = np.flatnonzero(np.any(tracks["in the test split"], axis=0))
        tracks = {title: roll[:, keys.min() : keys.max() + 1][:, ::-1] for title, roll in tracks.items()}
        title = f"divergence of the latent variables, up to {divergence.max():.1f} nats"
        plots.tracks(tracks | {title: divergence / max(divergence.max(), 1e-6)}, folder / "reconstruction.png")
        drawn = answer({"steps": np.full(2, 64, np.int32), "seed": np.arange(2, dtype=np.int32)}, "sample")["rolls"]
        plots.piano_rolls({f"sample, seed {seed}": roll for seed, roll in enumerate(drawn)}, 0, folder / "samples.png")
        for seed, roll in enumerate(drawn):
            midi.write_roll(roll, folder / f"sample_{seed}.mid", self.beats)


class LatentSounds(LatentSequences):
    """Sounds, as vectors of as many samples each, which are divided by their standard deviation in the training split.

    A split has the column `samples`, floats in [-1, 1]. What is left at the end of a sound, too short for a vector, is
    left out.

    Attributes:
        features: samples of a vector.
        rate: samples a second.
        scale: the standard deviation.
    """

    kept = ("scale",)
    column = "samples"
    asked = tf.TensorSpec((None, None), tf.float32, name="samples")
    features, rate = 200, 8000
    longest = 30 * rate
    most_steps = longest // features
    first = 0
    draws = 20
    scale = 1.0

    def learn(self, splits):
        inside = np.asarray(tf.sequence_mask(splits.train["samples_length"], splits.train["samples"].shape[1]))
        self.scale = float(np.std(np.asarray(splits.train["samples"])[inside]))

    def vectors(self, values, lengths):
        counts = lengths // self.features
        count = tf.reduce_max(counts)
        vectors = tf.reshape(values[:, : count * self.features], (-1, count, self.features)) / self.scale
        return tf.where(tf.sequence_mask(counts)[..., None], vectors, 0), counts

    def checks(self, inputs):
        is_long = inputs["lengths"] >= self.features
        samples = tf.where(tf.sequence_mask(inputs["lengths"], tf.shape(inputs["samples"])[1]), inputs["samples"], 0)
        return [
            expect(is_long, f"lengths: expected {self.features} or more", inputs["lengths"]),
            expect(tf.abs(samples) <= 1, "samples: expected numbers from -1 to 1", samples),
        ]

    def answered(self, vectors):
        rows, count, size = tf.unstack(tf.shape(vectors))
        return {"samples": tf.clip_by_value(self.scale * tf.reshape(vectors, (rows, count * size)), -1, 1)}

    expected = answered

    def read(self, text):
        samples = signals.read_wav(text, self.rate)
        return self.request(samples[None], [len(samples)])

    def evaluate(self, answer, splits, folder=None):
        """Log-likelihood of a vector, in nats, at least (by the bound) and importance-weighted; the divergence."""
        found = self.scores(answer, splits.test)
        if folder:
            self.draw(answer, splits.test, folder)
        weighted = f"importance_weighted_{self.draws}"
        return {
            "test_log_likelihood": -found["bound"],
            weighted: -found[weighted],
            "divergence": found["divergence"],
        }

    def draw(self, answer, columns, folder):
        """Draws the spectrograms of a sound, its reconstruction and samples, and writes these as WAV files."""
        request = self.test_request(columns, 0)
        steps = np.full(3, request["lengths"][0] // self.features, np.int32)
        sounds = {"in the test split": request["samples"][0]}
        sounds["reconstructed"] = answer(_without_draws(request), "reconstruct")["samples"][0]
        drawn = answer({"steps": steps, "seed": np.arange(3, dtype=np.int32)}, "sample")["samples"]
        sounds |= {f"sample {seed}": sound for seed, sound in enumerate(drawn)}
        bands = tf.signal.linear_to_mel_weight_matrix(40, 129, self.rate, 80.0, self.rate / 2)
        powers = {title: tf.abs(tf.signal.stft(sound, 200, 80, 256)) ** 2 for title, sound in sounds.items()}
        frames = {title: np.log(power @ bands + 1e-4) for title, power in powers.items()}
        plots.spectrograms(frames, 80 / self.rate, folder / "spectrograms.png")
        for title, sound in sounds.items():
            wavfile.write(folder / f"{title.replace(' ', '_')}.wav", self.rate, (32767 * sound).astype(np.int16))


class _Latent:
    """A model with latent variables, of which each row's seed draws."""

    def __init__(self, model):
        self._model = model
        self._cell, _ = latents.parts_of(model)

    def explained(self, inputs, lengths, seed):
        """Parameters of the density (batch, time, parameters), and the divergence (batch, time)."""
        shape = tf.shape(inputs)[1], self._cell.latents
        # Of a longer row the first numbers are the same.
        noise = tf.map_fn(lambda one: tf.random.stateless_normal(shape, [one, 0]), seed, fn_output_signature=tf.float32)
        answer = self._model({"inputs": inputs, "noise": noise, "lengths": lengths}, training=False)
        return tf.cast(answer["outputs"], tf.float32), tf.cast(answer["divergence"], tf.float32)

    def log_weights(self, inputs, targets, seed, counted, draws, nll):
        """As `latents.log_weights`."""

        def noise(t):
            return drawn(tf.random.stateless_normal, seed, t, 1, (draws, self._cell.latents))

        return latents.log_weights(self._model, inputs, targets, noise, counted, draws)

    def sample(self, seed, steps, gain):
        """Vectors (batch, steps, features)."""
        z, d = self._cell.latents, self._cell.features

        def noise(t):
            return drawn(tf.random.stateless_normal, seed, t, 2, (z,))

        return latents.sample(self._model, noise, lambda t: draws_of(seed, t, d), steps, tf.shape(seed)[0], gain)


class _Plain:
    """A model without latent variables, of which each step sees those before alone; as `_Latent`."""

    def __init__(self, model, density):
        self._model, self._density = model, density

    def explained(self, inputs, lengths, seed):
        theta = self._model({"inputs": delayed(inputs), "lengths": lengths}, training=False)
        return tf.cast(theta, tf.float32), tf.zeros(tf.shape(inputs)[:2])

    def log_weights(self, inputs, targets, seed, counted, draws, nll):
        return tf.repeat(-tf.reduce_sum(nll, axis=1, keepdims=True), draws, axis=1)

    def sample(self, seed, steps, gain):
        cells = [layer.cell for layer in self._model.layers if isinstance(layer, archs.Recurrent)]
        rows, d = tf.shape(seed)[0], self._density.features
        x, states = tf.zeros((rows, d)), [cell.get_initial_state(rows) for cell in cells]
        seen = tf.TensorArray(tf.float32, steps, element_shape=(None, d))
        for t in tf.range(steps):
            output, following = gain * x, []
            for cell, state in zip(cells, states, strict=True):
                output, state = cell(tf.cast(output, cell.compute_dtype), state, training=False)
                following.append(state)
            states = following
            theta = tf.cast(self._model.get_layer("outputs")(output), tf.float32)
            x = self._density.draw(theta, *draws_of(seed, t, d))
            seen = seen.write(t, x)
        return tf.transpose(seen.stack(), [1, 0, 2])


def drawn(draw, seed, t, use, shape):
    """Random numbers (rows, *shape), which the seed of each row, the time step and what they are for decide alone."""
    seeds = tf.stack([seed, tf.fill(tf.shape(seed), t + use * _USES)], axis=1)
    return tf.map_fn(lambda pair: draw(shape, pair), seeds, fn_output_signature=tf.float32)


def draws_of(seed, t, features):
    """The uniform and the normal numbers that a vector is drawn by, see `archs.losses.Density`."""
    draws = tf.random.stateless_uniform, tf.random.stateless_normal
    return [drawn(draw, seed, t, use, (features,)) for use, draw in enumerate(draws, 3)]


def delayed(vectors):
    """Vectors (batch, time, features), each in the place of the next; the first is zero."""
    return tf.pad(vectors, [[0, 0], [1, 0], [0, 0]])[:, :-1]


def _without_draws(request):
    return {name: value for name, value in request.items() if name != "draws"}
