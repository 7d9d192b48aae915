"""Every node cell computes the equations of its paper, alone and in trees: values, gradients, weights, arguments."""

import inspect
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from tests.conformance.catalog import FEATURES, NODES, UNITS, numpy, random, randomize
from tests.conformance.test_mutations import drop_a_config_key
from tests.conformance.trees import CASES, arity_of, batch, cases_of, layer_of, reference_of, run_reference, vectors

each_node = pytest.mark.parametrize("name", NODES)
each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{case}" for name, case in CASES])


def called(layer, how):
    if how == "eager":
        return layer
    return tf.function(lambda *inputs: layer(*inputs), jit_compile=how == "xla")


def check_tree(name, case, how="eager"):
    layer, weights = layer_of(name, case)
    trees, places, children = batch(arity_of(name, case))
    x = vectors()
    outputs, mask = called(layer, how)(tf.constant(x), tf.constant(children))
    np.testing.assert_allclose(outputs, run_reference(name, weights, x, trees, places, case), rtol=0, atol=1e-12)
    assert np.asarray(mask).sum(axis=1).tolist() == [len(one) for one in trees]
    root = archs.Tree(layer.node)
    expected = [row[of_nodes[-1]] for row, of_nodes in zip(np.asarray(outputs), places, strict=True)]
    np.testing.assert_allclose(root(x, children), expected, rtol=0, atol=1e-12)


@each_case
@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
def test_a_whole_tree_is_that_of_the_reference(name, case, how):
    check_tree(name, case, how)


@each_case
def test_one_level_is_that_of_the_reference(name, case):
    node, arity = archs.create(name, UNITS, kind="node", dtype="float64", **case), arity_of(name, case)
    node.build((None, FEATURES))
    weights = randomize(node)
    x, present = random(3, FEATURES, seed=5), np.array([[1] * arity, [0] * arity, [1] + [0] * (arity - 1)], bool)
    children = tuple(random(3, arity, UNITS, seed=[6, i]) for i in range(len(node.states)))
    expected = reference_of(name).step(weights, x, children, present, **case)
    output, states = node(x, [tf.constant(c) for c in children], tf.constant(present))
    assert output is states[0]
    for received, right in zip(numpy(states), expected, strict=True):
        np.testing.assert_allclose(received, right, rtol=0, atol=1e-12)


@each_case
@pytest.mark.parametrize("how", ["graph", "xla"])
def test_gradient_equals_finite_differences_of_the_reference(name, case, how):
    layer, weights = layer_of(name, case)
    trees, places, children = batch(arity_of(name, case))
    x = vectors()
    projection = random(*x.shape[:2], UNITS, seed=9)

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, children)[0] * projection)
        return tape.gradient(loss, [x, *(w.value for w in layer.weights)])

    received = numpy(tf.function(slope, jit_compile=how == "xla")(tf.constant(x)))
    for array, gradient in zip([x, *weights.values()], received, strict=True):
        value, eps = array.copy(), 1e-6
        for seed in range(2):
            direction = random(*array.shape, seed=[10, seed])  # in which no entry's error can hide
            ends = []
            for sign in (1, -1):
                array[...] = value + sign * eps * direction
                ends.append(np.sum(projection * run_reference(name, weights, x, trees, places, case)))
            array[...] = value
            expected = (ends[0] - ends[1]) / (2 * eps)
            np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-6, atol=1e-6)


@each_node
def test_second_gradient_equals_that_of_the_first(name):
    layer, _ = layer_of(name, cases_of(name)[0])
    _, _, children = batch(arity_of(name), leaves=(3,), room=5)
    x, direction = tf.constant(vectors(1, 5)), random(1, 5, FEATURES, seed=3)

    def first(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, children)[0] ** 2)
        return tape.gradient(loss, x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        along = tf.reduce_sum(first(x) * direction)
    second, eps = tape.gradient(along, x), 1e-5
    moved = random(1, 5, FEATURES, seed=8)
    ends = [np.sum(first(x + sign * eps * moved) * direction) for sign in (1, -1)]
    np.testing.assert_allclose(np.sum(second * moved), (ends[0] - ends[1]) / (2 * eps), rtol=1e-5, atol=1e-7)


@each_node
def test_every_weight_matters(name):
    layer, _ = layer_of(name, cases_of(name)[0])
    _, _, children = batch(arity_of(name))
    before = layer(vectors(), children)[0]
    for weight in layer.weights:
        value = np.asarray(weight)
        for axis in range(value.ndim):
            weight.assign(np.roll(value, 1, axis))
            change = np.abs(layer(vectors(), children)[0] - before).max()
            weight.assign(value)
            assert change > 1e-3, f"{weight.name}, permuted along axis {axis}, changes nothing"


@each_node
def test_documented_weights_are_the_built_weights(name):
    rows = re.findall(r"^\| (\w+) \| .+ \| \((.+)\) \|$", inspect.getdoc(archs.get(name, "node")), re.MULTILINE)
    sizes = {"d": FEATURES, "n": UNITS, "a": arity_of(name)}
    documented = [
        (
            weight,
            tuple(eval(re.sub(r"(\d)([a-z])", r"\1*\2", size), sizes) for size in shape.split(",") if size.strip()),
        )
        for weight, shape in rows
    ]
    assert [(w.name, tuple(w.shape)) for w in layer_of(name)[0].weights] == documented


def arguments_of(name):
    """Another value than its default for every argument of a node."""
    known = {
        "activation": "softsign",
        "initializer": keras.initializers.RandomNormal(stddev=0.3, seed=1),
        "regularizer": keras.regularizers.L2(0.1),
        "constraint": keras.constraints.MaxNorm(2.0),
    }
    signatures = (archs.Node, archs.get(name, "node"))
    parameters = {k: p.default for cls in signatures for k, p in inspect.signature(cls.__init__).parameters.items()}
    own = {k: default for k, default in parameters.items() if k not in ("self", "units", "kwargs")}
    return {
        k: known.get(k.rpartition("_")[2], not default if isinstance(default, bool) else 3)
        for k, default in own.items()
    }


def check_config(name):
    cls, given = archs.get(name, "node"), arguments_of(name)
    default, config = cls(UNITS).get_config(), cls(UNITS, **given).get_config()
    assert [key for key in given if config[key] == default[key]] == []
    assert cls.from_config(config).get_config() == config


@each_node
def test_config_is_complete(name):
    check_config(name)


@each_node
def test_every_argument_acts(name):
    _, _, children = batch(arity_of(name))

    def facts(**arguments):
        keras.utils.set_random_seed(0)
        layer = archs.Tree(archs.create(name, UNITS, kind="node", dtype="float64", **arguments))
        layer.build((None, None, FEATURES))
        starts = [np.asarray(w) for w in layer.weights]
        constraints = [str(w.constraint) for w in layer.weights]
        randomize(layer)
        shapes = str([w.shape for w in layer.weights])
        is_other = layer.node.arity not in (None, children.shape[-1])
        return [shapes, *starts, 0 if is_other else np.asarray(layer(vectors(), children)), layer.losses, constraints]

    before = facts()
    for argument, value in arguments_of(name).items():
        after = facts(**{argument: value})
        same = after[0] == before[0] and all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        assert not same, argument


@each_node
def test_an_unknown_argument_is_refused(name):
    with pytest.raises(ValueError, match=r"received 'activatoin'\. Did you mean activation"):
        archs.create(name, UNITS, kind="node", activatoin="tanh")
    with pytest.raises(ValueError, match="`units` to be a positive integer, received 0"):
        archs.create(name, 0, kind="node")


@each_node
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(name, dtype):
    (exact, _), (half, _) = layer_of(name, dtype="float32"), layer_of(name, dtype=dtype)
    _, _, children = batch(arity_of(name))
    x = tf.constant(vectors(), tf.float32)
    with tf.GradientTape() as tape:
        outputs, _ = half(x, children)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32))
    assert outputs.dtype == dtype.removeprefix("mixed_")
    assert np.abs(tf.cast(outputs, tf.float32) - exact(x, children)[0]).mean() < 0.02
    for gradient in tape.gradient(loss, [w.value for w in half.weights]):
        assert gradient.dtype == tf.float32
        assert np.all(np.isfinite(gradient))
        assert np.abs(gradient).max() > 0


NET = [check_tree, lambda name, case: check_config(name)]


def transpose_a_kernel(cls):
    """A mutation: the kernel of the first product is transposed, as far as its shape allows."""
    right = cls.recur

    def recur(self, x, children, present, step):
        product = step.product

        def turned(a, kernel):
            return product(a, keras.ops.reshape(keras.ops.transpose(kernel), kernel.shape))

        step.product = turned
        return right(self, x, children, present, step)

    return {"recur": recur}


def forget_which_child(cls):
    """A mutation: the children in another order, where order is a matter, else those that are absent count."""
    right = cls.recur

    def recur(self, x, children, present, step):
        if self.arity:
            children = tuple(keras.ops.flip(c, 1) for c in children)
        else:
            children = tuple(c + 1 - keras.ops.cast(present, c.dtype)[..., None] for c in children)
        return right(self, x, children, present, step)

    return {"recur": recur}


def swap_two_gates(cls):
    """A mutation: the first and the last gate trade places."""
    right = cls.recur

    def recur(self, x, children, present, step):
        activate = step.activate

        def swapped(z, gates):
            first, *others = activate(z, gates)
            return (*others[-1:], *others[:-1], first)

        step.activate = swapped
        return right(self, x, children, present, step)

    return {"recur": recur} if cls.gates else {}


def drop_a_bias(cls):
    """A mutation: the bias is there, as a weight, and never read."""

    def weight(self, name, *args, **kwargs):
        variable = archs.Node.weight(self, name, *args, **kwargs)
        return keras.ops.zeros(variable.shape, variable.dtype) if name == "bias" else variable

    return {"weight": weight}


def caught(name):
    """Tells whether a test of the net fails for a node."""
    for test in NET:
        try:
            test(name, cases_of(name)[0])
        except Exception:
            return True
    return False


@each_node
@pytest.mark.parametrize(
    "mutate", [swap_two_gates, drop_a_bias, drop_a_config_key, transpose_a_kernel, forget_which_child]
)
def test_every_mutation_is_caught(name, mutate, monkeypatch):
    cls = archs.get(name, "node")
    assert not caught(name)
    members = mutate(cls)
    assert members or (mutate is swap_two_gates and not cls.gates)
    for member, value in members.items():
        monkeypatch.setattr(cls, member, value)
    assert caught(name) or not members
