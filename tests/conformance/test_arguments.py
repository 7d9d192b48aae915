"""Every argument of a cell acts, is checked, and survives a file."""

import inspect
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core.step import Step
from tests.conformance.catalog import (
    BATCH,
    CELLS,
    FEATURES,
    TIME,
    UNITS,
    cases_of,
    create,
    each_case,
    each_cell,
    give,
    initial,
    inputs,
    make,
    numpy,
    randomize,
    recurrent,
    reference_of,
)


def non_default(cell, name, default):
    """Another value for an argument of a cell than its default; where nothing else tells, one of a reference's case."""
    known = {
        "activation": "softsign",
        "initializer": keras.initializers.RandomNormal(stddev=0.3, seed=1),
        "regularizer": keras.regularizers.L2(0.1),
        "constraint": keras.constraints.MaxNorm(2.0),
        "seed": 7,
    }
    known["method"] = "semeniuta" if archs.get(cell, "cell").candidate else "zaremba"
    kind = name.rpartition("_")[2]
    if kind in known:
        return known[kind]
    for case in cases_of(cell):
        if name in case:
            return case[name]
    if default is None:
        return UNITS - 1  # a size
    return not default if isinstance(default, bool) else default / 2 + 0.25


def arguments_of(cls):
    """Name to default of the constructor's arguments, Keras' own apart."""
    signatures = (keras.layers.SimpleRNNCell, archs.Cell, cls)
    parameters = {k: p for s in signatures for k, p in inspect.signature(s.__init__).parameters.items()}
    return {k: p.default for k, p in parameters.items() if k not in ("self", "units", "kwargs")}


def all_non_default(name):
    """Another value than its default for every argument of a cell that it can have together with the others."""
    cls = archs.get(name, "cell")
    given = {key: non_default(name, key, default) for key, default in arguments_of(cls).items()}
    if cls.candidate is None:
        del given["recurrent_dropout"]
    if cls.one_memory:
        del given["zoneout_expectation"]
    return given


@each_cell
def test_config_is_complete(name):
    cls, given = archs.get(name, "cell"), all_non_default(name)
    default, config = cls(UNITS).get_config(), cls(UNITS, **given).get_config()
    assert [key for key in given if config[key] == default[key]] == []
    assert cls.from_config(config).get_config() == config


@each_cell
def test_config_of_a_subclass_keeps_the_arguments_of_its_base(name):
    class Mine(archs.get(name, "cell")):
        def __init__(self, units, *, extra=1.0, **kwargs):
            super().__init__(units, **kwargs)
            self.extra = extra

    base = all_non_default(name)
    config = Mine(UNITS, extra=0.5, **base).get_config()
    assert config["extra"] == 0.5
    assert config == config | {k: v for k, v in create(name, UNITS, **base).get_config().items() if k != "name"}


@each_cell
def test_regularizers_and_constraints_act_on_the_weights_of_their_role(name):
    roles = ("kernel", "recurrent", "bias")
    regularizers = {f"{role}_regularizer": keras.regularizers.L2(1.0) for role in roles}
    constraints = {f"{role}_constraint": keras.constraints.NonNeg() for role in roles}
    cell = recurrent(name, arguments=regularizers | constraints).cell
    regularized = [w for w in cell.weights if re.search(r"(^|(?<!peephole)_)kernel|bias", w.name)]
    total = sum(np.sum(np.asarray(w) ** 2) for w in regularized)
    np.testing.assert_allclose(sum(np.asarray(loss) for loss in cell.losses), total)
    assert all(isinstance(w.constraint, keras.constraints.NonNeg) for w in regularized)


@each_cell
def test_activations_and_initializers_act(name):
    settings = arguments_of(archs.get(name, "cell"))
    for argument in (a for a in settings if a.endswith("activation")):
        changed, plain = recurrent(name, arguments={argument: "softsign"}), recurrent(name)
        outputs = [layer(inputs(), initial_state=initial(plain)) for layer in (changed, plain)]
        assert np.abs(outputs[0] - outputs[1]).max() > 1e-3, argument
    starts = {"kernel": 0.1, "recurrent": 0.2, "bias": 0.3}
    constants = {f"{role}_initializer": keras.initializers.Constant(start) for role, start in starts.items()}
    cell = create(name, UNITS, **constants)
    cell.build((None, FEATURES))
    for weight in cell.weights:
        role = re.sub(r"_kernel|_\d+", "", weight.name)
        if role in starts:
            assert np.float32(starts[role]) in np.asarray(weight), weight.name
            assert role == "bias" or len(np.unique(weight)) == 1


@each_case
def test_every_activation_argument_acts_wherever_it_can(name, case):
    """With softsign for all of them, a step holds no other squashing function but those that its paper fixes."""
    settings = arguments_of(archs.get(name, "cell"))
    given = dict.fromkeys((argument for argument in settings if argument.endswith("activation")), "softsign")
    cell = recurrent(name, case=case | given).cell
    step = tf.function(lambda x, states: cell(x, states)[1])
    specs = [tf.TensorSpec((BATCH, size), tf.float64) for size in (FEATURES, *cell.state_size)]
    graph = step.get_concrete_function(specs[0], specs[1:]).graph.as_graph_def()
    used = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    squashing = {"Tanh", "Relu"} | ({"Sigmoid"} if "recurrent_activation" in given else set())
    assert used & squashing == set(getattr(reference_of(name), "FIXED", ()))


def fingerprint(name, arguments):
    """All that arguments of a cell may change: its weights and their first values, states, answers, losses."""
    keras.utils.set_random_seed(0)
    layer = archs.Recurrent(create(name, UNITS, dtype="float64", **arguments), return_sequences=True)
    layer.build((BATCH, TIME, FEATURES))
    starts = [np.asarray(w) for w in layer.weights]
    randomize(layer)
    answers = [layer(inputs(), training=training) for training in (False, True)]
    return [*starts, *layer.cell.get_initial_state(1), *answers, *layer.losses]


OWN_ARGUMENTS = [
    (name, argument)
    for name in CELLS
    if "__init__" in vars(archs.get(name, "cell"))
    for argument in inspect.signature(archs.get(name, "cell").__init__).parameters
    if argument not in ("self", "units", "kwargs")
]


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("name", "argument"), OWN_ARGUMENTS)
def test_every_argument_of_its_own_acts(name, argument):
    value = non_default(name, argument, arguments_of(archs.get(name, "cell"))[argument])
    is_given = [argument in case for case in cases_of(name)]
    cases = [  # some act beside another only
        {key: kept for key, kept in case.items() if key != argument}
        for case, given in zip(cases_of(name), is_given, strict=True)
        if not given or all(is_given)
    ]

    def acts(case):
        before, after = fingerprint(name, case), fingerprint(name, case | {argument: value})
        shapes = [[tuple(array.shape) for array in arrays] for arrays in (before, after)]
        return shapes[0] != shapes[1] or any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))

    assert any(map(acts, cases)), f"{argument}={value!r} changes nothing in any of {cases}"


@each_cell
def test_every_recurrent_weight_multiplies_through_the_step(name, monkeypatch):
    """`Step.recurrent_product` sees each element of the recurrent kernels that matters, and each input has its site."""
    for case in cases_of(name):
        layer = recurrent(name, case=case, return_sequences=True)
        cell, kernels = layer.cell, []
        seen = Step.recurrent_product

        def product(step, a, kernel, site=0, cell=cell, kernels=kernels, seen=seen):
            assert a.shape[-1] == cell.product_sizes[site]
            kernels.append(kernel)
            return seen(step, a, kernel, site)

        monkeypatch.setattr(Step, "recurrent_product", product)
        weights = [w for w in cell.weights if "recurrent_kernel" in w.name]
        states = [tf.constant(state) for state in initial(layer)]
        with tf.GradientTape(persistent=True) as tape:
            new = cell(tf.constant(inputs()[:, 0]), states)[1]
            loss = tf.add_n([tf.reduce_sum(state**2) for state in new])
            passed = tf.add_n([tf.reduce_sum(kernel**2) for kernel in kernels]) if kernels else tf.constant(0.0)
        monkeypatch.setattr(Step, "recurrent_product", seen)
        places = [w.value for w in weights]
        for weight, by, through in zip(
            weights,
            tape.gradient(loss, places),
            tape.gradient(passed, places, unconnected_gradients="zero"),
            strict=True,
        ):
            assert np.all((np.asarray(by) == 0) | (np.asarray(through) != 0)), weight.name


# The state that holds the memory of a bias's gates, where the two names do not tell: along depth it is none.
MEMORIES = {"grid_lstm": {"time_bias": "m_1", "time_bias_1": "m_1"}}


def roles_of(cell, memories, rows=100):
    """Gates that, opened by their bias, keep more of the memory, and those that write more to it.

    Args:
        cell: a built one.
        memories: dict from the biases to look at to the states of their memories; empty, all biases, each of its own.
        rows: number of times.

    Returns:
        A dict of gate to (keeps, writes), each whether it was seen to, at one of many times.
    """
    times = np.arange(float(rows))[:, None]
    x = tf.constant(np.concatenate([np.zeros((rows, FEATURES - 1)), times], axis=1))
    for weight in cell.weights:
        if "kernel" in weight.name:
            weight.assign(np.zeros(weight.shape))

    def memory(bias, gates, opened, old):
        """The memory after a step, where it was `old` in all units and the gates have the biases `opened`."""
        wanted = [bias.name.replace("bias", "c"), "c", memories.get(bias.name)]  # of its layer, or the only one
        place = next((i for i, state in enumerate(cell.states) if state in wanted), 0)
        values = np.zeros(bias.shape)
        values.reshape(-1, bias.shape[-1])[0] = np.repeat([opened.get(gate, 0.0) for gate in gates], UNITS)
        bias.assign(values)
        states = [np.zeros((rows, size)) + times * (s in cell.clocks) + (s == "n") for s, size in sized]
        states[place] += old
        new = numpy(cell(x, [tf.constant(state) for state in states])[1])
        return new[place] / (new[cell.states.index("n")] if cell.one_memory else 1.0)

    sized, found = list(zip(cell.states, cell.state_size, strict=True)), {}
    biases = [w for w in cell.weights if (memories.get(w.name) in cell.states if memories else "bias" in w.name)]
    for bias in biases:
        gates = cell.gates[: bias.shape[-1] // UNITS]
        for gate in (gate for gate in gates if gate != cell.candidate):
            effects = []
            for opened in ({gate: 4.0}, {gate: -4.0}):
                kept = memory(bias, gates, opened, 0.5) - memory(bias, gates, opened, -0.5)
                proposed = [memory(bias, gates, opened | {cell.candidate: sign}, 0.0) for sign in (0.5, -0.5)]
                effects.append([np.abs(kept), np.abs(proposed[0] - proposed[1])])
            roles = [np.any(wide > 1.2 * shut + 1e-3) for wide, shut in zip(*effects, strict=True)]
            found[gate] = tuple(a or b for a, b in zip(roles, found.get(gate, (False, False)), strict=True))
        bias.assign(np.zeros(bias.shape))
    return found


@each_case
def test_gates_have_the_roles_that_they_play(name, case):
    cell = recurrent(name, case=case | {"use_bias": True}).cell
    memories = MEMORIES.get(name, {})
    found = roles_of(cell, memories)
    assert bool(found) == bool(set(memories.values()) & set(cell.states) if memories else cell.gates)
    assert found == {gate: (gate in cell.keeping, gate in cell.writing) for gate in found}


@each_cell
def test_forget_bias_starts_so_that_the_cell_keeps(name):
    if "unit_forget_bias" not in arguments_of(archs.get(name, "cell")):
        return
    draw = keras.initializers.RandomNormal(seed=1)
    cells = [create(name, UNITS, unit_forget_bias=on, bias_initializer=draw) for on in (True, False)]
    for cell in cells:
        cell.build((None, FEATURES))
    biases = [[np.asarray(w) for w in cell.weights if w.name.startswith("bias")] for cell in cells]
    for with_it, without in zip(*biases, strict=True):
        gates = cells[0].gates[: with_it.size // UNITS]
        with_it, without = (bias.reshape(-1, UNITS) for bias in (with_it, without))
        assert len(np.unique(without)) == without.size
        changed = [gate for gate, a, b in zip(gates, with_it, without, strict=True) if np.any(a != b)]
        expected = {"f": 1} if "f" in gates else {"g": 1} if "c" in gates else {"i": -1}
        assert changed == list(expected)
        np.testing.assert_array_equal(with_it[gates.index(changed[0])], list(expected.values()) * UNITS)


@each_cell
@pytest.mark.parametrize("kind", ["keras", pytest.param("saved_model", marks=pytest.mark.slow)])
def test_file_round_trip(name, kind, tmp_path):
    sequence = keras.Input((None, FEATURES))
    model = keras.Model(sequence, archs.Recurrent(make(name), return_sequences=True)(sequence))
    randomize(model)
    x = inputs().astype("float32")
    if kind == "keras":
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        give(loaded.layers[1].cell)
        outputs = loaded(x)
    else:
        model.export(tmp_path / "model", verbose=False)
        loaded = tf.saved_model.load(tmp_path / "model")
        outputs = loaded.serve(x)
    np.testing.assert_allclose(outputs, model(x), rtol=0, atol=1e-6)


@each_cell
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda cell, x, s: cell(x[:, :, None], s), r"ndim=2, found ndim=3"),
        (lambda cell, x, s: cell(x[:, :-1], s), rf"value {FEATURES}, but received input with shape \({BATCH}, 3\)"),
        (lambda cell, x, s: cell(x, [*s, s[0]]), r"Expected states .* received"),
        (lambda cell, x, s: cell(x, [s[0][:, :-1], *s[1:]]), r"Expected states .* received \[\d"),
        (lambda cell, x, s: archs.Recurrent(cell)(x), r"expected ndim=3, found ndim=2"),
        (
            lambda cell, x, s: archs.Recurrent(cell)(x[:, None], initial_state=[*s, s[0]]),
            r"Expected states .* received",
        ),
        (lambda cell, x, s: archs.Recurrent(cell)(x[:, None], initial_state=[]), r"Expected states .* received \[\]"),
        (lambda cell, x, s: archs.Recurrent(cell)(x[:, None], initial_state=[s[0][:, :1], *s[1:]]), r"received \[1"),
        (
            lambda cell, x, s: type(cell)(UNITS, recurent_dropout=0.1),
            r"received 'recurent_dropout'. Did you mean recur",
        ),
    ],
    ids=[
        *("rank", "features", "number of states", "size of a state", "rank of a sequence"),
        *("number of initial states", "no initial states", "size of an initial state", "unknown argument"),
    ],
)
def test_wrong_input_is_refused(name, call, message):
    cell = recurrent(name).cell
    states = [tf.zeros((BATCH, size)) for size in cell.state_size]
    with pytest.raises(ValueError, match=message):
        call(cell, tf.zeros((BATCH, FEATURES)), states)


@each_cell
@pytest.mark.parametrize("units", [0, -1, 2.5, "6", True, None])
def test_wrong_units_are_refused(name, units):
    with pytest.raises(ValueError, match="`units` to be a positive integer, received"):
        create(name, units)


@each_cell
@pytest.mark.parametrize("rate", ["dropout", "recurrent_dropout", "zoneout"])
@pytest.mark.parametrize("value", [1.0, -0.1, "0.5", None])
def test_wrong_rates_are_refused(name, rate, value):
    with pytest.raises(ValueError, match=rf"`{rate}` to be a rate in \[0, 1\), received"):
        create(name, UNITS, **{rate: value})
