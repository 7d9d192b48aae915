"""CTC without the padding, against TensorFlow's own with lengths; and the labels read off."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

DRAW = np.random.default_rng(0)
CLASSES = 4
X = DRAW.normal(size=(4, 9, 5)).astype("float32")
LENGTHS = np.array([9, 4, 6, 3])
ROWS = [[1, 2, 2, 3], [3], [2, 1, 2], []]
LABELS = keras.utils.pad_sequences(ROWS, padding="post")


def tagger(**options):
    keras.utils.set_random_seed(0)
    return archs.bidirectional_lstm(**{"features": 5, "units": 6, "outputs": CLASSES, "lengths": True} | options)


def expected_of(logits, rows=ROWS):
    """The loss of each row without padding."""
    losses = []
    for one, row in zip(logits, rows, strict=True):
        given = {"label_length": [len(row)], "logit_length": [len(one)], "blank_index": 0, "logits_time_major": False}
        losses.append(tf.nn.ctc_loss([row or [0]], one[None], **given)[0])
    return np.array(losses)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "labels", [LABELS, keras.utils.pad_sequences(ROWS, padding="pre"), np.pad(LABELS, [(0, 0), (0, 3)])]
)
def test_the_loss_is_that_of_each_row_alone(labels):
    model, x = tagger(), {"inputs": X, "lengths": LENGTHS}
    logits = [one[:n] for one, n in zip(np.asarray(model(x)), LENGTHS, strict=True)]
    expected = expected_of(logits)
    np.testing.assert_allclose(archs.losses.CTC(reduction=None)(labels, model(x)), expected, rtol=1e-5)
    model.compile(keras.optimizers.SGD(0.0), archs.losses.CTC())
    assert model.evaluate(x, labels, verbose=0) == pytest.approx(expected.mean(), rel=1e-5)
    assert model.fit(x, labels, verbose=0).history["loss"] == pytest.approx([expected.mean()], rel=1e-5)
    longer = {"inputs": np.pad(X, [(0, 0), (0, 5), (0, 0)], constant_values=7.0), "lengths": LENGTHS}
    assert model.evaluate(longer, labels, verbose=0) == pytest.approx(expected.mean(), rel=1e-5)
    weights = np.array([1.0, 0.0, 2.0, 1.0])
    received = model.evaluate(x, labels, sample_weight=weights, verbose=0)
    assert received == pytest.approx((expected * weights).mean(), rel=1e-5)


def test_without_a_mask_it_is_that_of_keras():
    model = tagger(lengths=False)
    expected = keras.losses.CTC()(LABELS, model(X))
    np.testing.assert_allclose(archs.losses.CTC()(LABELS, model(X)), expected, rtol=1e-6)
    np.testing.assert_allclose(archs.losses.CTC()(LABELS, np.asarray(model(X))), expected, rtol=1e-6)


def test_a_mask_may_leave_out_any_step():
    model = tagger(vocabulary=7, lengths=False, mask_zero=True)
    tokens = np.array([[0, 3, 1, 0, 5, 2, 4], [1, 0, 6, 3, 0, 0, 2]])
    rows = [[1, 2], [3]]
    logits = np.asarray(model(tokens))
    expected = expected_of([one[row > 0] for one, row in zip(logits, tokens, strict=True)], rows)
    labels = keras.utils.pad_sequences(rows, padding="post")
    np.testing.assert_allclose(archs.losses.CTC(reduction=None)(labels, model(tokens)), expected, rtol=1e-5)
    for row in range(2):
        alone = archs.decoding.ctc_decode(model, tokens[row : row + 1][:, tokens[row] > 0], beam=2)
        together = archs.decoding.ctc_decode(model, tokens, beam=2)
        np.testing.assert_allclose(together["log_probabilities"][row], alone["log_probabilities"][0], rtol=1e-5)


@pytest.mark.slow
def test_a_model_learns_the_labels_and_reloads(tmp_path):
    rows = [[1, 2], [2, 2], [3], [1, 3]]
    x = np.zeros((4, 12, 5), "float32")
    lengths = np.array([12, 9, 7, 12])
    for row, labels in enumerate(rows):
        for place, label in enumerate(labels):
            x[row, 1 + 3 * place : 3 + 3 * place, label] = 1.0
    model = tagger(units=12)
    model.compile(keras.optimizers.Adam(0.03), archs.losses.CTC())
    request, labels = {"inputs": x, "lengths": lengths}, keras.utils.pad_sequences(rows, padding="post")
    model.fit(request, labels, epochs=80, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.loss, archs.losses.CTC)
    for beam in (1, 4):
        found = tf.function(lambda x, beam=beam: archs.decoding.ctc_decode(loaded, x, beam=beam))(
            {"inputs": tf.constant(x), "lengths": tf.constant(lengths, "int32")}
        )
        np.testing.assert_array_equal(found["lengths"], [len(row) for row in rows])
        np.testing.assert_array_equal(found["tokens"][:, :2], labels)
        assert not np.any(found["tokens"][:, 2:])


@pytest.mark.parametrize("row", range(4))
def test_decoded_labels_have_the_probability_of_their_paths(row):
    model = tagger()
    lengths = np.minimum(LENGTHS, 5)
    x = {"inputs": X[:, :5], "lengths": lengths}
    shares = np.asarray(keras.ops.log_softmax(model(x)))[row, : lengths[row]]
    labellings = {}
    for path in itertools.product(range(CLASSES), repeat=len(shares)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label)
        score = sum(share[label] for share, label in zip(shares, path, strict=True))
        labellings[labels] = np.logaddexp(labellings.get(labels, -np.inf), score)
    best = max(labellings, key=labellings.get)
    greedy = tuple(label for label, _ in itertools.groupby(shares.argmax(axis=-1)) if label)
    for beam, labels, score in ((200, best, labellings[best]), (1, greedy, shares.max(axis=-1).sum())):
        found = archs.decoding.ctc_decode(model, x, beam=beam)
        length = int(found["lengths"][row])
        assert tuple(found["tokens"][row, :length].numpy()) == labels
        assert not np.any(found["tokens"][row, length:])
        assert float(found["log_probabilities"][row]) == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3, 1], r"labels of shape \(batch, labels\), received \(4,\)"),
        (np.full((4, 1), 4), "Expected labels from 1 to 3, and 0 for padding, received 4"),
        (np.tile([[1, 2, 1, 3]], (4, 1)), "a time step for each label, .* received 3"),
        ([[1, 1, 1], [0, 0, 0], [1, 2, 1], [1, 2, 2]], "one between two equal ones; in the rows .*, received 3"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    model, x = tagger(), {"inputs": X, "lengths": LENGTHS}
    with pytest.raises(ValueError, match=message):
        archs.losses.CTC()(np.array(labels), model(x))


def test_one_answer_for_a_sequence_is_refused():
    model, x = tagger(return_sequences=False), {"inputs": X, "lengths": LENGTHS}
    with pytest.raises(ValueError, match=r"\(batch, time, classes\), received \(4, 4\). Give the model"):
        archs.losses.CTC()(LABELS, model(x))
    with pytest.raises(ValueError, match=r"\(batch, time, classes\), received \(4, 4\). Give the model"):
        archs.decoding.ctc_decode(model, x)
    with pytest.raises(ValueError, match="`beam` to be a positive integer, received 0"):
        archs.decoding.ctc_decode(tagger(), x, beam=0)


def test_labels_of_a_graph_are_checked_within_it():
    model, x = tagger(), {"inputs": X, "lengths": LENGTHS}
    model.compile("sgd", archs.losses.CTC(), jit_compile=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected labels from 1 to 3"):
        model.fit(x, np.full((4, 1), 4), verbose=0)


# One feature, and a grid over which a density sums up to one: bits, or numbers from -8 to 8.
PARAMETERS = {
    "bernoulli": [0.7],
    "gaussian": [0.5, -0.3],
    "mixture": [0.4, -0.4, 1.5, -1.0, 0.2, -1.2],
}


@pytest.mark.parametrize("kind", PARAMETERS)
def test_a_density_sums_up_to_one_and_is_drawn_from(kind):
    density = archs.losses.Density(kind, 1, components=2)
    parameters = np.array(PARAMETERS[kind], "float32")
    assert density.size == len(parameters)
    places, width = (np.arange(2.0), 1.0) if kind == "bernoulli" else (np.linspace(-8, 8, 4001), 16 / 4000)
    chances = np.exp(density.log_likelihood(places[:, None], np.tile(parameters, (len(places), 1)))) * width
    assert chances.sum() == pytest.approx(1, abs=1e-4)
    mean, rows = chances @ places, 50_000
    variance = chances @ (places - mean) ** 2
    draw = np.random.default_rng(0)
    drawn = density.draw(np.tile(parameters, (rows, 1)), draw.random((rows, 1)), draw.normal(size=(rows, 1)))
    assert np.mean(drawn) == pytest.approx(mean, abs=0.02)
    assert np.var(drawn) == pytest.approx(variance, rel=0.03)
    assert float(density.mean(parameters)[0]) == pytest.approx(mean, abs=1e-3)


@pytest.mark.parametrize("kind", PARAMETERS)
def test_the_density_of_a_vector_is_that_of_its_features_together(kind):
    """A mixture has one component for all of them."""
    density, draw = archs.losses.Density(kind, 3, components=2), np.random.default_rng(1)
    parameters, x = draw.normal(size=(4, 5, density.size)), draw.normal(size=(4, 5, 3))
    found = density.log_likelihood(x, parameters)
    if kind == "bernoulli":
        expected = -np.log1p(np.exp(-parameters)) * x - np.log1p(np.exp(parameters)) * (1 - x)
        expected = expected.sum(axis=-1)
    else:
        count = 1 if kind == "gaussian" else 2
        logits = parameters[..., : count * (kind == "mixture")]
        means, raw = np.split(parameters[..., logits.shape[-1] :], 2, axis=-1)
        means, raw = (a.reshape(4, 5, count, 3) for a in (means, raw))
        deviations = np.log1p(np.exp(raw)) + 1e-4
        logs = -0.5 * ((x[:, :, None] - means) / deviations) ** 2 - np.log(deviations) - 0.5 * np.log(2 * np.pi)
        weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True) if count > 1 else 1.0
        expected = np.log((weights * np.exp(logs.sum(axis=-1))).sum(axis=-1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    mask = np.arange(5) < np.array([5, 2, 3, 0])[:, None]
    x[~mask] = parameters[~mask] = np.nan
    np.testing.assert_allclose(density.log_likelihood(x, parameters, mask), np.where(mask, expected, 0), atol=1e-4)


def test_a_deviation_has_a_floor_also_in_half_precision():
    density = archs.losses.Density("gaussian", 1)
    found = density.log_likelihood(tf.zeros((1, 1)), tf.constant([[0.0, -1000.0]], tf.float16))
    assert found.dtype == tf.float32
    assert float(found[0]) == pytest.approx(-np.log(1e-4) - 0.5 * np.log(2 * np.pi), rel=1e-5)


def bound_of(density, **options):
    keras.utils.set_random_seed(0)
    model = archs.vrnn(features=5, units=6, latents=2, density=density, components=2, lengths=True)
    divergence = archs.losses.Divergence(**options)
    loss = {"outputs": archs.losses.NegativeLogLikelihood(density, 2), "divergence": divergence}
    model.compile("sgd", loss)
    return model, divergence


@pytest.mark.parametrize("density", ["bernoulli", "mixture"])
def test_the_bound_is_a_mean_over_the_steps_within_the_lengths(density):
    model, divergence = bound_of(density)
    x = {"inputs": X, "noise": DRAW.normal(size=(4, 9, 2)).astype("float32"), "lengths": LENGTHS}
    targets = {"outputs": (X > 0).astype("float32"), "divergence": np.zeros((4, 9))}
    answer, inside = model(x), np.arange(9) < LENGTHS[:, None]
    nll = -archs.losses.Density(density, 5, 2).log_likelihood(targets["outputs"], answer["outputs"])
    parts = [np.asarray(part)[inside].mean() for part in (nll, answer["divergence"])]
    for weight in (1.0, 0.25):
        divergence.weight.assign(weight)
        found = model.evaluate(x, targets, batch_size=4, verbose=0)
        assert found[0] == pytest.approx(parts[0] + weight * parts[1], rel=1e-5)
    assert archs.losses.Divergence.from_config(divergence.get_config()).weight == 0.25


def test_parameters_of_another_number_are_refused():
    with pytest.raises(ValueError, match="Expected 10 parameters of a density 'gaussian' of 5 features, received 9"):
        archs.losses.NegativeLogLikelihood("gaussian")(np.ones((2, 3, 5)), np.ones((2, 3, 9)))
    with pytest.raises(ValueError, match="`weight` to be 0 or more, received -1"):
        archs.losses.Divergence(-1)
    with pytest.raises(ValueError, match=r"`end` to be `start`, 0\.5, or more, received 0\.2"):
        archs.losses.DivergenceSchedule(archs.losses.Divergence(), 10, 0.5, 0.2)


def test_the_weight_of_the_divergence_rises_along_a_line_and_is_one_in_a_validation():
    loss = archs.losses.Divergence()
    schedule, seen = archs.losses.DivergenceSchedule(loss, steps=20, start=0.1, end=0.6), []
    for step in range(20):
        schedule.on_train_batch_begin(step)
        seen.append(float(loss.weight.numpy()))
        schedule.on_train_batch_end(step)
    np.testing.assert_allclose(seen, np.clip((np.arange(20) / 20 - 0.1) / 0.5, 0, 1), atol=1e-6)
    schedule.step = 0  # as in a checkpoint of the first step
    schedule.on_train_batch_begin(0)
    assert loss.weight == 0
    schedule.on_test_begin()
    assert loss.weight == 1


def test_parameters_and_vectors_of_another_size_are_refused():
    """One vector of one feature would fit any number of them by broadcasting."""
    density = archs.losses.Density("bernoulli", 2)
    message = r"Expected `{}` of shape \(..., 2\) for a density 'bernoulli' of 2 features, received \(3, 1\)"
    for name, call in {
        "x": lambda: density.log_likelihood(np.zeros((3, 1)), np.zeros((3, 2))),
        "parameters": lambda: density.log_likelihood(np.zeros((3, 2)), np.zeros((3, 1))),
        "uniforms": lambda: density.draw(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 2))),
        "normals": lambda: density.draw(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 1))),
    }.items():
        with pytest.raises(ValueError, match=message.format(name)):
            call()
    with pytest.raises(ValueError, match=r"`parameters` of shape \(..., 15\) .* of 2 features, received \(3, 14\)"):
        archs.losses.Density("mixture", 2, 3).mean(np.zeros((3, 14)))


@pytest.mark.parametrize("wrong", [255.0, -1.0, float("nan")])
def test_bits_are_from_0_to_1(wrong):
    loss, targets = archs.losses.NegativeLogLikelihood(), np.array([[[0.0, 1.0], [0.5, wrong]]], "float32")
    message = "Expected targets of a Bernoulli density from 0 to 1, received"
    with pytest.raises(ValueError, match=f"{message} {wrong}"):
        loss(targets, np.zeros((1, 2, 2), "float32"))
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{message}\W+{wrong:.0f}\W"):  # of the wrong ones alone
        tf.function(loss)(tf.constant(targets), tf.zeros((1, 2, 2)))


@pytest.mark.parametrize("density", ["bernoulli", "gaussian"])
def test_targets_at_padding_may_be_no_numbers(density):
    size = archs.losses.Density(density, 2).size
    model = archs.stacked_lstm(features=3, units=[4], outputs=size, return_sequences=True, lengths=True)
    model.compile("sgd", archs.losses.NegativeLogLikelihood(density))
    x = {"inputs": np.ones((2, 5, 3), "float32"), "lengths": np.array([5, 2])}
    y = np.random.default_rng(0).uniform(size=(2, 5, 2)).astype("float32")
    expected = model.evaluate(x, y, verbose=0)
    y[1, 2:] = np.nan
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected)


def test_a_schedule_is_of_a_divergence():
    with pytest.raises(ValueError, match=r"Expected `loss` to be an archs\.losses\.Divergence, received 'divergence'"):
        archs.losses.DivergenceSchedule("divergence", 5)
