"""Behaviour of `Recurrent` beyond what the catalog-wide tests hold it to for every cell."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance import catalog
from tests.conformance.catalog import FEATURES, TIME, UNITS


def test_it_wraps_the_cells_of_keras_too():
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    cell = keras.layers.GRUCell(6)
    ours, plain = archs.Recurrent(cell, return_sequences=True), keras.layers.RNN(cell, return_sequences=True)
    np.testing.assert_array_equal(ours(x), plain(x))


def test_config_round_trip_with_every_option():
    options = {
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "dtype": "mixed_bfloat16",
    }
    layer = archs.Recurrent([archs.LSTMCell(3), archs.LSTMCell(2)], **options)
    copy = archs.Recurrent.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert {name: getattr(copy, name) for name in options if name != "dtype"} == dict.fromkeys([*options][:-1], True)


def test_another_feature_size_is_refused():
    layer = archs.Recurrent(archs.LSTMCell(3))
    layer(np.zeros((2, 5, 4)))
    with pytest.raises(ValueError, match="value 4, but received input with shape"):
        layer(np.zeros((2, 5, 3)))


def test_zero_output_for_mask():
    layer = archs.Recurrent(archs.LSTMCell(3), return_sequences=True, zero_output_for_mask=True)
    outputs = np.asarray(layer(np.ones((1, 3, 4)), mask=np.array([[True, False, True]])))
    assert np.all(outputs[0, 1] == 0)
    assert np.all(outputs[0, [0, 2]] != 0)


MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1)])
@pytest.mark.parametrize("name", ["lstm", "min_gru", "attention_decoder"])
def test_masks_of_every_kind(name, shape, dtype):
    layer = catalog.recurrent(name, return_sequences=True)
    expected = layer(catalog.inputs(), mask=tf.constant(MASK, tf.bool))
    mask = MASK.reshape(shape).astype(dtype)
    for given in (mask, tf.constant(mask)):
        np.testing.assert_array_equal(layer(catalog.inputs(), mask=given), expected)


GLOBAL = keras.config.dtype_policy().name
POLICIES = ("mixed_bfloat16", "mixed_float16", "float64")


@pytest.fixture
def keep_global_policy():
    yield
    keras.config.set_dtype_policy(GLOBAL)


@pytest.mark.usefixtures("keep_global_policy")
@pytest.mark.parametrize(
    ("name", "policy", "place"),
    [(name, "mixed_bfloat16", "layer") for name in archs.list_cells()]
    + [(name, policy, place) for name in ("lstm", "min_gru") for policy in POLICIES for place in ("cell", "global")]
    + [pytest.param(name, "mixed_float16", "layer", marks=pytest.mark.slow) for name in archs.list_cells()],
)
def test_dtype_policies_mean_what_they_mean_for_keras_rnn(name, policy, place):
    if place == "global":
        keras.config.set_dtype_policy(policy)
    of_cell, of_layer = ({"dtype": policy} if place == given else {} for given in ("cell", "layer"))
    case = catalog.cases_of(name)[0]
    results = []
    for kind in (archs.Recurrent, keras.layers.RNN):
        cell = catalog.create(name, UNITS, **case, **of_cell)
        # Keras' own layer does not take its cell's policy.
        layer = kind(cell, return_sequences=True, return_state=True, **(of_layer or {"dtype": cell.dtype_policy}))
        model_inputs = keras.Input((TIME, FEATURES))
        model = keras.Model(model_inputs, layer(model_inputs))
        catalog.randomize(model)
        x = catalog.inputs().astype("float32")
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = tf.reduce_sum(tf.cast(outputs[0], tf.float32) ** 2)
        gradients = tape.gradient(loss, [w.value for w in layer.trainable_weights])
        results.append(([*outputs, *model(x)], gradients))
    (ours, ours_by), (theirs, theirs_by) = results
    assert [a.dtype for a in ours] == [a.dtype for a in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(tf.cast(a, tf.float64), tf.cast(b, tf.float64), rtol=0.05, atol=0.08)
    for a, b in zip(ours_by, theirs_by, strict=True):
        assert a.dtype == b.dtype
        a, b = (np.asarray(tf.cast(by, tf.float64)) for by in (a, b))
        np.testing.assert_allclose(a, b, rtol=0.1, atol=0.1 * max(1.0, np.abs(b).max()))


def test_a_stack_with_a_foreign_cell_in_half_precision():
    for foreign in (keras.layers.SimpleRNNCell, keras.layers.LSTMCell):
        layer = archs.Recurrent([archs.PhasedLSTMCell(6), foreign(5)], dtype="mixed_bfloat16")
        assert layer(np.ones((3, 5, 4))).dtype == tf.bfloat16


def test_initial_states_of_a_stack():
    layer = archs.Recurrent(
        [archs.LSTMCell(3), keras.layers.SimpleRNNCell(2), archs.GRUCell(4)], return_state=True, return_sequences=True
    )
    x = catalog.inputs().astype("float32")
    whole = layer(x)[0]
    _, *between = layer(x[:, :2])
    np.testing.assert_allclose(layer(x[:, 2:], initial_state=between)[0], whole[:, 2:], atol=1e-6)
    flat = keras.tree.flatten(between)
    np.testing.assert_allclose(layer(x[:, 2:], initial_state=flat)[0], whole[:, 2:], atol=1e-6)
    with pytest.raises(ValueError, match=r"Expected 4 initial states for a stack of 3 cells, .* received 3"):
        layer(x, initial_state=flat[:-1])
    with pytest.raises(ValueError, match=r"Expected states \(h, c\) of sizes \[3, 3\], received \[3, 2\]"):
        layer(x, initial_state=[flat[0], flat[2], flat[1], flat[3]])


SPECS = {"static": (3, TIME, FEATURES), "any batch": (None, TIME, FEATURES), "any time": (None, None, FEATURES)}


def shapes_in_a_graph(layer, spec):
    found = []

    def call(x, mask):
        for training in (False, True):
            found.extend(t.shape.as_list() for m in (None, mask) for t in layer(x, mask=m, training=training))

    specs = [tf.TensorSpec(spec, tf.float64), tf.TensorSpec(spec[:2], tf.bool)]
    tf.function(call, input_signature=specs).get_concrete_function()
    return found


# The loop sets them, not the cell: a cell of each kind of output and of loop.
@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["lstm", "projected_lstm", "min_gru", "attention_decoder", "ntm", "grid_lstm"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_static_shapes_are_those_of_keras_rnn(name, spec):
    ours, theirs = (
        shapes_in_a_graph(catalog.recurrent(name, kind, return_sequences=True, return_state=True), spec)
        for kind in (archs.Recurrent, keras.layers.RNN)
    )
    assert ours == theirs
    assert ours[0][:2] == list(spec[:2])


# Layers that take a sequence (batch, time, features).
FOLLOWERS = {
    "time_distributed": lambda: keras.layers.TimeDistributed(keras.layers.Dense(2)),
    "unrolled": lambda: keras.layers.LSTM(3, unroll=True),
    "lstm": lambda: keras.layers.LSTM(3, return_sequences=True),
    "gru": lambda: keras.layers.Bidirectional(keras.layers.GRU(3)),
    "flatten": keras.layers.Flatten,
    "dense": lambda: keras.layers.Dense(2),
    "conv": lambda: keras.layers.Conv1D(2, 3, padding="causal"),
    "transposed": lambda: keras.layers.Conv1DTranspose(2, 3),
    "max_pooling": keras.layers.MaxPooling1D,
    "global_average": keras.layers.GlobalAveragePooling1D,
    "cropping": lambda: keras.layers.Cropping1D(1),
    "up_sampling": keras.layers.UpSampling1D,
    "permute": lambda: keras.layers.Permute((2, 1)),
    "reshape": lambda: keras.layers.Reshape((-1, 2)),
    "batch_normalization": keras.layers.BatchNormalization,
    "group_normalization": lambda: keras.layers.GroupNormalization(2),
    "masking": keras.layers.Masking,
    "last": lambda: keras.layers.Lambda(lambda h: h[:, h.shape[1] - 1]),
}


QUICK = ("unrolled", "flatten", "last")


@pytest.mark.parametrize("follower", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FOLLOWERS])
def test_layers_of_keras_behind_it(follower, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, TIME, FEATURES)).astype("float32")
    results = []
    for kind in (archs.Recurrent, keras.layers.RNN):
        keras.utils.set_random_seed(0)
        layers = [kind(archs.LSTMCell(UNITS), return_sequences=True), FOLLOWERS[follower]()]
        model = keras.Sequential([keras.Input((TIME, FEATURES)), *layers])
        if model.weights:
            catalog.randomize(model)
        found = [model(x), model.predict(x, batch_size=1, verbose=0)]
        model.compile("sgd", "mse")
        model.fit(x, np.zeros(found[0].shape), batch_size=1, shuffle=False, verbose=0)
        found.append(model(x))
        if kind is archs.Recurrent and follower in QUICK:
            model.export(tmp_path / "model", verbose=False)
            exported = tf.saved_model.load(tmp_path / "model")
            np.testing.assert_allclose(exported.serve(x), found[-1], atol=1e-5)
        results.append(found)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(results[0][0], results[0][1], rtol=1e-4, atol=1e-5)


def test_stateful_layers_begin_anew_where_they_are_told():
    layer = archs.Recurrent(archs.LSTMCell(3), stateful=True)
    x = np.ones((2, 4, 4), "float32")
    first = np.asarray(layer(x))
    second = np.asarray(layer(x, starts=tf.constant([True, False])))
    np.testing.assert_array_equal(second[0], first[0])
    assert np.abs(second[1] - first[1]).max() > 1e-4


@pytest.mark.parametrize("shape", [(3, 6), (3, 4), (2, 5), (5,), (3, 5, 2), pytest.param((3, 1), id="a step for all")])
@pytest.mark.parametrize("cell", [archs.LSTMCell, archs.MinGRUCell])
def test_a_mask_of_another_shape_is_refused(cell, shape):
    with pytest.raises(ValueError, match=r"Expected a mask of shape \(3, 5\), .* received"):
        archs.Recurrent(cell(6))(np.ones((3, 5, 4)), mask=np.ones(shape, bool))


@pytest.mark.parametrize("name", ["lstm", "min_lstm"])
def test_one_row_of_mask_or_states_is_for_all(name):
    layer = catalog.recurrent(name)
    x, states = catalog.inputs(), [tf.ones((1, size), tf.float64) for size in layer.cell.state_size]
    expected = layer(x, initial_state=[tf.repeat(s, 3, axis=0) for s in states], mask=np.repeat(MASK[:1], 3, axis=0))
    np.testing.assert_array_equal(layer(x, initial_state=states, mask=MASK[:1]), expected)
    graph = tf.function(lambda x: layer(x, initial_state=states, mask=tf.constant(MASK[:1])))
    np.testing.assert_allclose(graph(tf.constant(x)), expected, atol=1e-12)


def test_states_that_are_lists_and_states_that_are_none():
    layer, x = catalog.recurrent("lstm"), catalog.inputs()
    states = catalog.initial(layer)
    listed = layer(x, initial_state=[state.tolist() for state in states])
    np.testing.assert_allclose(listed, layer(x, initial_state=states), rtol=1e-6)
    with pytest.raises(ValueError, match=r"Expected states \(h, c\) of sizes \[6, 6\], received \[None, None\]"):
        layer(x, initial_state=[None, None])


@pytest.mark.parametrize("base", [archs.LSTMCell, archs.MinGRUCell])
def test_a_cell_with_a_call_of_its_own_is_called(base):
    class Doubled(base):
        def call(self, inputs, states, training=False):
            output, states = super().call(inputs, states, training=training)
            return 2 * output, states

    cell = Doubled(6, dtype="float64")
    layer, plain = (kind(cell, return_sequences=True, dtype="float64") for kind in (archs.Recurrent, keras.layers.RNN))
    np.testing.assert_array_equal(layer(catalog.inputs()), plain(catalog.inputs()))


def test_an_activity_regularizer_of_the_cell_acts():
    losses = []
    for kind in (archs.Recurrent, keras.layers.RNN):
        layer = kind(
            archs.LSTMCell(6, activity_regularizer="l2", kernel_initializer="ones", recurrent_initializer="ones")
        )
        layer(np.ones((3, 5, 4)))
        losses.append(float(sum(layer.losses)))
    assert losses[0] == losses[1] > 0
