"""The pages of models with latent variables: their data, their settings, and the way from a training to an answer."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes import storn_chorales, vrnn_chorales, vrnn_spoken_digit
from recipes._core.command import cli
from recipes._core.data import datasets
from recipes._core.task import count


@pytest.mark.parametrize("page", [storn_chorales, vrnn_chorales])
def test_a_chorale_costs_a_likelihood_and_a_divergence(page):
    config = page.Config(units=8, latents=3, dataset="nottingham")
    task = page.Task(config)
    assert (task.beats, task.gain, task.first) == (0.5, 5.0, 1)
    model = page.build_model(config, task)
    cell, density = archs.latents.parts_of(model)
    assert (cell.latents, cell.units, density.kind, density.size) == (3, 8, "bernoulli", 88)


def test_takes_of_digits_are_split_and_cut_into_vectors(monkeypatch):
    draw = np.random.default_rng(0)
    names = [f"{digit}_theo_{take}.wav".encode() for digit in (3, 7) for take in range(10)]
    recordings = [draw.integers(-(2**15), 2**15, size=400 + 100 * n) for n in range(len(names))]
    examples = [{"audio/filename": name, "audio": audio} for name, audio in zip(names, recordings, strict=True)]
    monkeypatch.setattr(datasets, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "examples", lambda *_, **__: iter(examples))
    monkeypatch.setattr(datasets, "describe", lambda *_: {})
    config = vrnn_spoken_digit.Config()
    splits = vrnn_spoken_digit.load(config, None)
    assert [count(part) for part in (splits.train, splits.validation, splits.test)] == [4, 6, 10]
    task = vrnn_spoken_digit.Task(config)
    task.learn(splits)
    vectors, lengths = task.vectors(splits.test["samples"], splits.test["samples_length"])
    np.testing.assert_array_equal(lengths, [len(audio) // 200 for audio in (*recordings[:5], *recordings[10:15])])
    np.testing.assert_allclose(vectors[1].numpy().ravel()[:400], recordings[1][:400] / 2**15 / task.scale, rtol=1e-5)
    assert not np.any(vectors[0, 2:])


@pytest.mark.parametrize("model", ["vrnn", "storn", "rnn"])
@pytest.mark.parametrize(("density", "components"), [("gaussian", 1), ("mixture", 3)])
def test_models_of_sound_have_one_density(model, density, components):
    config = vrnn_spoken_digit.Config(model=model, density=density, components=components, units=8, latents=3)
    task = vrnn_spoken_digit.Task(config)
    output = vrnn_spoken_digit.build_model(config, task).output
    size = (output["outputs"] if isinstance(output, dict) else output).shape[-1]
    assert size == archs.losses.Density(density, 200, components).size
    assert task.is_latent == (model != "rnn")


@pytest.mark.tfds
def test_train_evaluate_and_predict(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "poly_music/JSB_Chorales.mat"
    (tmp_path / "data/downloads/manual/piano_rolls").mkdir(parents=True)
    shutil.copy(sources, tmp_path / "data/downloads/manual/piano_rolls")
    name, options = "vrnn_chorales", ["--data-dir=data"]
    sizes = ["--epochs=2", "--units=16", "--latents=4", "--hidden=16"]
    assert cli.main(["train", name, *sizes, "--device=cpu", "--export", *options]) == 0
    card = json.loads((tmp_path / f"saved_models/{name}/1/card.json").read_text())
    metrics = card["metrics"]
    assert metrics["importance_weighted_100"] < metrics["test_bound"] < 40
    assert metrics["test_bound"] == pytest.approx(metrics["nll"] + metrics["divergence"], rel=1e-5)
    assert set(card["sample"]) == {"serving_default", "reconstruct", "sample"}
    capsys.readouterr()
    (folder,) = (tmp_path / "runs" / name).iterdir()
    for asked in ("test:76", str(folder / "sample_0.mid")):
        assert cli.main(["predict", name, asked, *options]) == 0
        assert "importance-weighted" in capsys.readouterr().out
    exported = tf.saved_model.load(str(tmp_path / f"saved_models/{name}/1"))
    draw = exported.signatures["sample"]
    drawn = [draw(steps=tf.constant([5]), seed=tf.constant([seed]))["rolls"].numpy() for seed in (3, 3, 4)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.any(drawn[0] != drawn[2])
