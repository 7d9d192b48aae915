"""The task of sequences with latent variables: what its signatures answer, refuse and draw, and its figures."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.io import wavfile

import archs
from recipes._core.data import batching, midi
from recipes._core.export import artifact, export
from recipes.tasks.latent_sequences import LatentRolls, LatentSounds

SETTINGS = {"epochs": 1, "batch_size": 2, "learning_rate": 5e-3, "clipnorm": 1.0, "seed": 0, "latents": 3}
CONFIG = types.SimpleNamespace(**SETTINGS, warmup=0.5)


class Few(LatentRolls):
    draws = 4


class Sounds(LatentSounds):
    features, draws, density = 20, 4, "gaussian"


TASK = Few(CONFIG)


def random_rolls(*lengths):
    draw = np.random.default_rng(0)
    return [(draw.random((length, 88)) < 0.1).astype(np.uint8) for length in lengths]


def untrained(arch="vrnn", **arguments):
    keras.utils.set_random_seed(0)
    sizes = {"features": 88, "units": 6, "latents": 3, "lengths": True} | arguments
    model = archs.create(arch, kind="arch", **sizes)
    for weight in model.weights:  # so that latents matter
        if "decoder" in weight.name:
            weight.assign(3 * weight)
    return model


def asked(model, task=TASK):
    return export.as_arrays(task.signatures(model))


@pytest.fixture(scope="module", params=["vrnn", "storn"])
def answer(request):
    return asked(untrained(request.param))


def request_of(rolls, lengths, **numbers):
    request = TASK.request(rolls, lengths)
    return request | {name: np.asarray(values, np.int32) for name, values in numbers.items()}


def two_rolls():
    short, long = random_rolls(5, 9)
    rolls = np.ones((2, 9, 88), np.uint8)
    rolls[0, :5], rolls[1] = short, long
    return short, long, rolls


def test_a_score_knows_no_padding_and_no_neighbours(answer):
    short, long, rolls = two_rolls()
    both = answer(request_of(rolls, [5, 9], seed=[7, 3], draws=[2, 5]))
    assert both["scored"].tolist() == [4, 8]
    assert both["divergences"].shape == (2, 9)
    assert not np.any(both["divergences"][:, 0])
    assert not np.any(both["divergences"][0, 5:])
    for row, (roll, seed, draws) in enumerate(((short, 7, 2), (long, 3, 5))):
        alone = answer(request_of(roll[None], [len(roll)], seed=[seed], draws=[draws]))
        for name in ("bound", "nll", "divergence", "importance_weighted"):
            assert alone[name][0] == pytest.approx(both[name][row], rel=1e-4)
        assert alone["bound"][0] == pytest.approx(alone["nll"][0] + alone["divergence"][0], rel=1e-5)
        assert alone["divergence"][0] == pytest.approx(alone["divergences"][0].sum() / (len(roll) - 1), rel=1e-4)
        other = answer(request_of(roll[None], [len(roll)], seed=[seed + 1], draws=[draws]))
        assert other["nll"][0] != alone["nll"][0]
        assert other["importance_weighted"][0] != alone["importance_weighted"][0]


def test_more_draws_come_closer_to_the_likelihood(answer):
    (roll,) = random_rolls(6)
    rolls = np.stack([roll] * 64)
    several = {"seed": np.arange(64), "draws": np.full(64, 1)}
    bound = answer(request_of(rolls, [6] * 64, **several))
    one, many = bound["importance_weighted"].mean(), []
    for draws in (8, 64):
        found = answer(request_of(rolls, [6] * 64, **several | {"draws": np.full(64, draws)}))
        many.append(found["importance_weighted"].mean())
    assert many[1] < many[0] < one
    assert one == pytest.approx(bound["bound"].mean(), rel=0.05)  # which is the mean of single draws


def test_a_reconstruction_is_of_the_latents_that_the_seed_draws(answer):
    short, _, rolls = two_rolls()
    given = {name: value for name, value in request_of(rolls, [5, 9]).items() if name != "draws"}
    found = answer(given | {"seed": np.array([7, 3], np.int32)}, "reconstruct")["probabilities"]
    assert found.shape == rolls.shape
    assert not np.any(found[0, 5:])
    assert np.all((found[0, :5] > 0) & (found[0, :5] < 1))
    scored = answer(request_of(rolls, [5, 9], seed=[7, 3]))["nll"][0]
    expected = -np.log(np.where(short[1:], found[0, 1:5], 1 - found[0, 1:5])).sum(axis=1).mean()
    assert scored == pytest.approx(expected, rel=1e-4)


def test_the_seed_decides_what_is_drawn(answer):
    drawn = answer({"steps": np.array([5, 5, 5, 3], np.int32), "seed": np.array([1, 1, 2, 1], np.int32)}, "sample")
    first, again, other, short = drawn["rolls"]
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    np.testing.assert_array_equal(short[:3], first[:3])
    assert not short[3:].any()
    alone = answer({"steps": np.array([5], np.int32), "seed": np.array([2], np.int32)}, "sample")["rolls"][0]
    np.testing.assert_array_equal(alone, other)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["vrnn", "storn"])
def test_an_export_draws_and_scores_alike(arch, tmp_path):
    model = untrained(arch)
    functions, splits = TASK.signatures(model), splits_of(random_rolls(24, 30))
    artifact.write(tmp_path / "model", functions)
    exported, live = artifact.load(tmp_path / "model"), export.as_arrays(functions)
    loaded = export.as_arrays(exported.signatures)
    for name, request in TASK.sample(model, splits).items():
        expected, received = live(request, name), loaded(request, name)
        assert received.keys() == expected.keys()
        for output, value in received.items():
            np.testing.assert_allclose(value, expected[output], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rolls": np.full((1, 3, 88), 2, np.uint8)}, "rolls: expected 0 or 1"),
        ({"rolls": np.zeros((0, 3, 88), np.uint8), "lengths": np.zeros(0, np.int32)}, "empty batch"),
        ({"lengths": np.array([0], np.int32)}, "lengths: expected 1 or more"),
        ({"lengths": np.array([4], np.int32)}, "no more than there are time steps"),
        ({"lengths": np.array([3, 3], np.int32)}, "lengths: expected one for each row"),
        ({"seed": np.array([-1], np.int32)}, "seed: expected 0 or more"),
        ({"seed": np.array([1, 2], np.int32)}, "seed: expected one for each row"),
        ({"draws": np.array([0], np.int32)}, "draws: expected 1 to 1000"),
        ({"draws": np.array([1001], np.int32)}, "draws: expected 1 to 1000"),
        ({"steps": np.array([0], np.int32)}, "steps: expected 1 to 10000, received\\W+0\\W"),
        ({"steps": np.array([10001], np.int32)}, "steps: expected 1 to 10000, received\\W+10001\\W"),
        (
            {name: np.full(101, value, np.int32) for name, value in {"draws": 1000, "seed": 0, "lengths": 3}.items()}
            | {"rolls": np.zeros((101, 3, 88), np.uint8)},
            "draws: expected no more than 100000 by the largest of them times the rows, received\\W+101000\\W",
        ),
    ],
)
def test_what_is_refused(answer, changed, message):
    drawn = {"steps": np.array([2], np.int32), "seed": np.array([0], np.int32)}
    given = request_of(np.zeros((1, 3, 88), np.uint8), [3])
    request, signature = (drawn, "sample") if "steps" in changed else (given, "serving_default")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(request | changed, signature)


def splits_of(rolls):
    columns = batching.columns({"roll": roll} for roll in rolls)
    return batching.Splits(columns, columns, columns, facts={})


def test_figures_are_means_over_the_scored_frames(answer, tmp_path):
    rolls = random_rolls(24, 40, 30)
    metrics = TASK.evaluate(answer, splits_of(rolls), tmp_path)
    assert list(metrics)[:4] == ["test_bound", "nll", "divergence", "importance_weighted_4"]
    each = [answer(request_of(roll[None], [len(roll)], seed=[n]))["bound"][0] for n, roll in enumerate(rolls)]
    assert metrics["test_bound"] == pytest.approx(np.average(each, weights=[23, 39, 29]), rel=1e-4)
    assert metrics["test_bound"] == pytest.approx(metrics["nll"] + metrics["divergence"], rel=1e-5)
    for name in ("reconstruction.png", "samples.png"):
        assert (tmp_path / name).stat().st_size > 5000
    drawn = answer({"steps": np.array([64], np.int32), "seed": np.array([1], np.int32)}, "sample")["rolls"][0]
    np.testing.assert_array_equal(midi.read_roll(str(tmp_path / "sample_1.mid"), 1.0)[:20], drawn[:20])
    shown = TASK.show(answer(TASK.test_request(splits_of(rolls).test, 0)))
    assert shown.startswith(f"{each[0]:.2f} nats a step (")


def test_batches_have_noise_that_seed_and_epoch_decide():
    columns = splits_of(random_rolls(5, 9, 7)).train
    batches = [next(iter(TASK.batches(columns, training=True).epoch(number))) for number in (0, 0, 1)]
    noise = [np.asarray(inputs["noise"]) for inputs, _ in batches]
    np.testing.assert_array_equal(noise[0], noise[1])
    assert noise[2].ravel()[0] != noise[0].ravel()[0]
    inputs, targets = batches[0]
    np.testing.assert_array_equal(inputs["inputs"], 5 * targets["outputs"])
    assert inputs["noise"].shape == (*inputs["inputs"].shape[:2], 3)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("warmup", "step", "weight"), [(0.5, 0, 0.0), (0.5, 2, 0.4), (0.5, 5, 1.0), (0.0, 0, 1.0)])
def test_the_divergence_warms_up_where_the_setting_says_so(warmup, step, weight):
    task, model = Few(types.SimpleNamespace(**SETTINGS, warmup=warmup)), untrained()
    task.compile(model, steps=10)
    (callback,) = task.callbacks()
    callback.step = step
    callback.on_train_batch_begin(step)
    inputs, targets = next(iter(task.batches(splits_of(random_rolls(5, 9)).train).epoch()))
    outputs = model(inputs)
    inside = tf.sequence_mask(inputs["lengths"])
    found = model.evaluate(inputs, targets, verbose=0, return_dict=True, callbacks=[])
    expected = weight * float(tf.reduce_mean(outputs["divergence"][inside]))
    assert found["divergence_loss"] == pytest.approx(expected, rel=1e-4)
    assert found["loss"] == pytest.approx(found["outputs_loss"] + expected, rel=1e-4)


def sounds(*lengths):
    draw = np.random.default_rng(0)
    sounds = ({"samples": draw.uniform(-0.5, 0.5, n).astype(np.float32)} for n in lengths)
    columns = batching.columns(sounds)
    return batching.Splits(columns, columns, columns, facts={})


@pytest.mark.parametrize("kind", [pytest.param("vrnn", marks=pytest.mark.slow), "rnn"])
def test_sounds_with_latents_and_without(kind, tmp_path):
    task, splits = Sounds(types.SimpleNamespace(**SETTINGS, warmup=0.0, model=kind)), sounds(450, 615, 1000)
    task.learn(splits)
    assert task.scale == pytest.approx(12**-0.5, rel=0.05)
    if kind == "rnn":
        model = archs.stacked_lstm(20, [6], 40, return_sequences=True, lengths=True)
    else:
        model = untrained(features=20, density="gaussian")
    task.compile(model, steps=2)
    inputs, targets = next(iter(task.batches(splits.train, training=True).epoch()))
    assert np.all(np.isfinite(model.train_on_batch(inputs, targets)))
    answer = asked(model, task)
    metrics = task.evaluate(answer, splits, tmp_path)
    assert next(iter(metrics)) == "test_log_likelihood"
    found = answer(task.test_request(splits.test, 0))
    assert found["scored"].tolist() == [22]
    if kind == "rnn":  # each vector from those before alone
        assert metrics["divergence"] == 0
        assert metrics["importance_weighted_4"] == pytest.approx(metrics["test_log_likelihood"], rel=1e-5)
        x = np.asarray(splits.test["samples"])[:1, :440].reshape(1, 22, 20) / task.scale
        fed = np.pad(x, [(0, 0), (1, 0), (0, 0)])[:, :-1]
        theta = model({"inputs": fed, "lengths": np.array([22])})
        expected = -np.mean(archs.losses.Density("gaussian", 20).log_likelihood(x, theta))
        assert found["bound"][0] == pytest.approx(expected, rel=1e-4)
    rate, heard = wavfile.read(tmp_path / "sample_1.wav")
    assert (rate, len(heard)) == (8000, 440)
    assert (tmp_path / "spectrograms.png").stat().st_size > 5000
    drawn = [answer({"steps": np.array([n], np.int32), "seed": np.array([5], np.int32)}, "sample") for n in (3, 4)]
    np.testing.assert_allclose(drawn[0]["samples"][0], drawn[1]["samples"][0, :60], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="samples: expected numbers from -1 to 1"):
        answer(task.request(np.full((1, 40), 2.0), [40]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="lengths: expected 20 or more"):
        answer(task.request(np.zeros((1, 40)), [19]))
    long = answer(task.request(np.zeros((1, 18_262)), [18_262]) | {"draws": np.array([1], np.int32)})
    assert long["scored"].tolist() == [913]
    with pytest.raises(tf.errors.InvalidArgumentError, match="samples: expected at most 240000 time steps"):
        answer(task.request(np.zeros((1, 240_001)), [240_001]))
