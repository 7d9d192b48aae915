"""The grid LSTM as a model: one dimension and two, and what it learns of parity."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance import catalog


def test_the_arguments_reach_the_cell():
    given = {
        "depth": 3,
        "tied": False,
        "transforms": {"time": "relu"},
        "priority": None,
        "gate_first": False,
        "forget_bias": 0.0,
        "depth_forget_bias": 0.5,
        "recurrent_dropout": 0.2,
    }
    config = archs.grid_lstm(4, 6, 2, **given).get_layer("recurrent").cell.get_config()
    assert {name: config[name] for name in given} == given
    assert config["time"] is True


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_one_dimension_takes_vectors(dtype, tmp_path):
    model = archs.grid_lstm(4, 6, 2, dimensions=1, depth=10, dropout=0.1, dtype=dtype)
    x = catalog.inputs()[:, 0].astype("float32")
    cell = model.get_layer("recurrent").cell
    h = cell(x, [keras.ops.zeros((3, 6))])[0]
    expected = np.asarray(keras.ops.cast(h, "float32")) @ np.asarray(model.get_layer("outputs").kernel)
    np.testing.assert_allclose(model(x), expected, atol=1e-6 if dtype == "float32" else 2e-2)
    model.compile(keras.optimizers.Adam(), "mse")
    model.fit(x, np.zeros((3, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "model", verbose=False)
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), model(x), atol=1e-6)
    exported = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(exported.serve(x), model(x), atol=1e-6)


def test_of_one_step_time_is_no_more_than_a_weight():
    """With the kernel's rows of time at zero, and no priority, two dimensions of one step are one."""
    given = {"features": 4, "units": 6, "outputs": 2, "depth": 3, "priority": None}
    one, two = archs.grid_lstm(dimensions=1, **given), archs.grid_lstm(**given)
    catalog.randomize(one)
    weights = {weight.name: np.asarray(weight) for weight in one.get_layer("recurrent").weights}
    weights["depth_kernel"] = np.concatenate([weights["depth_kernel"], np.zeros((6, 24))])
    for weight in two.get_layer("recurrent").weights:
        weight.assign(weights.get(weight.name, weight))
    two.get_layer("outputs").set_weights(one.get_layer("outputs").get_weights())
    x = catalog.inputs()[:, 0].astype("float32")
    np.testing.assert_allclose(two(x[:, None]), one(x), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimensions": 3}, "`dimensions` to be one of 1, 2, received 3"),
        ({"dimensions": 1, "features": 2.5}, "`features` to be a positive integer, received 2.5"),
        ({"dimensions": 1, "priority": "time"}, "`priority` to be one of None, 'depth', received 'time'"),
        *(
            ({"dimensions": 1, argument: value}, f"no `{argument}` with `dimensions=1`, which has no time, received")
            for argument, value in {
                "vocabulary": 9,
                "mask_zero": True,
                "return_sequences": True,
                "pooling": "mean",
                "recurrent_dropout": 0.1,
                "lengths": True,
                "stateful": True,
            }.items()
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        archs.grid_lstm(**{"features": 4, "units": 6, "outputs": 2} | arguments)


@pytest.mark.slow
def test_one_dimension_learns_parity():
    """Of 8 bits, all at once, from the first values that are the default."""
    keras.utils.set_random_seed(1)
    draw = np.random.default_rng(1)
    bits = draw.integers(0, 2, size=(40_000, 8))
    x, y = 2.0 * bits - 1.0, bits.sum(1) % 2
    model = archs.grid_lstm(8, 32, 1, dimensions=1, depth=10)
    model.compile(
        keras.optimizers.Adam(3e-3, global_clipnorm=1.0),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
    )
    model.fit(x, y, batch_size=20, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.99
