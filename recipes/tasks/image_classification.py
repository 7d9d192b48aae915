"""A label for each image, and, of a model that looks through a window, where it looked."""

import keras
import numpy as np
import tensorflow as tf

from archs import drawing
from recipes._core.data import batching, pictures
from recipes._core.evaluate import baselines, plots
from recipes._core.export import signatures
from recipes._core.task import Task, count, joined, slices


class ImageClassification(Task):
    """The label of an image, by a model of `archs.draw_classifier`, or by another one of images.

    A split has the columns `image`, uint8 (examples, rows, columns), and `label`, (examples,).

    Attributes:
        side: pixels of each side of an image.
        several: how many examples are evaluated at a time.
    """

    side = 28
    several = 500

    @property
    def image(self):
        """The `tf.TensorSpec` of the images that `serving_default` takes."""
        return tf.TensorSpec((None, self.side, self.side), tf.uint8, name="image")

    def preprocess(self, images):
        """The images as the model takes them: floats from 0 to 1, with an axis of channels."""
        return tf.cast(images, tf.float32)[..., None] / 255

    def batches(self, columns, training=False):
        def example(batch, seed):
            return self.preprocess(batch["image"]), batch["label"]

        size = self.config.batch_size if training else self.several
        return batching.Batches(columns, size, example, self.config.seed if training else None)

    def compile(self, model, steps):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.optimizer(steps), loss, metrics=["accuracy"])

    def signatures(self, model):
        """Images in, labels and probabilities out; and the model's own inputs.

        Of a model that looks through a window `read`, (batch, steps, 4), tells of each glimpse in which column and row
        its centre was, counted from 1, how far it was from the first filter to the last, and the deviation of the
        filters, in pixels.
        """
        looks = drawing.is_reader(model)

        def serving_default(inputs):
            images = self.preprocess(signatures.checked_rows(inputs)["image"])
            logits = tf.cast(model(images, training=False), tf.float32)
            label = tf.gather(tf.constant(self.labels), tf.argmax(logits, axis=-1))
            answer = {"label": label, "probabilities": tf.nn.softmax(logits), "logits": logits}
            return answer | ({"read": drawing.boxes(drawing.glimpses(model, images), "read")} if looks else {})

        return {
            "serving_default": signatures.by_name(serving_default, [self.image]),
            "logits": signatures.logits(model),
        }

    def sample(self, model, splits):
        return {
            "serving_default": self.test_request(splits.test, 0),
            "logits": signatures.first(self.batches(splits.validation)),
        }

    def test_request(self, columns, number):
        return {"image": np.asarray(columns["image"][number : number + 1])}

    def truth(self, columns, number):
        return self.labels[int(columns["label"][number])]

    def read(self, text):
        return {"image": pictures.read_drawing(text, self.side)[None]}

    def show(self, answer):
        return f"{answer['label'][0]} (probability {max(answer['probabilities'][0]):.3f})"

    def evaluate(self, answer, splits, folder=None):
        """Share of wrong labels, beside always the most frequent; draws a confusion matrix, and where was looked."""
        images, truth = (np.asarray(splits.test[name]) for name in ("image", "label"))
        answers = joined([answer({"image": images[some]}) for some in slices(count(splits.test), self.several)])
        answered = answers["probabilities"].argmax(-1)
        if folder:
            plots.confusion_matrix(truth, answered, self.labels, folder / "confusion_matrix.png")
            if "read" in answers:
                self.draw(images, truth, answers, folder / "glimpses.png")
        majority = baselines.majority_class(np.asarray(splits.train["label"]), truth)
        return {"test_error": float((answered != truth).mean()), "most_frequent": 1 - majority}

    def draw(self, images, truth, answers, path):
        """Draws the first test images, and the window of each glimpse."""
        rows = []
        for number in range(6):
            image, read = images[number] / 255, answers["read"][number]
            title = f"is {self.labels[truth[number]]}, answered {answers['label'][number].item()}"
            rows.append((title, None, {"canvases": np.repeat(image[None], len(read), axis=0), "read": read}))
        plots.canvases(rows, path)
