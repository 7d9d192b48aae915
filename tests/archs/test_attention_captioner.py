"""Captions of images: places, first states, what is added to the loss, where the decoder looks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

RNG = np.random.default_rng(0)
END, STEPS = 0, 4
IMAGES = RNG.uniform(size=(3, 12, 8, 2)).astype("float32")
FED = np.array([[0, 3, 1, 2], [0, 2, 4, 0], [0, 1, 0, 0]])
LENGTHS = np.array([4, 3, 2])
TARGETS = np.array([[3, 1, 2, 0], [2, 4, 0, 0], [1, 0, 0, 0]])
X = {"inputs": IMAGES, "decoder_inputs": FED, "decoder_lengths": LENGTHS}
INSIDE = np.arange(STEPS) < LENGTHS[:, None]


def random_model(**options):
    model = archs.attention_captioner((12, 8, 2), 6, 5, **{"lengths": True, "filters": [3, 4]} | options)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = 0.7 * rng.normal(size=weight.shape)
        weight.assign(np.abs(value) if weight.name == "moving_variance" else value)
    return model


def sigma(a):
    return 1 / (1 + np.exp(-a))


def test_logits_are_those_of_the_equations():
    """Of Xu et al. 2015, from the places on, one caption and one step after the other."""
    model = random_model()
    encoder, names = model.get_layer("encoder"), ("kernel", "bias")
    grid = np.asarray(encoder.get_layer("convolutions")(IMAGES), np.float64)
    assert grid.shape == (3, 3, 2, 4)
    starts = {
        state: dict(zip(names, encoder.get_layer(f"start_1_{state}").get_weights(), strict=True)) for state in "hc"
    }
    w = {v.name: np.asarray(v, np.float64) for v in model.get_layer("decoder_1").weights}
    assert "skip_kernel" not in w
    embeddings = np.asarray(model.get_layer("decoder_embedding").embeddings)
    kernel, bias = model.get_layer("outputs").get_weights()
    logits = np.asarray(model(X))
    for row in range(3):
        a = grid[row].reshape(-1, 4)
        h, c = (np.tanh(a.mean(axis=0) @ starts[state]["kernel"] + starts[state]["bias"]) for state in "hc")
        for t in range(LENGTHS[row]):
            e = np.tanh(a @ w["memory_kernel"] + h @ w["query_kernel"]) @ w["score_kernel"]
            alpha = np.exp(e) / np.exp(e).sum()
            z = sigma(h @ w["gate_kernel"]) * (alpha @ a)
            y = embeddings[FED[row, t]]
            i, f, g, o = np.split(np.concatenate([y, z]) @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4)
            c = sigma(f) * c + sigma(i) * np.tanh(g)
            h = sigma(o) * np.tanh(c)
            said = y + np.concatenate([z, h]) @ w["attention_kernel"]
            np.testing.assert_allclose(logits[row, t], said @ kernel + bias, atol=1e-4)


def looked_at(model):
    return np.asarray(archs.decoding.attention(model, IMAGES, FED))


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_penalty_is_added_in_training_alone(weight):
    model = random_model(penalty=weight)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    entropy = float(loss(TARGETS[INSIDE], np.asarray(model(X))[INSIDE]))
    sums = np.where(INSIDE[..., None], looked_at(model), 0).sum(axis=1)
    penalty = weight * ((1 - sums) ** 2).sum() / LENGTHS.sum()
    assert model.evaluate(X, TARGETS, verbose=0) == pytest.approx(entropy, rel=1e-5)
    assert model.fit(X, TARGETS, verbose=0).history["loss"] == pytest.approx([entropy + penalty], rel=1e-5)
    model(X)
    assert model.losses == []


def test_the_penalty_moves_the_weights_of_attention():
    kernels = []
    for weight in (0.0, 5.0):
        model = random_model(penalty=weight)
        model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(X, TARGETS, verbose=0)
        kernels.append(next(w for w in model.get_layer("decoder_1").weights if w.name == "score_kernel"))
    assert np.abs(np.asarray(kernels[0]) - np.asarray(kernels[1])).max() > 1e-3


def test_hard_attention_reads_as_soft_outside_training():
    soft, hard = random_model(), random_model(hard=True)
    for name in ("encoder", "decoder_embedding", "decoder_1", "outputs"):
        hard.get_layer(name).set_weights(soft.get_layer(name).get_weights())
    np.testing.assert_allclose(hard(X), soft(X), atol=1e-6)
    np.testing.assert_allclose(looked_at(hard), looked_at(soft), atol=1e-6)
    drawn = [np.asarray(hard(X, training=True)) for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    all_expected = random_model(hard=True, expectation=1.0)
    all_expected.set_weights(hard.get_weights())
    np.testing.assert_allclose(all_expected(X, training=True), soft(X), atol=1e-6)


def test_every_draw_reads_one_place():
    """With one step, the logits of training are those of a memory of one place only, drawn as often as its weight."""
    count = 4000
    model = random_model(hard=True, expectation=0.0, lengths=False, seed=3)
    image, fed = np.repeat(IMAGES[:1], count, axis=0), np.zeros((count, 1), int)
    alpha = np.asarray(archs.decoding.attention(model, IMAGES[:1], [[0]]))[0, 0]
    logits = np.asarray(model({"inputs": image, "decoder_inputs": fed}, training=True))[:, 0]
    kinds, counts = np.unique(logits.round(3), axis=0, return_counts=True)
    assert len(kinds) <= 6
    np.testing.assert_allclose(np.sort(counts / count), np.sort(alpha)[-len(kinds) :], atol=0.03)


def test_the_estimator_is_right_in_the_mean():
    """Over many draws, the gradient of what training adds is that of the expected reward, which is computed exactly.

    Of one row and two steps, the first word is rewarded: the exact gradient of sum_s p(s) log p(y_1 | s) by the score,
    the words' own gradient apart.
    """
    count = 6000
    model = random_model(hard=True, expectation=0.0, reward=1.0, entropy=0.0, penalty=0.0, lengths=False, seed=5)
    fed = np.array([[0, 3]])
    kernel = next(w for w in model.get_layer("decoder_1").weights if w.name == "score_kernel")
    decoder, encoded = model.get_layer("decoder_1").cell, model.get_layer("encoder")(IMAGES[:1])
    embedded = np.asarray(model.get_layer("decoder_embedding")(fed[:, 0]))

    def gain(place):
        """log p(y_1) if the first step reads `place`."""
        decoder.memorize(encoded["memory"][:, place : place + 1])
        said, _ = decoder(first, starts)
        return float(tf.nn.log_softmax(model.get_layer("outputs")(said))[0, fed[0, 1]])

    starts, first = encoded["states"][0], np.concatenate([embedded, [[-1.0]]], axis=-1).astype("float32")
    gains = tf.constant([gain(place) for place in range(6)])
    decoder.memorize(encoded["memory"])
    with tf.GradientTape() as tape:
        _, new = decoder(first, starts)
        alpha = decoder.alignment(starts, new)[0]
        expected = tf.reduce_sum(alpha * gains)
    exact = tape.gradient(expected, kernel.value)
    decoder.memorize(None)

    model.get_layer("reinforce").baseline.assign(tf.reduce_mean(gains))
    x = {"inputs": np.repeat(IMAGES[:1], count, axis=0), "decoder_inputs": np.repeat(fed, count, axis=0)}
    with tf.GradientTape() as tape:
        model(x, training=True)
        (added,) = model.losses
    received = tape.gradient(added, kernel.value) * 2  # tokens of a row
    np.testing.assert_allclose(-received, exact, atol=0.15 * np.abs(exact).max())


def test_the_baseline_follows_the_reward():
    model = random_model(hard=True, expectation=1.0, penalty=0.0)
    shares = np.log(np.asarray(keras.ops.softmax(model(X))))
    gains = np.take_along_axis(shares, TARGETS[..., None], axis=-1)[..., 0]
    rewards = np.where(np.arange(STEPS) < LENGTHS[:, None] - 1, gains, 0).sum(axis=1)
    reinforce = model.get_layer("reinforce")
    reinforce.baseline.assign(-2.0)
    model(X, training=True)
    assert float(reinforce.baseline.value) == pytest.approx(0.9 * -2.0 + 0.1 * rewards.mean(), rel=1e-4)
    model(X)
    assert float(reinforce.baseline.value) == pytest.approx(0.9 * -2.0 + 0.1 * rewards.mean(), rel=1e-4)


def test_entropy_is_of_the_weights_that_are_looked_at():
    model = random_model(hard=True, expectation=1.0, penalty=0.0, reward=0.0, entropy=0.5)
    model(X, training=True)
    alpha = looked_at(model)
    entropies = np.where(INSIDE, -(alpha * np.log(alpha)).sum(axis=-1), 0)
    assert float(model.losses[0]) == pytest.approx(-0.5 * entropies.sum() / LENGTHS.sum(), rel=1e-4)


@pytest.mark.parametrize("hard", [False, True])
def test_captions_are_written_as_the_model_is_trained(hard):
    model = random_model(hard=hard)
    found = tf.function(
        lambda images: archs.decoding.beam_search(model, images, start=END, end=END, max_length=STEPS, beam=4)
    )(tf.constant(IMAGES))
    for row in range(3):
        for place in range(4):
            n = int(found["lengths"][row, place])
            written = found["tokens"][row, place, :n].numpy()
            fed = np.concatenate([[END], written])[:STEPS]
            targets = np.concatenate([written, [END]])[: len(fed)]
            x = {"inputs": IMAGES[row : row + 1], "decoder_inputs": fed[None], "decoder_lengths": [len(fed)]}
            shares = np.asarray(keras.ops.log_softmax(model(x)))[0]
            total = shares[np.arange(len(fed)), targets].sum()
            np.testing.assert_allclose(found["log_probabilities"][row, place], total, atol=1e-4)
    drawn = archs.decoding.sample(model, IMAGES, start=END, end=END, max_length=STEPS, seed=1)
    assert drawn["tokens"].shape == (3, STEPS)


def test_attention_is_of_the_grid_row_by_row():
    model = random_model(filters=[4], kernel_size=1, strides=4)
    annotations = model.get_layer("encoder").get_layer("annotations")
    assert tuple(annotations.input.shape[1:]) == (3, 2, 4)
    maps = looked_at(model)
    assert maps.shape == (3, STEPS, 6)
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
    changed = IMAGES.copy()
    changed[:, 4:8, 4:] += 1.0  # what the place in row 1, column 1 sees
    grid = model.get_layer("encoder").get_layer("convolutions")
    moved = np.abs(np.asarray(grid(changed)) - np.asarray(grid(IMAGES))).max(axis=(0, 3)).reshape(-1)
    assert list(np.flatnonzero(moved)) == [1 * 2 + 1]


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_a_captioner_reloads_and_is_exported(hard, tmp_path):
    model = random_model(hard=hard, dropout=0.1, normalization="batch")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, TARGETS, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(X), model(X), atol=1e-6)
    assert loaded.to_json() == model.to_json()
    if hard:
        assert float(loaded.get_layer("reinforce").baseline.value) != 0
    loaded.fit(X, TARGETS, verbose=0)
    model.export(tmp_path / "model", verbose=False)
    served = tf.saved_model.load(tmp_path / "model")
    tensors = {name: tf.constant(value, model.input[name].dtype) for name, value in X.items()}
    np.testing.assert_allclose(served.serve(tensors), model(X), atol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class Patches(keras.layers.Layer):
    def call(self, images):
        return images[:, ::4, ::4]

    def compute_output_shape(self, shape):
        return (shape[0], -(-shape[1] // 4), -(-shape[2] // 4), shape[3])


def test_a_backbone_sees_the_image():
    image = keras.Input((12, 8, 2))
    network = keras.Model(image, keras.layers.AveragePooling2D(4)(image))
    for backbone, depth in ((Patches(), 2), (network, 2)):
        model = random_model(filters=None, backbone=backbone)
        assert tuple(model.get_layer("encoder").get_layer("annotations").input.shape[1:]) == (3, 2, depth)
        assert np.all(np.isfinite(model(X)))
    model = archs.attention_captioner((32, 32, 3), 6, 5, backbone="MobileNetV2")
    x = {"inputs": np.ones((2, 32, 32, 3)), "decoder_inputs": FED[:2]}
    assert model(x).shape == (2, STEPS, 5)
    assert model.get_layer("encoder").get_layer("annotations").output.shape[1:] == (1, 1280)


def test_states_that_are_not_of_the_image_start_as_the_cells_own(tmp_path):
    for cell, fixed in (("slstm", "cnm"), ("phased_lstm", "t"), ("clockwork_rnn", "t")):
        model = archs.attention_captioner((12, 8, 2), 6, 5, cell=cell)
        inner = archs.create(cell, 6)
        states = model.get_layer("encoder")(IMAGES)["states"][0]
        own = inner.get_initial_state(3)
        for name, state, expected in zip(inner.states, states[1:], own, strict=False):
            assert state.shape == (3, expected.shape[-1])
            assert np.allclose(state, expected) == (name in fixed)
        model.save(tmp_path / "model.keras")
        x = {"inputs": IMAGES, "decoder_inputs": FED}
        np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": (12, 8)}, r"\(height, width, channels\) of a frame, received \(12, 8\)"),
        (
            {"features": 4, "filters": [3]},
            r"`features` to be \(height, width, channels\) of an image with filters",
        ),
        ({"features": 4, "backbone": "VGG16"}, "of an image with backbone, received 4"),
        ({"backbone": "VGG61"}, "a name of keras.applications, received 'VGG61'. Did you mean VGG19 or VGG16"),
        ({"backbone": 3}, "`backbone` to be a keras.Model or a layer, received 3"),
        ({"backbone": Patches(), "strides": 2}, "Expected no `strides` with a `backbone`"),
        ({"backbone": Patches(), "weights": "imagenet"}, "Expected no `weights` with a `backbone` that is no name"),
        ({"weights": "imagenet"}, "Expected no `weights` without the name of a `backbone`"),
        (
            {"backbone": keras.layers.Flatten()},
            r"that answers with \(batch, rows, columns, depth\), received",
        ),
        ({"filters": []}, "`filters` of one convolution at least, received none"),
        ({"penalty": -1}, "`penalty` to be 0 or more, received -1"),
        ({"reward": "much"}, "`reward` to be a number, received 'much'"),
        ({"expectation": 1.5}, r"`expectation` to be from 0 to 1, received 1\.5"),
        ({"hard": 1}, "`hard` to be True or False, received 1"),
        ({"token_features": 0}, "`token_features` to be a positive integer, received 0"),
    ],
)
def test_a_captioner_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        archs.attention_captioner(**{"features": (12, 8, 2), "units": 6, "outputs": 5} | options)


def test_a_memory_of_the_cell_begins_as_the_cell_has_it():
    model = archs.attention_captioner(
        (12, 8, 2), 6, 5, cell=lambda units: archs.NTMCell(units, memory_locations=8, memory_width=3)
    )
    learned = sorted(layer.name for layer in model._flatten_layers() if layer.name.startswith("start_"))
    assert learned == ["start_1_c", "start_1_h"]


def test_other_images_and_empty_captions_are_refused():
    model = random_model(lengths=False)
    x = {"inputs": IMAGES, "decoder_inputs": FED}
    shape = r"Expected `inputs` of shape \(batch, 12, 8, 2\), received \((3|None), "
    for wrong in (IMAGES[:, :-1], IMAGES[..., :1], IMAGES[..., 0], IMAGES[:, None]):
        for call in (
            lambda wrong=wrong: model(x | {"inputs": wrong}),
            lambda wrong=wrong: model.predict(x | {"inputs": wrong}, verbose=0),
            lambda wrong=wrong: archs.decoding.beam_search(model, wrong, start=0, end=0, max_length=3),
            lambda wrong=wrong: archs.decoding.attention(model, wrong, FED),
        ):
            with pytest.raises(ValueError, match=shape):
                call()
    with pytest.raises(ValueError, match=r"`decoder_inputs` with a start token at least, received shape \(3, 0\)"):
        model(x | {"decoder_inputs": FED[:, :0]})
    with pytest.raises(ValueError, match=r"`decoder_inputs` of shape \(batch, steps\), none of them 0"):
        archs.decoding.attention(model, IMAGES, FED[:, :0])
    with pytest.raises(ValueError, match="Expected tokens from 0 to 4, received 5"):
        model(x | {"decoder_inputs": FED + 2})
    grey = archs.attention_captioner((12, 8, 1), 6, 5)
    given = x | {"inputs": IMAGES[..., :1]}
    np.testing.assert_array_equal(grey(given | {"inputs": IMAGES[..., 0]}), grey(given))
