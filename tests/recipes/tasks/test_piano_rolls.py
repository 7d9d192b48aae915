"""The task of polyphonic music: its likelihoods, its baselines, and what it draws."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.data import batching, midi
from recipes._core.export import export
from recipes.tasks.piano_rolls import PianoRolls, key_nll, pairs, windows

CONFIG = types.SimpleNamespace(epochs=1, batch_size=2, learning_rate=5e-3, clipnorm=1.0, seed=0)


class Loud(PianoRolls):
    gain = 5.0


TASK = Loud(CONFIG)


def random_rolls(*lengths):
    draw = np.random.default_rng(0)
    return [(draw.random((length, 88)) < 0.1).astype(np.uint8) for length in lengths]


def untrained(cell="lstm"):
    keras.utils.set_random_seed(0)
    return archs.stacked_lstm(features=88, units=[6], outputs=88, cell=cell, return_sequences=True, lengths=True)


def asked(model):
    return export.as_arrays(TASK.signatures(model))


@pytest.fixture(scope="module")
def answer():
    return asked(untrained())


def test_parts_of_a_piece_predict_each_of_its_frames_once():
    (piece,) = random_rolls(11)
    for frames, sizes in ((4, [5, 5, 3]), (10, [11]), (5, [6, 6])):
        parts = windows([piece], frames)
        assert [len(part) for part in parts] == sizes
        np.testing.assert_array_equal(np.concatenate([part[1:] for part in parts]), piece[1:])


def test_nll_is_that_of_the_probabilities_and_knows_no_padding(answer):
    short, long = random_rolls(5, 9)
    rolls = np.ones((2, 9, 88), np.uint8)
    rolls[0, :5], rolls[1] = short, long
    both = answer(TASK.request(rolls, [5, 9]))
    for row, roll in enumerate((short, long)):
        chances = both["probabilities"][row, : len(roll) - 1].astype(float)
        expected = -np.log(np.where(roll[1:], chances, 1 - chances)).sum(axis=1).mean()
        assert both["nll"][row] == pytest.approx(expected, rel=1e-5)
        alone = answer(TASK.request(roll[None], [len(roll)]))
        assert alone["nll"][0] == pytest.approx(both["nll"][row], rel=1e-5)
        np.testing.assert_allclose(alone["probabilities"][0, -1], alone["next"][0], rtol=1e-6)
        np.testing.assert_allclose(both["next"][row], alone["next"][0], rtol=1e-5)
    assert answer(TASK.request(short[None], [1]))["nll"][0] == 0


def test_loss_is_the_likelihood_of_the_frames_without_the_padding():
    model = untrained()
    TASK.compile(model, steps=1)
    rolls = np.zeros((1, 9, 88), np.float32)
    rolls[0, :5] = random_rolls(5)[0]
    loss = model.evaluate({"inputs": TASK.gain * rolls[:, :-1], "lengths": np.array([4])}, rolls[:, 1:], verbose=0)
    answered = asked(model)(TASK.request(rolls, [5]))
    assert loss == pytest.approx(answered["nll"][0], rel=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "min_gru"])
def test_what_is_drawn_follows_the_probabilities_frame_by_frame(cell):
    model = untrained(cell)
    model.get_layer("outputs").kernel.assign(tf.random.stateless_normal((6, 88), (0, 0), stddev=1e5))
    answer = asked(model)  # so sure of each key that nothing is left to chance
    short, long = random_rolls(3, 6)
    rolls = np.zeros((2, 6, 88), np.uint8)
    rolls[0, :3], rolls[1] = short, long
    settings = {"steps": np.array([4, 3], np.int32), "seed": np.zeros(2, np.int32)}
    drawn = answer(TASK.request(rolls, [3, 6]) | settings, "generate")["rolls"]
    assert drawn.shape == (2, 4, 88)
    assert not drawn[1, 3].any()
    for roll, following in ((short, drawn[0]), (long, drawn[1, :3])):
        for frame in following:
            probabilities = answer(TASK.request(roll[None], [len(roll)]))["next"][0]
            np.testing.assert_array_equal(frame, probabilities > 0.5)
            roll = np.concatenate([roll, frame[None]])


def test_the_seed_decides_what_is_drawn(answer):
    rolls = np.stack([random_rolls(4)[0]] * 3)
    settings = {"steps": np.full(3, 5, np.int32), "seed": np.array([1, 1, 2], np.int32)}
    first, again, other = answer(TASK.request(rolls, [4] * 3) | settings, "generate")["rolls"]
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    alone = {name: value[2:] for name, value in settings.items()}
    np.testing.assert_array_equal(answer(TASK.request(rolls[2:], [4]) | alone, "generate")["rolls"][0], other)
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
    before, after = pairs(rolls, [4, 3])
    assert before[:, 0].tolist() == [1, 1, 0, 0, 0]
    assert after[:, 0].tolist() == [1, 0, 1, 0, 1]
    # The other 87 keys were silent: five times of five, or, given the frame before, as often.
    silent = -87 * np.log(1 - 0.5 / 6)
    on, off = (1 + 0.5) / 3, (2 + 0.5) / 4
    expected = -np.log([on, 1 - on, off, 1 - off, off]).mean() + silent
    assert key_nll([before, after], [before, after]) == pytest.approx(expected)
    sounds = 3.5 / 6
    expected = -np.log([sounds, 1 - sounds, sounds, 1 - sounds, sounds]).mean() + silent
    nothing = np.zeros_like(before)
    assert key_nll([nothing, after], [nothing, after]) == pytest.approx(expected)


def test_evaluate_weighs_pieces_by_their_frames(answer, tmp_path):
    test = batching.columns({"roll": roll} for roll in random_rolls(24, 40, 30))
    train = batching.columns({"roll": roll} for roll in random_rolls(8, 9))
    splits = batching.Splits(train, train, test, facts={})
    metrics = TASK.evaluate(answer, splits, tmp_path)
    assert next(iter(metrics)) == "test_nll"
    each = [answer(TASK.request(roll[None], [len(roll)]))["nll"][0] for roll in random_rolls(24, 40, 30)]
    assert metrics["test_nll"] == pytest.approx(np.average(each, weights=[23, 39, 29]), rel=1e-5)
    assert (tmp_path / "continuation.png").stat().st_size > 5000
    roll = midi.read_roll(str(tmp_path / "continuation.mid"), 1.0)
    np.testing.assert_array_equal(roll[: TASK.primer], random_rolls(24)[0][: TASK.primer])


@pytest.mark.parametrize(("lengths", "number", "known"), [((9, 30, 40), 1, 16), ((16, 9), 0, 15), ((1, 1), 0, 1)])
def test_the_picture_is_of_the_first_piece_that_is_long_enough(lengths, number, known, answer, tmp_path):
    rolls = random_rolls(*lengths)
    test = batching.columns({"roll": roll} for roll in rolls)
    assert TASK.opening(test) == (number, known)
    splits = batching.Splits(test, test, test, facts={})
    for request in (TASK.sample(None, splits)[name] for name in ("serving_default", "generate")):
        np.testing.assert_array_equal(request["rolls"], rolls[number][None, :known])
        assert request["lengths"].tolist() == [known]
    TASK.draw(answer, test, tmp_path)
    assert (tmp_path / "continuation.png").exists()


def test_batches_ask_each_frame_for_the_next_and_leave_the_padding_out():
    rolls = random_rolls(5, 9, 7)
    columns = batching.columns({"roll": roll} for roll in rolls)
    seen = []
    for inputs, targets in TASK.batches(columns).epoch().as_numpy_iterator():
        for frames, length, following in zip(inputs["inputs"], inputs["lengths"], targets, strict=True):
            (roll,) = (roll for roll in rolls if len(roll) == length + 1)
            np.testing.assert_array_equal(frames[:length], 5 * roll[:-1])
            np.testing.assert_array_equal(following[:length], roll[1:])
            seen.append(int(length) + 1)
    assert seen == [5, 7, 9]
    first, again = (
        np.concatenate([inputs["lengths"] for inputs, _ in TASK.batches(columns, training=True).epoch(number)])
        for number in (0, 0)
    )
    np.testing.assert_array_equal(first, again)
