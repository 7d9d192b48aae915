"""Models with latent variables: their bounds and estimates beside a known likelihood, their samples and arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs import latents

TIME = 3
AWAY = np.array([[0.4, -0.9, 1.3], [1.0, 0.2, -0.5]])  # two sequences, from the mean of the model


def raw(deviation):
    """Inverts the softplus of a deviation, but for the floor."""
    return np.log(np.expm1(deviation - 1e-4))


# All rectified units are on, so that latents and vectors are normal together, and the likelihood has a closed form.
LINEAR = {
    "vrnn": {
        "x_kernel": [[1.0]],
        "x_bias": [20.0],
        "z_kernel": [[1.0]],
        "z_bias": [20.0],
        "prior_kernel": [[0.1]],
        "prior_bias": [1.0],
        "prior_head_kernel": [[1.0, 0.0]],
        "prior_head_bias": [-8.0, raw(0.8)],
        "posterior_kernel": [[0.5], [0.055]],
        "posterior_bias": [1.0],
        "posterior_head_kernel": [[0.8, 0.0]],
        "posterior_head_bias": [-12.08, raw(0.7)],
        "decoder_kernel": [[0.9], [0.05]],
        "decoder_bias": [1.0],
        "decoder_head_kernel": [[1.0, 0.0]],
        "decoder_head_bias": [-22.0, raw(0.6)],
        "kernel": [[0.3], [0.7]],
        "recurrent_kernel": [[0.5]],
        "bias": [20.0],
    },
    "storn": {
        "posterior_head_kernel": [[0.5, 0.0]],
        "posterior_head_bias": [-6.2, raw(0.9)],
        "decoder_head_kernel": [[1.0, 0.0]],
        "decoder_head_bias": [-30.0, raw(0.6)],
        "kernel": [[0.4], [0.9]],
        "recurrent_kernel": [[0.3]],
        "bias": [20.0],
        "recognition_kernel": [[0.8]],
        "recognition_recurrent_kernel": [[-0.1]],
        "recognition_bias": [20.0],
    },
}


def linear(arch):
    hidden = {"hidden": 1} if arch == "vrnn" else {}
    model = archs.create(arch, kind="arch", features=1, units=1, latents=1, density="gaussian", cell="irnn", **hidden)
    for weight in model.weights:
        weight.assign(LINEAR[arch][weight.name])
    return model


def generated(arch, noise, draws):
    """Vectors (time,) of what the latents and the vectors are drawn by, from the equations alone."""
    w = {name: np.array(value) for name, value in LINEAR[arch].items()}
    h, before, seen = 0.0, 0.0, []
    for e, v in zip(noise, draws, strict=True):
        if arch == "vrnn":
            prior = (h * w["prior_kernel"][0, 0] + w["prior_bias"][0]) + w["prior_head_bias"][0]
            phi = prior + 0.8 * e + w["z_bias"][0]
            mean = phi * w["decoder_kernel"][0, 0] + h * w["decoder_kernel"][1, 0] + w["decoder_bias"][0]
            x = mean + w["decoder_head_bias"][0] + 0.6 * v
            read = (x + w["x_bias"][0]) * w["kernel"][0, 0] + phi * w["kernel"][1, 0]
            h = read + h * w["recurrent_kernel"][0, 0] + w["bias"][0]
        else:
            read = before * w["kernel"][0, 0] + e * w["kernel"][1, 0]
            h = read + h * w["recurrent_kernel"][0, 0] + w["bias"][0]
            before = x = h + w["decoder_head_bias"][0] + 0.6 * v
        seen.append(x)
    return np.array(seen)


def moments(arch):
    """Mean and covariance of the vectors of three steps."""
    nothing, unit = np.zeros(TIME), np.eye(TIME)
    mean = generated(arch, nothing, nothing)
    columns = [generated(arch, one, nothing) - mean for one in unit]
    columns += [generated(arch, nothing, one) - mean for one in unit]
    return mean, np.transpose(columns) @ np.array(columns)


def vectors(arch):
    return (moments(arch)[0] + AWAY)[..., None].astype("float32")


def log_density(arch, x):
    mean, covariance = moments(arch)
    far = x - mean
    return -0.5 * (
        far @ np.linalg.solve(covariance, far) + np.linalg.slogdet(covariance)[1] + len(far) * np.log(2 * np.pi)
    )


def normals(seed, *shape):
    return lambda t: tf.random.stateless_normal(shape, [seed, t])


@pytest.mark.parametrize("arch", LINEAR)
def test_bound_and_estimate_of_a_known_likelihood(arch):
    model, x, samples = linear(arch), vectors(arch), 8192
    counted = np.ones(x.shape[:2], bool)
    found = np.asarray(latents.log_weights(model, x, x, normals(1, len(x), samples, 1), counted, samples), float)
    expected = [log_density(arch, row[:, 0]) for row in x]
    np.testing.assert_allclose(np.log(np.mean(np.exp(found), axis=1)), expected, atol=0.04)
    few = found.reshape(len(x), -1, 4)  # the estimate of four draws lies between the bound and the likelihood
    few = np.mean(np.log(np.mean(np.exp(few), axis=2)), axis=1)
    assert np.all(found.mean(axis=1) + 0.02 < few)
    assert np.all(few + 0.005 < expected)
    # The model's own bound, with the divergence in closed form, is the mean of the log weights.
    rows = tf.repeat(x, samples, axis=0)
    answer = model({"inputs": rows, "noise": normals(2, len(rows), TIME, 1)(0)})
    nll = -archs.losses.Density("gaussian", 1).log_likelihood(rows, answer["outputs"])
    bound = np.asarray(tf.reduce_sum(nll + answer["divergence"], axis=1)).reshape(len(x), -1).mean(axis=1)
    np.testing.assert_allclose(-bound, found.mean(axis=1), atol=0.06)


@pytest.mark.parametrize("arch", LINEAR)
def test_steps_that_do_not_count_are_read(arch):
    model, x, counted = linear(arch), vectors(arch), np.array([[False, True, True], [True, True, False]])
    noise = normals(1, 2, 5, 1)
    found = latents.log_weights(model, x, x, noise, counted, 5)
    whole = latents.log_weights(model, x, x, noise, np.ones((2, 3), bool), 5)
    first = latents.log_weights(model, x[:, :1], x[:, :1], noise, np.ones((2, 1), bool), 5)
    two = latents.log_weights(model, x[:, :2], x[:, :2], noise, np.ones((2, 2), bool), 5)
    np.testing.assert_allclose(found[0], whole[0] - first[0], atol=1e-4)
    np.testing.assert_allclose(found[1], two[1], atol=1e-4)


@pytest.mark.parametrize("arch", LINEAR)
def test_samples_have_the_moments_of_the_model(arch):
    rows, model = 20_000, linear(arch)

    def drawn(seed):
        draws = [normals(seed + 1, rows, 1), normals(seed + 2, rows, 1)]
        return np.asarray(latents.sample(model, normals(seed, rows, 1), lambda t: [f(t) for f in draws], TIME, rows))

    found = drawn(3)
    assert found.shape == (rows, TIME, 1)
    mean, covariance = moments(arch)
    np.testing.assert_allclose(found[..., 0].mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(found[..., 0].T), covariance, rtol=0.05, atol=0.03)
    np.testing.assert_array_equal(found, drawn(3))
    assert np.any(found != drawn(4))


@pytest.mark.parametrize("arch", LINEAR)
@pytest.mark.parametrize("cell", ["lstm", "recurrent_highway", "phased_lstm"])
def test_a_sample_is_read_as_it_was_drawn(arch, cell):
    """With a posterior that is the prior, or has the same mean, one noise gives the same latents in both ways."""
    model = archs.create(arch, kind="arch", features=2, units=5, latents=3, density="gaussian", cell=cell)
    machine, density = latents.parts_of(model)
    for weight in machine.weights:
        if weight.name.endswith(("prior_head_kernel", "posterior_head_kernel")):
            weight.assign(np.zeros(weight.shape))
    scale = 1.0 if arch == "vrnn" else np.log(2) + 1e-4  # the deviation of the posterior
    states = machine.get_initial_state(4)
    for t in range(TIME):
        noise = normals(5, 4, 3)(t)
        z, theta = machine.imagine(scale * noise, states)
        x = density.draw(theta, np.zeros((4, 2)), normals(6, 4, 2)(t))
        theta_again, ratio, again = machine.infer(tf.concat([x, noise], axis=-1), states)
        np.testing.assert_allclose(theta_again, theta, atol=1e-5)
        if arch == "vrnn":
            np.testing.assert_allclose(ratio, np.zeros(4), atol=1e-5)
        states = machine.advance(x, z, states)
        for a, b in zip(again[1:], states[1:], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("arch", LINEAR)
def test_a_model_learns_which_latents_there_are(arch):
    """Two bits that are equal and otherwise a coin: without latents they cost 1.39 nats, with them 0.69."""
    keras.utils.set_random_seed(0)
    model = archs.create(arch, kind="arch", features=2, units=16, latents=2, lengths=True)
    draw = np.random.default_rng(0)
    x = np.repeat(draw.integers(0, 2, size=(256, 6, 1)), 2, axis=2).astype("float32")
    divergence = archs.losses.Divergence()
    loss = {"outputs": archs.losses.NegativeLogLikelihood(), "divergence": divergence}
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    lengths = draw.integers(3, 7, size=256)
    given = {"inputs": 4 * x, "noise": draw.normal(size=(256, 6, 2)), "lengths": lengths}
    targets = {"outputs": x, "divergence": np.zeros((256, 6))}
    schedule = archs.losses.DivergenceSchedule(divergence, steps=40 * 8)
    model.fit(given, targets, epochs=40, batch_size=32, verbose=0, callbacks=[schedule])
    assert schedule.step == 320
    assert 0.69 < model.evaluate(given, targets, verbose=0, return_dict=True)["loss"] < 1.1


@pytest.mark.parametrize("arch", LINEAR)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"density": "poisson"}, "`density` to be one of 'bernoulli', 'gaussian', 'mixture', received 'poisson'"),
        ({"density": "mixture", "components": 0}, "`components` to be a positive integer, received 0"),
        ({"cell": keras.layers.GRUCell}, "an inner cell of the catalog, received <GRUCell"),
        ({"dropout": 1.0}, r"`dropout` to be a rate in \[0, 1\), received 1.0"),
        ({"units": [6]}, r"`units` to be a positive integer, received \[6\]"),
    ],
)
def test_refuses(arch, arguments, message):
    with pytest.raises(ValueError, match=message):
        archs.create(arch, kind="arch", **{"features": 4, "units": 6, "latents": 2} | arguments)


def test_what_has_no_latents_is_refused():
    with pytest.raises(ValueError, match="Expected a model of `vrnn` or `storn`, received 'vanilla_lstm'"):
        latents.parts_of(archs.vanilla_lstm(4, 6, 2))
    for cell in (archs.VRNNCell(6, features=4), archs.STORNCell(6, features=4)):
        with pytest.raises(ValueError, match="Expected inputs of noise beside the 4 of `features`, received 4 in all"):
            cell.build((None, 4))


@pytest.mark.parametrize("arch", LINEAR)
def test_the_noise_is_never_dropped(arch):
    model = archs.create(arch, kind="arch", features=4, units=6, latents=2, dropout=0.999)
    x = {"inputs": np.ones((3, 5, 4), "float32"), "noise": np.ones((3, 5, 2), "float32")}
    changed = x | {"noise": np.full((3, 5, 2), 2.0, "float32")}
    first, other = (model(given, training=True)["outputs"] for given in (x, changed))
    assert np.abs(first - other).min() > 1e-6


def test_the_weights_of_the_two_recurrences_of_storn_differ():
    draw = keras.initializers.GlorotUniform(seed=1)
    cell = archs.STORNCell(6, features=4, cell="gru", kernel_initializer=draw, recurrent_initializer="orthogonal")
    cell.build((None, 8))
    values = {w.name: np.asarray(w) for w in cell.weights}
    assert np.any(values["recognition_kernel"] != values["kernel"][:4])
    assert np.any(values["recognition_recurrent_kernel"] != values["recurrent_kernel"])
    copy = archs.STORNCell.from_config(cell.get_config())
    copy.build((None, 8))
    assert [w.name for w in copy.weights] == list(values)


WRONG = {
    "inputs": ({"inputs": np.ones((2, 3, 3))}, r"`inputs` of shape \(any, any, 4\), received \(2, 3, 3\)"),
    "one row": ({"inputs": np.ones((3, 4))}, r"`inputs` of shape \(any, any, 4\), received \(3, 4\)"),
    "targets": ({"targets": np.ones((2, 3, 1))}, r"`targets` of shape \(2, 3, 4\), received \(2, 3, 1\)"),
    "counted": ({"counted": np.ones((1, 3), bool)}, r"`counted` of shape \(2, 3\), received \(1, 3\)"),
    "samples": ({"samples": 0}, "`samples` to be a positive integer, received 0"),
    "noise": ({"noise": normals(0, 5, 2, 2)}, r"`noise` of shape \(2, 5, 2\), received \(5, 2, 2\)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_scored_is_refused(wrong):
    changed, message = WRONG[wrong]
    right = {"inputs": np.ones((2, 3, 4)), "targets": np.ones((2, 3, 4)), "counted": np.ones((2, 3), bool)}
    model = archs.vrnn(4, 6, 2)
    with pytest.raises(ValueError, match=f"Expected {message}"):
        latents.log_weights(model, **right | {"noise": normals(0, 2, 5, 2), "samples": 5} | changed)


def test_what_cannot_be_drawn_is_refused():
    model, right = archs.vrnn(4, 6, 2), normals(0, 3, 4)
    for noise, draws, steps, rows, message in (
        (normals(0, 3, 1), right, 5, 3, r"`noise` of shape \(3, 2\), received \(3, 1\)"),
        (normals(0, 3, 2), normals(0, 3, 1), 5, 3, r"`draws` of shape \(3, 4\), received \(3, 1\)"),
        (normals(0, 3, 2), right, 0, 3, "`steps` to be a positive integer, received 0"),
        (normals(0, 3, 2), right, 5, -3, "`rows` to be a positive integer, received -3"),
    ):
        with pytest.raises(ValueError, match=f"Expected {message}"):
            latents.sample(model, noise, lambda t, draws=draws: (draws(t), draws(t)), steps, rows)


def test_noise_is_of_every_step():
    with pytest.raises(ValueError, match="Expected noise for each of 3 time steps, received that of 2"):
        archs.vrnn(4, 6, 2)({"inputs": np.ones((2, 3, 4)), "noise": np.ones((2, 2, 2))})
