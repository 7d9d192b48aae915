"""The page of polyphonic music: its data, its scale in time, and its way from a training to an answer."""

import json
import os
import pathlib
import shutil

import mido
import numpy as np
import pytest

from recipes import stacked_lstm_chorales as page
from recipes._core.command import cli
from recipes._core.data import datasets, midi
from recipes._core.errors import RecipeError
from recipes._core.task import count

NAME = "stacked_lstm_chorales"


def random_rolls(*lengths):
    draw = np.random.default_rng(0)
    return [(draw.random((length, 88)) < 0.1).astype(np.uint8) for length in lengths]


def test_a_midi_file_is_asked_and_told_as_keys(tmp_path):
    roll = random_rolls(5)[0]
    midi.write_roll(roll, tmp_path / "a.mid", 0.5)
    task = page.Task(page.Config(dataset="nottingham"))
    np.testing.assert_array_equal(task.read(str(tmp_path / "a.mid"))["rolls"], roll[None])
    following = np.zeros((1, 88))
    following[0, 39] = 0.75
    assert task.show({"next": following, "nll": [8.123]}).startswith(
        "8.12 nats a frame; the likeliest keys of the next frame: C4 0.75, "
    )
    with pytest.raises(RecipeError, match="a MIDI file or test:N, received 'nothing'"):
        task.read("nothing")


def test_pieces_are_trained_on_in_parts_of_the_window(monkeypatch):
    rolls = random_rolls(5, 9)
    monkeypatch.setattr(datasets, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "examples", lambda *_, **__: iter({"roll": roll} for roll in rolls))
    monkeypatch.setattr(datasets, "describe", lambda *_: {})
    for window, counts in ((1, (12, 2, 2)), (4, (3, 2, 2)), (200, (2, 2, 2))):
        config = page.Config(window=window)
        splits = page.load(config, None)
        assert tuple(count(part) for part in (splits.train, splits.validation, splits.test)) == counts
        inputs, _ = next(iter(page.Task(config).batches(splits.train, training=True).epoch()))
        assert inputs["inputs"].shape[1] <= window
        np.testing.assert_allclose(np.unique(inputs["inputs"]), [0, 5])


@pytest.mark.tfds
@pytest.mark.parametrize(
    ("dataset", "counts"),
    [
        ("jsb_chorales", (229, 76, 77)),
        ("nottingham", (694, 173, 170)),
        ("piano_midi", (87, 12, 25)),
        ("muse_data", (524, 135, 124)),
    ],
)
def test_placed_files_prepare_the_published_splits(dataset, counts, no_network, tmp_path):
    shutil.copytree(pathlib.Path(os.environ["TFDS_SOURCES"]) / "poly_music", tmp_path / "downloads/manual/piano_rolls")
    builder = datasets.prepare(f"piano_rolls/{dataset}", data_dir=tmp_path)
    assert tuple(builder.info.splits[split].num_examples for split in ("train", "validation", "test")) == counts


def test_without_a_network_it_says_which_files_to_place(no_network, tmp_path):
    with pytest.raises(RecipeError) as error:
        page.load(page.Config(), tmp_path)
    for part in ("JSB_Chorales.mat", str(tmp_path / "downloads/manual/piano_rolls")):
        assert part in str(error.value)


@pytest.mark.tfds
def test_train_evaluate_and_predict(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "poly_music/JSB_Chorales.mat"
    (tmp_path / "data/downloads/manual/piano_rolls").mkdir(parents=True)
    shutil.copy(sources, tmp_path / "data/downloads/manual/piano_rolls")
    options = ["--data-dir=data"]
    assert cli.main(["train", NAME, "--epochs=2", "--units=16", "--device=cpu", "--export", *options]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert card["metrics"]["key_given_frame_before"] < card["metrics"]["key_frequencies"] < 12
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", *options]) == 0
    assert f"test nll             {card['metrics']['test_nll']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "test:76", *options]) == 0
    assert "nats a frame; the likeliest keys" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / NAME).iterdir()
    assert mido.MidiFile(folder / "continuation.mid").length > 10
    assert cli.main(["predict", NAME, str(folder / "continuation.mid"), *options]) == 0
