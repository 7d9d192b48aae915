"""Images and the latent variables behind them: likelihoods, images drawn anew, samples, all of them step by step."""

import numpy as np
import tensorflow as tf

from archs import drawing, losses
from recipes._core.data import batching, pictures
from recipes._core.evaluate import plots
from recipes._core.export import signatures
from recipes._core.export.signatures import expect
from recipes._core.task import Task, count, joined, slices

MOST_DRAWS = 1000


class LatentImages(Task):
    """Images scored, drawn anew and drawn, by a model of `archs.draw`.

    A split has the column `image`, uint8 (examples, rows, columns), of 0 and 255: a pixel is black or white. One
    between them, in a request, is the share of images in which it is white.

    Attributes:
        side: pixels of each side of an image.
        draws: of latent variables for each image, for the importance-weighted estimate of the test split.
        weighted: how many test images, the first ones, this is made for.
        several: images that are scored together.
    """

    kept = ()
    side = 28
    draws = 50
    weighted = 500
    several = 250

    @property
    def image(self):
        """The `tf.TensorSpec` of the images that the signatures take."""
        return tf.TensorSpec((None, self.side, self.side), tf.uint8, name="image")

    def learn(self, splits):
        pass

    def batches(self, columns, training=False):
        def example(batch, seed):
            images = floats(batch["image"])
            rows = tf.shape(images)[0]
            noise = tf.random.stateless_normal((rows, self.config.steps, self.config.latents), seed)
            pixels = tf.reshape(images, (rows, self.side**2))
            return {"inputs": images, "noise": noise}, {"canvas": pixels, "divergence": tf.zeros((rows,))}

        size = self.config.batch_size if training else self.several
        return batching.Batches({"image": columns["image"]}, size, example, self.config.seed if training else None)

    def optimizer(self, steps):
        """As of other tasks, but `clipnorm` is of all gradients together, which keep their direction."""
        optimizer = super().optimizer(steps)
        optimizer.clipnorm, optimizer.global_clipnorm = None, optimizer.clipnorm
        return optimizer

    def compile(self, model, steps):
        parts = {"canvas": losses.NegativeLogLikelihood(), "divergence": losses.Divergence()}
        model.compile(self.optimizer(steps), parts)

    def signatures(self, model):
        """Images in; how likely they are, or how the model draws them anew. Or images, drawn at random.

        Each row has a seed, which alone decides what is drawn for it. `bound` is of one draw of the latent variables,
        `importance_weighted` of `draws` others: it is the lower one in expectation, and not in each row.

        `canvases`, (batch, steps, rows, columns), are the shares of white by the canvas after each step. Where the
        model has windows, `read` and `write`, (batch, steps, 4), tell of each in which column and row its centre is,
        counted from 1, how far it is from its first filter to its last, and the deviation of its filters, in pixels.
        """
        density = losses.Density("bernoulli", self.side**2)

        def checked(inputs):
            inputs = signatures.checked_rows(inputs)
            checks = [expect(inputs["seed"] >= 0, "seed: expected 0 or more", inputs["seed"])]
            if "draws" in inputs:
                is_right = (inputs["draws"] > 0) & (inputs["draws"] <= MOST_DRAWS)
                checks.append(expect(is_right, f"draws: expected 1 to {MOST_DRAWS}", inputs["draws"]))
            return signatures.checked(inputs, *checks)

        def noise(seed, use):
            """Standard normal numbers of each row's seed, others for each use."""
            shape = tuple(model.input["noise"].shape[1:])
            return tf.map_fn(
                lambda one: tf.random.stateless_normal(shape, tf.stack([one, use])),
                seed,
                fn_output_signature=tf.TensorSpec(shape, tf.float32),
            )

        def serving_default(inputs):
            inputs = checked(inputs)
            images, draws = floats(inputs["image"]), inputs["draws"]
            answer = model({"inputs": images, "noise": noise(inputs["seed"], 0)}, training=False)
            nll = -density.log_likelihood(tf.reshape(images, (-1, self.side**2)), answer["canvas"])

            def body(use, total):
                found = drawing.log_weights(model, images, noise(inputs["seed"], use))
                return use + 1, tf.where(use <= draws, tf.reduce_logsumexp([total, found], axis=0), total)

            loop = (tf.constant(1), tf.fill(tf.shape(draws), -np.inf))
            _, total = tf.while_loop(lambda use, _: use <= tf.reduce_max(draws), body, loop)
            return {
                "bound": nll + answer["divergence"],
                "nll": nll,
                "divergence": answer["divergence"],
                "importance_weighted": tf.math.log(tf.cast(draws, tf.float32)) - total,
            }

        def seen(found):
            canvases = found["pixels"]
            windows = {way: drawing.boxes(found, way) for way in ("read", "write") if f"{way}_x" in found}
            return {"drawn": canvases[:, -1], "canvases": canvases} | windows

        def reconstruct(inputs):
            inputs = checked(inputs)
            return seen(drawing.draw(model, noise(inputs["seed"], 0), floats(inputs["image"])))

        def sample(inputs):
            found = seen(drawing.draw(model, noise(checked(inputs)["seed"], 0)))
            found.pop("read", None)  # there is nothing to be read
            return found

        draws, seed = (tf.TensorSpec((None,), tf.int32, name=name) for name in ("draws", "seed"))
        return {
            "serving_default": signatures.by_name(serving_default, [self.image, draws, seed]),
            "reconstruct": signatures.by_name(reconstruct, [self.image, seed]),
            "sample": signatures.by_name(sample, [seed]),
        }

    def request(self, images, draws=1):
        """A request of `serving_default`; each image has its place in them as its seed."""
        rows = len(images)
        numbers = {"draws": np.full(rows, draws, np.int32), "seed": np.arange(rows, dtype=np.int32)}
        return {"image": np.asarray(images, np.uint8)} | numbers

    def sample(self, model, splits):
        scored = self.request(splits.test["image"][:1], draws=4)
        drawn = {"seed": np.array([0], np.int32)}
        return {"serving_default": scored, "reconstruct": {"image": scored["image"]} | drawn, "sample": drawn}

    def test_request(self, columns, number):
        return self.request(columns["image"][number : number + 1], self.draws)

    def read(self, text):
        return self.request(pictures.read_digit(text)[None], self.draws)

    def show(self, answer):
        found = {name: float(answer[name][0]) for name in answer}
        parts = f"{found['nll']:.1f} + {found['divergence']:.1f} of the latent variables"
        return f"{found['bound']:.1f} nats ({parts}); importance-weighted {found['importance_weighted']:.1f}"

    def evaluate(self, answer, splits, folder=None):
        """The bound of an image and its two parts, in nats; the importance-weighted estimate of the first ones.

        Beside them `pixel_frequencies`: what an image costs where each pixel is white as often as in the training
        split, whatever the others are.
        """
        images = np.asarray(splits.test["image"])
        scored = joined([answer(self.request(images[some])) for some in slices(len(images), self.several)])
        found = {f"test_{name}" if name == "bound" else name: scored[name] for name in ("bound", "nll", "divergence")}
        figures = {name: float(values.mean()) for name, values in found.items()}
        few = images[: self.weighted]
        weighed = joined([answer(self.request(few[some], self.draws)) for some in slices(len(few), self.several)])
        figures[f"importance_weighted_{self.draws}_of_{len(few)}"] = float(weighed["importance_weighted"].mean())
        figures[f"bound_of_{len(few)}"] = float(weighed["bound"].mean())
        figures["pixel_frequencies"] = self.pixel_frequencies(splits)
        if folder:
            self.draw(answer, splits.test, folder)
        return figures

    def pixel_frequencies(self, splits):
        """Nats of a test image by the frequencies of white in the training split, pixel by pixel."""
        known, test = (np.asarray(split["image"]) / 255 for split in (splits.train, splits.test))
        white = (known.sum(axis=0) + 0.5) / (count(splits.train) + 1)
        costs = -test * np.log(white) - (1 - test) * np.log(1 - white)
        return float(costs.sum(axis=(1, 2)).mean())

    def draw(self, answer, columns, folder):
        """Draws samples and two test images drawn anew, step by step, as a strip and as an animation."""
        rows, seed = [], np.arange(5, dtype=np.int32)
        drawn = answer({"seed": seed}, "sample")
        images = np.asarray(columns["image"][:2])
        anew = answer({"image": images, "seed": seed[:2]}, "reconstruct")
        for number, image in enumerate(images):
            rows.append((f"test image {number}, drawn anew", image / 255, {n: a[number] for n, a in anew.items()}))
        rows += [(f"sample, seed {number}", None, {n: a[number] for n, a in drawn.items()}) for number in seed]
        plots.canvases(rows, folder / "canvases.png")
        plots.moving_canvases([row for *_, row in rows], folder / "canvases.gif")


def floats(images):
    """Images of bytes (batch, rows, columns) as the model takes them."""
    return tf.cast(images, tf.float32)[..., None] / 255
