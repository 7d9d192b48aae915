"""The page of polyphonic music: its likelihoods, its baselines, and what it draws."""

import json
import os
import pathlib
import shutil

import keras
import mido
import numpy as np
import pytest
import tensorflow as tf

from recipes import stacked_lstm_chorales as page
from recipes._core import cli, data, export, midi
from recipes._core.errors import RecipeError

NAME = "stacked_lstm_chorales"


def random_rolls(*lengths):
    draw = np.random.default_rng(0)
    return [(draw.random((length, 88)) < 0.1).astype(np.uint8) for length in lengths]


@pytest.fixture(scope="module")
def answer():
    keras.utils.set_random_seed(0)
    model = page.build_model(page.Config(units=6, cell="lstm"), steps=1)
    return export.as_arrays(page.serving(model, None))


def test_parts_of_a_piece_predict_each_of_its_frames_once():
    (piece,) = random_rolls(11)
    for frames, sizes in ((4, [5, 5, 3]), (10, [11]), (5, [6, 6])):
        parts = page.windows([piece], frames)
        assert [len(part) for part in parts] == sizes
        np.testing.assert_array_equal(np.concatenate([part[1:] for part in parts]), piece[1:])


def test_nll_is_that_of_the_probabilities_and_knows_no_padding(answer):
    short, long = random_rolls(5, 9)
    rolls = np.ones((2, 9, 88), np.uint8)
    rolls[0, :5], rolls[1] = short, long
    both = answer(page.request(rolls, [5, 9]))
    for row, roll in enumerate((short, long)):
        chances = both["probabilities"][row, : len(roll) - 1].astype(float)
        expected = -np.log(np.where(roll[1:], chances, 1 - chances)).sum(axis=1).mean()
        assert both["nll"][row] == pytest.approx(expected, rel=1e-5)
        alone = answer(page.request(roll[None], [len(roll)]))
        assert alone["nll"][0] == pytest.approx(both["nll"][row], rel=1e-5)
        np.testing.assert_allclose(alone["probabilities"][0, -1], alone["next"][0], rtol=1e-6)
        np.testing.assert_allclose(both["next"][row], alone["next"][0], rtol=1e-5)
    assert answer(page.request(short[None], [1]))["nll"][0] == 0


def test_loss_is_the_likelihood_of_the_frames_without_the_padding():
    model = page.build_model(page.Config(units=6, dropout=0.0), steps=1)
    rolls = np.zeros((1, 9, 88), np.float32)
    rolls[0, :5] = random_rolls(5)[0]
    loss = model.evaluate({"inputs": page.GAIN * rolls[:, :-1], "lengths": np.array([4])}, rolls[:, 1:], verbose=0)
    answered = export.as_arrays(page.serving(model, None))(page.request(rolls, [5]))
    assert loss == pytest.approx(answered["nll"][0], rel=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "min_gru"])
def test_what_is_drawn_follows_the_probabilities_frame_by_frame(cell):
    keras.utils.set_random_seed(0)
    model = page.build_model(page.Config(units=6, cell=cell, dropout=0.0), steps=1)
    model.get_layer("outputs").kernel.assign(tf.random.stateless_normal((6, 88), (0, 0), stddev=1e5))
    answer = export.as_arrays(page.serving(model, None))  # so sure of each key that nothing is left to chance
    short, long = random_rolls(3, 6)
    rolls = np.zeros((2, 6, 88), np.uint8)
    rolls[0, :3], rolls[1] = short, long
    settings = {"steps": np.array([4, 3], np.int32), "seed": np.zeros(2, np.int32)}
    drawn = answer(page.request(rolls, [3, 6]) | settings, "generate")["rolls"]
    assert drawn.shape == (2, 4, 88)
    assert not drawn[1, 3].any()
    for roll, following in ((short, drawn[0]), (long, drawn[1, :3])):
        for frame in following:
            probabilities = answer(page.request(roll[None], [len(roll)]))["next"][0]
            np.testing.assert_array_equal(frame, probabilities > 0.5)
            roll = np.concatenate([roll, frame[None]])


def test_the_seed_decides_what_is_drawn(answer):
    rolls = np.stack([random_rolls(4)[0]] * 3)
    settings = {"steps": np.full(3, 5, np.int32), "seed": np.array([1, 1, 2], np.int32)}
    first, again, other = answer(page.request(rolls, [4] * 3) | settings, "generate")["rolls"]
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    alone = {name: value[2:] for name, value in settings.items()}
    np.testing.assert_array_equal(answer(page.request(rolls[2:], [4]) | alone, "generate")["rolls"][0], other)
    assert 0.3 < first.mean() < 0.7  # an untrained model tosses a coin


@pytest.mark.parametrize(
    ("rolls", "lengths", "message"),
    [
        (np.full((1, 3, 88), 2, np.uint8), [3], "rolls: expected 0 or 1"),
        (np.zeros((0, 3, 88), np.uint8), [], "empty batch"),
        (np.zeros((1, 3, 88), np.uint8), [0], "lengths: expected 1 or more"),
        (np.zeros((1, 3, 88), np.uint8), [4], "no more than there are time steps"),
    ],
)
def test_what_a_roll_cannot_be(answer, rolls, lengths, message):
    for more in ({}, {name: np.ones(len(rolls), np.int32) for name in ("steps", "seed")}):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer({"rolls": rolls, "lengths": np.array(lengths, np.int32)} | more, *["generate"][: len(more)])


def test_baselines_by_hand():
    rolls = np.zeros((2, 4, 88), np.uint8)
    rolls[0, :, 0] = [1, 1, 0, 1]
    rolls[1, :, 0] = [0, 0, 1, 1]
    before, after = page.pairs(rolls, [4, 3])
    assert before[:, 0].tolist() == [1, 1, 0, 0, 0]
    assert after[:, 0].tolist() == [1, 0, 1, 0, 1]
    # The other 87 keys were silent: five times of five, or, given the frame before, as often.
    silent = -87 * np.log(1 - 0.5 / 6)
    on, off = (1 + 0.5) / 3, (2 + 0.5) / 4
    expected = -np.log([on, 1 - on, off, 1 - off, off]).mean() + silent
    assert page.key_nll([before, after], [before, after]) == pytest.approx(expected)
    sounds = 3.5 / 6
    expected = -np.log([sounds, 1 - sounds, sounds, 1 - sounds, sounds]).mean() + silent
    nothing = np.zeros_like(before)
    assert page.key_nll([nothing, after], [nothing, after]) == pytest.approx(expected)


def test_evaluate_weighs_pieces_by_their_frames(answer, tmp_path):
    test = data.columns({"roll": roll} for roll in random_rolls(24, 40, 30))
    train = data.Batches(data.columns({"roll": roll} for roll in random_rolls(8, 9)), 2, None)
    splits = data.Splits(train, train, test, facts={}, more={"beats": 1.0})
    metrics = page.evaluate(answer, splits, tmp_path)
    assert page.METRIC in metrics
    each = [answer(page.request(roll[None], [len(roll)]))["nll"][0] for roll in random_rolls(24, 40, 30)]
    assert metrics["test_nll"] == pytest.approx(np.average(each, weights=[23, 39, 29]), rel=1e-5)
    assert (tmp_path / "continuation.png").stat().st_size > 5000
    roll = midi.read_roll(str(tmp_path / "continuation.mid"), 1.0)
    np.testing.assert_array_equal(roll[: page.PRIMER], random_rolls(24)[0][: page.PRIMER])


def test_a_midi_file_is_asked_and_told_as_keys(answer, tmp_path):
    roll = random_rolls(5)[0]
    midi.write_roll(roll, tmp_path / "a.mid", 0.5)
    asked = page.read_input(str(tmp_path / "a.mid"), page.Config(dataset="nottingham"))
    np.testing.assert_array_equal(asked["rolls"], roll[None])
    following = np.zeros((1, 88))
    following[0, 39] = 0.75
    assert page.show({"next": following, "nll": [8.123]}).startswith(
        "8.12 nats a frame; the likeliest keys of the next frame: C4 0.75, "
    )
    with pytest.raises(RecipeError, match="a MIDI file or test:N, received 'nothing'"):
        page.read_input("nothing", page.Config())


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
    builder = data.prepare(f"piano_rolls/{dataset}", data_dir=tmp_path)
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
    assert cli.main(["train", NAME, "--epochs=2", "--units=16", "--layers=1", "--device=cpu", *options]) == 0
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
