"""Every rule of the catalog against every cell and every architecture in it.

Tests of one cell: `pytest tests/test_catalog.py -k NAME`. Sizes are odd, so that no transposed axis can pass.
"""

import ast
import importlib
import inspect
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from archs._core import noise, registry
from archs._core.step import Step

ROOT = pathlib.Path(__file__).resolve().parents[1]
CELLS, ARCHS = archs.list_cells(), archs.list_archs()
BATCH, TIME, FEATURES, UNITS = 3, 5, 4, 6
MASKS = {
    "right": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]],
    "left": [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]],
    "holes": [[1, 0, 1, 0, 1], [0, 1, 1, 0, 0], [1, 1, 0, 0, 1]],
    "all": [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]],
}

each_cell = pytest.mark.parametrize("name", CELLS)


def reference_of(name):
    return importlib.import_module(f"tests.reference.{name}")


def cases_of(name):
    return getattr(reference_of(name), "CASES", [{}])


CASES = [(name, case) for name in CELLS for case in cases_of(name)]
each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{case}" for name, case in CASES])


def random(*shape, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def randomize(layer, seed=1):
    """Gives every weight, biases included, random values; returns them by name."""
    values = [random(*w.shape, seed=[seed, i], scale=0.5) for i, w in enumerate(layer.weights)]
    layer.set_weights(values)
    return {w.name: value for w, value in zip(layer.weights, values, strict=True)}


MEMORY = random(1, 4, 16, seed=8)  # one for all rows, for cells that read one


def create(name, units, **arguments):
    """The cell, with a memory if it reads one."""
    return give(archs.create(name, units, **arguments))


def give(cell):
    if cell.reads_memory:
        cell.memorize(tf.constant(MEMORY[..., : cell.memory_size]))
    return cell


def make(name, units=UNITS, **arguments):
    """The cell with the first of its cases, but for `arguments`."""
    return create(name, units, **cases_of(name)[0] | arguments)


def recurrent(name, layer=archs.Recurrent, dtype="float64", seed=1, case=None, arguments=(), **options):
    """A built layer around the cell, with random weights and the arguments of `case`, by default the first."""
    cell = create(name, UNITS, dtype=dtype, **(cases_of(name)[0] if case is None else case) | dict(arguments))
    built = layer(cell, dtype=cell.dtype_policy, **options)
    built.build((BATCH, TIME, FEATURES))
    randomize(built, seed)
    return built


def inputs(time=TIME, seed=2):
    return random(BATCH, time, FEATURES, seed=seed)


def initial(layer, seed=3):
    """Random states that can come up: clocks, which differ between the sequences of a batch, count whole steps, and
    a memory in parts is positive."""
    states = []
    for i, (name, size) in enumerate(zip(layer.cell.states, layer.cell.state_size, strict=True)):
        state = random(BATCH, size, seed=[seed, i], scale=0.5)
        if name in layer.cell.clocks:
            state = np.arange(BATCH)[:, None] + 1.0
        states.append(np.abs(state) + 0.5 if name in layer.cell.one_memory else state)
    return states


def run_reference(name, weights, sequence, states, case, mask=None):
    """Outputs (batch, time, units) and final states of the NumPy transcription; masked steps keep the states."""
    step, states, outputs = reference_of(name).step, tuple(states), []
    if archs.get(name).reads_memory:
        case = case | {"memory": np.repeat(MEMORY[..., :UNITS], len(sequence), axis=0)}
    for t in range(sequence.shape[1]):
        new = step(weights, sequence[:, t], states, **case)
        keep = np.ones((len(sequence), 1), bool) if mask is None else np.asarray(mask, bool)[:, t, None]
        states = tuple(np.where(keep, a, b) for a, b in zip(new, states, strict=True))
        outputs.append(states[0])
    return np.stack(outputs, axis=1), states


def numpy(tensors):
    return [np.asarray(tf.cast(t, tf.float64)) for t in tensors]


def gradients(layer, sequence, states, mask=None):
    """Gradients of a random projection of all outputs, by every weight, the inputs and the initial states."""
    sequence, states = tf.constant(sequence), [tf.constant(s) for s in states]
    with tf.GradientTape() as tape:
        tape.watch([sequence, states])
        outputs = layer(sequence, initial_state=states, mask=mask)
        loss = tf.reduce_sum(outputs * random(*outputs.shape, seed=9))
    places = [*(w.value for w in layer.trainable_weights), sequence, *states]
    return numpy(tape.gradient(loss, places, unconnected_gradients="zero"))


# --- the catalog itself


@pytest.mark.parametrize(("folder", "names"), [("archs/cells", CELLS), ("archs", ARCHS), ("tests/reference", CELLS)])
def test_catalog_is_complete_and_not_empty(folder, names):
    files = sorted(p.stem for p in (ROOT / folder).glob("*.py") if not p.stem.startswith("_"))
    assert files
    assert files == names


@each_cell
def test_cell_is_exported_and_registered(name):
    cls = archs.get(name)
    assert getattr(archs, cls.__name__) is cls
    assert keras.saving.get_registered_name(cls) == f"archs>{cls.__name__}"
    assert cls.__name__.lower() == name.replace("_", "") + "cell"


@each_cell
def test_cell_page_has_all_its_sections(name):
    page = inspect.getdoc(archs.get(name))
    sections = ["Equations:", "Weights", "Departures", "Args:", "Call arguments:", "Returns:", "Raises:", "Example:"]
    assert [s for s in sections if s not in page] == []
    assert [page.index(s) for s in sections] == sorted(page.index(s) for s in sections)


@each_cell
def test_reference_imports_numpy_only(name):
    tree = ast.parse((ROOT / f"tests/reference/{name}.py").read_text())
    imported = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(n) for n in imported] == ["import numpy as np"]


# --- right


@each_case
def test_reference(name, case):
    layer = recurrent(name, case=case, return_sequences=True, return_state=True)
    sequence, states = inputs(), initial(layer)
    outputs, *finals = numpy(layer(sequence, initial_state=states))
    expected, expected_finals = run_reference(name, randomize(layer), sequence, states, case)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-12)
    for final, expected_final in zip(finals, expected_finals, strict=True):
        np.testing.assert_allclose(final, expected_final, rtol=0, atol=1e-12)


@each_case
def test_gradient_equals_finite_differences_of_reference(name, case):
    layer = recurrent(name, case=case, return_sequences=True)
    sequence, states = inputs(), initial(layer)
    weights = randomize(layer)
    received = gradients(layer, sequence, states)
    places = [*(weights[w.name] for w in layer.trainable_weights), sequence, *states]
    projection = random(BATCH, TIME, layer.cell.output_size, seed=9)

    def loss():
        return np.sum(projection * run_reference(name, weights, sequence, states, case)[0])

    eps = 1e-6
    for array, gradient in zip(places, received, strict=True):
        expected = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + eps
            above = loss()
            array[index] = value - eps
            expected[index] = (above - loss()) / (2 * eps)
            array[index] = value
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@each_cell
def test_every_weight_matters(name):
    layer = recurrent(name, return_sequences=True)
    sequence, states = inputs(), initial(layer)
    before = layer(sequence, initial_state=states)
    for weight in layer.weights:
        value = np.asarray(weight)
        for axis in range(value.ndim):
            if value.shape[axis] > 1:
                weight.assign(np.roll(value, 1, axis))
                change = np.abs(layer(sequence, initial_state=states) - before).max()
                weight.assign(value)
                assert change > 1e-3, f"{weight.name}, permuted along axis {axis}, changes nothing"


@each_cell
def test_documented_weights_are_the_built_weights(name):
    rows = re.findall(r"^\| (\w+) \| .+ \| \((.+)\) \|$", inspect.getdoc(archs.get(name)), re.MULTILINE)
    sizes = {"d": FEATURES, "n": UNITS, "m": UNITS, "p": recurrent(name).cell.output_size}
    documented = {
        weight: tuple(eval(re.sub(r"(\d)([a-z])", r"\1*\2", size), sizes) for size in shape.split(",") if size.strip())
        for weight, shape in rows
    }
    built = {w.name: tuple(w.shape) for w in recurrent(name).weights}
    assert built == documented
    assert list(built) == list(documented)


# --- arguments and files


def non_default(cell, name, default):
    """Another value for an argument of a cell than its default; where nothing else tells, one of a reference's case."""
    known = {
        "activation": "softsign",
        "initializer": keras.initializers.RandomNormal(stddev=0.3, seed=1),
        "regularizer": keras.regularizers.L2(0.1),
        "constraint": keras.constraints.MaxNorm(2.0),
        "seed": 7,
    }
    known["method"] = "semeniuta" if archs.get(cell).candidate else "zaremba"
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
    cls = archs.get(name)
    given = {key: non_default(name, key, default) for key, default in arguments_of(cls).items()}
    if cls.candidate is None:
        del given["recurrent_dropout"]
    if cls.one_memory:
        del given["zoneout_expectation"]
    return given


@each_cell
def test_config_is_complete(name):
    cls, given = archs.get(name), all_non_default(name)
    default, config = cls(UNITS).get_config(), cls(UNITS, **given).get_config()
    assert [key for key in given if config[key] == default[key]] == []
    assert cls.from_config(config).get_config() == config


@each_cell
def test_config_of_a_subclass_keeps_the_arguments_of_its_base(name):
    class Mine(archs.get(name)):
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
    regularized = [w for w in cell.weights if re.search(r"(^|(?<!peephole)_)kernel|^bias", w.name)]
    total = sum(np.sum(np.asarray(w) ** 2) for w in regularized)
    np.testing.assert_allclose(sum(np.asarray(loss) for loss in cell.losses), total)
    assert all(isinstance(w.constraint, keras.constraints.NonNeg) for w in regularized)


@each_cell
def test_activations_and_initializers_act(name):
    settings = arguments_of(archs.get(name))
    for argument in (a for a in settings if a.endswith("activation")):
        changed = recurrent(name, arguments={argument: "softsign"})
        assert np.abs(changed(inputs()) - recurrent(name)(inputs())).max() > 1e-3, argument
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
    settings = arguments_of(archs.get(name))
    given = dict.fromkeys((argument for argument in settings if argument.endswith("activation")), "softsign")
    cell = recurrent(name, case=case | given).cell
    step = tf.function(lambda x, states: cell(x, states)[1])
    specs = [tf.TensorSpec((BATCH, size), tf.float64) for size in (FEATURES, *cell.state_size)]
    graph = step.get_concrete_function(specs[0], specs[1:]).graph.as_graph_def()
    used = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    squashing = {"Tanh", "Relu"} | ({"Sigmoid"} if "recurrent_activation" in given else set())
    assert used & squashing == set(getattr(reference_of(name), "FIXED", ()))


def fingerprint(name, arguments):
    """What arguments of a cell may change: its weights and their first values, its states, its answers, its losses."""
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
    for argument in inspect.signature(archs.get(name).__init__).parameters
    if argument not in ("self", "units", "kwargs")
]


@pytest.mark.parametrize(("name", "argument"), OWN_ARGUMENTS)
def test_every_argument_of_its_own_acts(name, argument):
    value = non_default(name, argument, arguments_of(archs.get(name))[argument])
    cases = [case for case in cases_of(name) if argument not in case]  # some act beside another only
    changed = False
    for case in cases:
        before, after = fingerprint(name, case), fingerprint(name, case | {argument: value})
        shapes = [[tuple(array.shape) for array in arrays] for arrays in (before, after)]
        same = shapes[0] == shapes[1] and all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        changed = changed or not same
    assert changed, f"{argument}={value!r} changes nothing in any of {cases}"


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


def roles_of(cell, rows=100):
    """Which gates, opened by their bias, keep more of the memory and which write more to it, without other weights.

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
        wanted = [bias.name.replace("bias", "c"), "c"]  # of its layer, or the only one
        place = next((i for i, state in enumerate(cell.states) if state in wanted), 0)
        values = np.zeros(bias.shape)
        values.reshape(-1, bias.shape[-1])[0] = np.repeat([opened.get(gate, 0.0) for gate in gates], UNITS)
        bias.assign(values)
        states = [np.zeros((rows, size)) + times * (s in cell.clocks) + (s == "n") for s, size in sized]
        states[place] += old
        new = numpy(cell(x, [tf.constant(state) for state in states])[1])
        return new[place] / (new[cell.states.index("n")] if cell.one_memory else 1.0)

    sized, found = list(zip(cell.states, cell.state_size, strict=True)), {}
    for bias in (w for w in cell.weights if w.name.startswith("bias")):
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
    found = roles_of(cell)
    assert bool(found) == bool(cell.gates)
    assert found == {gate: (gate in cell.keeping, gate in cell.writing) for gate in found}


@each_cell
def test_forget_bias_starts_so_that_the_cell_keeps(name):
    if "unit_forget_bias" not in arguments_of(archs.get(name)):
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
    model = keras.Model(sequence, archs.Recurrent(create(name, UNITS), return_sequences=True)(sequence))
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


# --- the sequence layer


@each_cell
@pytest.mark.parametrize("pattern", MASKS)
def test_mask_keeps_the_states(name, pattern):
    mask = np.array(MASKS[pattern], bool)
    layer = recurrent(name, return_sequences=True, return_state=True)
    sequence, states = inputs(), initial(layer)
    sequence[~mask] = 99.0
    outputs, *finals = numpy(layer(sequence, initial_state=states, mask=tf.constant(mask)))
    expected, expected_finals = run_reference(name, randomize(layer), sequence, states, cases_of(name)[0], mask)
    np.testing.assert_allclose(outputs[mask], expected[mask], rtol=0, atol=1e-12)
    for final, expected_final in zip(finals, expected_finals, strict=True):
        np.testing.assert_allclose(final, expected_final, rtol=0, atol=1e-12)


@each_cell
def test_masked_steps_have_no_gradient(name):
    mask = np.array(MASKS["holes"], bool)
    layer = recurrent(name)
    by_inputs = gradients(layer, inputs(), initial(layer), tf.constant(mask))[len(layer.trainable_weights)]
    assert np.all(by_inputs[~mask] == 0)
    assert np.all(np.abs(by_inputs[mask]).max(axis=-1) > 0)


@each_cell
def test_mask_is_handed_on(name):
    mask = np.array(MASKS["right"], bool)
    sequence = inputs() * mask[..., None]
    lower, upper = recurrent(name, return_sequences=True), archs.Recurrent(make(name, 3, dtype="float64"))
    masked = keras.layers.Masking(dtype="float64")(sequence)
    implicit = upper(lower(masked))
    explicit = upper(lower(sequence, mask=tf.constant(mask)), mask=tf.constant(mask))
    np.testing.assert_array_equal(implicit, explicit)
    assert np.abs(implicit - upper(lower(sequence))).max() > 1e-4


@each_cell
def test_initial_state_joins_two_halves(name):
    layer = recurrent(name, return_sequences=True, return_state=True)
    sequence = inputs(time=7)
    whole, *finals = layer(sequence)
    first, *between = layer(sequence[:, :3])
    second, *last = layer(sequence[:, 3:], initial_state=between)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-14)
    for a, b in zip(finals, last, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


@each_cell
def test_stateful_joins_two_batches(name):
    layer = recurrent(name, return_sequences=True, stateful=True)
    sequence = inputs(time=6)
    whole = layer(sequence)
    layer.reset_state()
    halves = [layer(sequence[:, :3]), layer(sequence[:, 3:])]
    np.testing.assert_allclose(np.concatenate(halves, axis=1), whole, atol=1e-14)
    assert np.abs(layer(sequence) - whole).max() > 1e-3


@each_cell
def test_reset_state_restores_the_initial_state_of_the_cell(name, monkeypatch):
    def halves(self, batch_size):
        return [keras.ops.full((batch_size, size), 0.5, dtype=self.compute_dtype) for size in self.state_size]

    monkeypatch.setattr(archs.get(name), "get_initial_state", halves)
    layer = recurrent(name, stateful=True)
    first = layer(inputs())
    layer.reset_state()
    assert all(np.all(np.asarray(state) == 0.5) for state in layer.states)
    np.testing.assert_array_equal(layer(inputs()), first)


@each_cell
def test_go_backwards(name):
    forward = recurrent(name, return_sequences=True)
    backward = recurrent(name, return_sequences=True, go_backwards=True)
    np.testing.assert_allclose(backward(inputs()), forward(inputs()[:, ::-1]), atol=1e-14)


@each_cell
@pytest.mark.parametrize("pattern", ["right", "left"])
def test_bidirectional(name, pattern):
    layer = keras.layers.Bidirectional(recurrent(name, return_sequences=True), dtype="float64")
    give(layer.forward_layer.cell), give(layer.backward_layer.cell)
    mask = np.array(MASKS[pattern], bool)
    outputs = layer(inputs(), mask=tf.constant(mask))
    forward = layer.forward_layer(inputs(), mask=tf.constant(mask))
    turned = inputs()[:, ::-1], tf.constant(mask[:, ::-1].copy())
    backward = recurrent(name, return_sequences=True)
    backward.set_weights(layer.backward_layer.get_weights())
    expected = np.concatenate([forward, backward(turned[0], mask=turned[1])[:, ::-1]], axis=-1)
    np.testing.assert_allclose(np.asarray(outputs)[mask], expected[mask], atol=1e-14)


@each_cell
def test_stacked(name):
    cells = [make(name, units, dtype="float64") for units in (UNITS, 3)]
    stack = archs.Recurrent(cells, return_sequences=True)
    layers = [archs.Recurrent(cell, return_sequences=True) for cell in cells]
    np.testing.assert_allclose(stack(inputs()), layers[1](layers[0](inputs())), atol=1e-14)
    plain = keras.layers.RNN(
        keras.layers.StackedRNNCells(cells, dtype="float64"), return_sequences=True, dtype="float64"
    )
    np.testing.assert_allclose(plain(inputs()), stack(inputs()), atol=1e-14)


@each_cell
def test_one_time_step_is_one_call_of_the_cell(name):
    layer = recurrent(name)
    states = initial(layer)
    output, _ = layer.cell(inputs()[:, 0], [tf.constant(s) for s in states])
    np.testing.assert_allclose(layer(inputs(time=TIME)[:, :1], initial_state=states), output, atol=1e-14)


@each_cell
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_graph_equals_eager_for_any_batch_and_time(name, jit_compile):
    layer = recurrent(name, return_sequences=True)
    graph = tf.function(layer, jit_compile=jit_compile)
    if not jit_compile:
        graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, FEATURES), tf.float64)])
    for batch, time in ((3, 5), (2, 9), (4, 1)):
        sequence = random(batch, time, FEATURES)
        np.testing.assert_allclose(graph(tf.constant(sequence)), layer(sequence), atol=1e-13)


@each_cell
def test_unrolled_equals_looped(name):
    np.testing.assert_allclose(recurrent(name, unroll=True)(inputs()), recurrent(name)(inputs()), atol=1e-14)


@each_cell
@pytest.mark.parametrize("pattern", [None, *MASKS])
def test_recurrent_equals_keras_rnn(name, pattern):
    mask = None if pattern is None else tf.constant(np.array(MASKS[pattern], bool))
    ours, plain = recurrent(name, return_sequences=True), recurrent(name, keras.layers.RNN, return_sequences=True)
    states = initial(ours)
    np.testing.assert_allclose(
        ours(inputs(), initial_state=states, mask=mask), plain(inputs(), initial_state=states, mask=mask), atol=1e-12
    )
    for a, b in zip(gradients(ours, inputs(), states, mask), gradients(plain, inputs(), states, mask), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


# --- regularisation


REGULARIZERS = {
    "dropout": {"dropout": 0.5},
    "zaremba": {"dropout": 0.5, "dropout_method": "zaremba"},
    "recurrent_dropout": {"recurrent_dropout": 0.5},
    "semeniuta": {"recurrent_dropout": 0.5, "dropout_method": "semeniuta"},
    "zoneout": {"zoneout": 0.5},
}
LAYERS = pytest.mark.parametrize("layer", [archs.Recurrent, keras.layers.RNN])
# Every cell with every regularizer that it has, in our layer; with one of each kind of mask in Keras' own, too.
each_regularizer = pytest.mark.parametrize(
    ("name", "layer", "arguments"),
    [
        pytest.param(name, layer, arguments, id=f"{name}-{layer.__name__}-{regularizer}")
        for name in CELLS
        for regularizer, arguments in REGULARIZERS.items()
        for layer in (archs.Recurrent, keras.layers.RNN)
        if (regularizer != "semeniuta" or archs.get(name).candidate)
        and (layer is archs.Recurrent or regularizer in ("recurrent_dropout", "zoneout"))
    ],
)


@each_regularizer
def test_regularization_is_off_at_inference(name, layer, arguments):
    with_rate, without = recurrent(name, layer, arguments=arguments), recurrent(name, layer)
    np.testing.assert_allclose(with_rate(inputs()), without(inputs()), rtol=0, atol=1e-14)
    assert np.abs(with_rate(inputs(), training=True) - without(inputs())).max() > 1e-3


@each_regularizer
def test_regularization_is_fresh_in_each_call_and_seeded(name, layer, arguments):
    """In a graph with our layer, eagerly with Keras' own."""

    def two_calls(seed):
        built = recurrent(name, layer, arguments=arguments | {"seed": seed})
        call = tf.function(built) if layer is archs.Recurrent else built
        return [np.asarray(call(tf.constant(inputs()), training=True)) for _ in range(2)]

    first, second = two_calls(1)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal([first, second], two_calls(1))
    assert (
        np.abs(first - recurrent(name, layer, arguments=arguments | {"seed": 2})(inputs(), training=True)).max() > 1e-3
    )


def dropped_inputs(layer):
    """Which inputs a random projection of the outputs does not depend on in training: bool (batch, time, features)."""
    sequence = tf.constant(inputs())
    with tf.GradientTape() as tape:
        tape.watch(sequence)
        loss = tf.reduce_sum(layer(sequence, training=True) * random(BATCH, TIME, layer.cell.output_size))
    return np.asarray(tape.gradient(loss, sequence)) == 0


@each_cell
@LAYERS
def test_input_dropout_is_constant_in_time(name, layer):
    dropped = dropped_inputs(recurrent(name, layer, arguments={"dropout": 0.5, "seed": 1}, return_sequences=True))
    assert 0 < dropped[:, 0].sum() < dropped[:, 0].size
    np.testing.assert_array_equal(dropped, np.repeat(dropped[:, :1], TIME, axis=1))


@each_cell
def test_zarembas_dropout_is_fresh_in_each_time_step(name):
    dropped = dropped_inputs(recurrent(name, arguments=REGULARIZERS["zaremba"] | {"seed": 1}, return_sequences=True))
    assert 0 < dropped.sum() < dropped.size
    assert all(np.any(dropped[:, t] != dropped[:, 0]) for t in range(1, TIME))


@each_cell
@LAYERS
def test_recurrent_dropout_is_constant_in_time(name, layer, monkeypatch):
    built = recurrent(name, layer, arguments={"recurrent_dropout": 0.5, "seed": 1}, unroll=True)
    used, masked = [], noise.masked

    def recorded(cell, place, a, mask, site):
        used.append(np.asarray(mask))
        return masked(cell, place, a, mask, site)

    monkeypatch.setattr(noise, "masked", recorded)
    built(inputs(), training=True)
    assert len(used) >= TIME
    assert set(np.unique(used)) == {0.0, 2.0}
    np.testing.assert_array_equal(used, [used[0]] * len(used))


@pytest.mark.parametrize("name", [name for name in CELLS if archs.get(name).candidate])
def test_semeniutas_dropout_drops_the_candidate_alone(name, monkeypatch):
    """With the candidates of one step given to another, nothing random is left between the two."""
    built = recurrent(name, arguments=REGULARIZERS["semeniuta"] | {"seed": 1})
    before, proposed = [tf.constant(s) for s in initial(built)], []
    drop = Step.drop_candidate

    def dropped(*args):
        proposed.append(drop(*args))
        return proposed[-1]

    def replayed(*args):
        return proposed.pop(0)

    x = tf.constant(inputs()[:, 0])
    monkeypatch.setattr(Step, "drop_candidate", dropped)
    _, states = built.cell(x, before, training=True)
    assert 0 < sum(np.sum(np.asarray(g) == 0) for g in proposed) < sum(np.asarray(g).size for g in proposed)
    monkeypatch.setattr(Step, "drop_candidate", replayed)
    _, expected = built.cell(x, before, training=True)
    for a, b in zip(states, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@each_cell
def test_zoneout_keeps_units_of_the_old_states(name):
    exact, zoned = recurrent(name), recurrent(name, arguments={"zoneout": 0.5, "seed": 1})
    old = initial(exact)
    x = tf.constant(inputs()[:, 0])
    kept = []
    for _ in range(2):
        states = zoned.cell(x, [tf.constant(s) for s in old], training=True)[1]
        news = exact.cell(x, [tf.constant(s) for s in old], training=True)[1]
        for state, before, after, received in zip(zoned.cell.states, old, numpy(news), numpy(states), strict=True):
            if state in zoned.cell.clocks:
                np.testing.assert_array_equal(received, after)
            else:
                assert np.all((received == before) | (received == after))
                kept.append(np.any(received != after))
    assert all(kept)


@each_cell
def test_zoneout_of_one_rate_per_state_and_its_expectation(name):
    cls = archs.get(name)
    exact = recurrent(name)
    old, x = initial(exact), tf.constant(inputs()[:, 0])
    new = numpy(exact.cell(x, [tf.constant(s) for s in old])[1])
    rates = [0.25, *[0.0] * (len(old) - 1)]
    if cls.one_memory:
        with pytest.raises(ValueError, match="Expected no `zoneout_expectation`"):
            create(name, UNITS, zoneout_expectation=True)
    else:
        mean = recurrent(name, arguments={"zoneout": rates, "zoneout_expectation": True}).cell
        received = numpy(mean(x, [tf.constant(s) for s in old])[1])
        np.testing.assert_allclose(received[0], 0.25 * old[0] + 0.75 * new[0], atol=1e-14)
        for a, b in zip(received[1:], new[1:], strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"Expected `zoneout` to be a rate, or one for each state .* received"):
        recurrent(name, arguments={"zoneout": [*rates, 0.0]})


@each_cell
def test_dropout_method_that_does_not_fit_is_refused(name):
    with pytest.raises(ValueError, match="one of 'gal', 'zaremba', 'semeniuta', received 'moon'"):
        create(name, UNITS, dropout_method="moon")
    with pytest.raises(ValueError, match=r"Expected no `recurrent_dropout` with .* received 0\.5"):
        create(name, UNITS, dropout_method="zaremba", recurrent_dropout=0.5)
    if archs.get(name).candidate is None:
        with pytest.raises(ValueError, match="with `dropout_method='gal'`, received 'semeniuta'"):
            create(name, UNITS, dropout_method="semeniuta", recurrent_dropout=0.5)


@each_cell
def test_inference_holds_no_random_state(name):
    layer = recurrent(name, arguments={"dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.1})
    graph = tf.function(layer).get_concrete_function(tf.constant(inputs())).graph.as_graph_def()
    used = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert [op for op in used if "Random" in op or "Assign" in op] == []


# --- dtypes


@each_cell
def test_dtype_follows_the_policy_of_the_cell(name):
    layer = archs.Recurrent(create(name, UNITS, dtype="mixed_bfloat16"))
    assert layer(inputs()).dtype == tf.bfloat16
    assert {w.dtype for w in layer.weights} == {"float32"}


@each_cell
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, dtype):
    exact, half = recurrent(name, dtype="float32"), recurrent(name, dtype=dtype)
    sequence = tf.constant(inputs(), tf.float32)
    np.testing.assert_allclose(tf.cast(half(sequence), tf.float32), exact(sequence), rtol=0.02, atol=0.05)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(half(sequence), tf.float32))
    weights = [w.value for w in half.trainable_weights]
    for gradient in tape.gradient(loss, weights):
        assert gradient.dtype == tf.float32
        assert np.all(np.isfinite(gradient))
        assert np.abs(gradient).max() > 0


# --- learning


@pytest.mark.slow
@each_cell
def test_learns_to_remember(name):
    """The class is the sign of the first of ten inputs; nine of weak noise follow."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, 10, 2)).astype("float32")
    x[:, 1:] *= 0.1
    y = (x[:, 0, 0] > 0).astype("float32")
    model = keras.Sequential([archs.Recurrent(make(name, 16)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.03, clipnorm=1.0), keras.losses.BinaryCrossentropy(from_logits=True))
    for _ in range(4):  # how many epochs it takes differs between processors
        model.fit(x, y, epochs=30, batch_size=64, verbose=0)
        accuracy = np.mean((np.asarray(model(x))[:, 0] > 0) == y)
        if accuracy > 0.95:
            break
    assert accuracy > 0.95


# --- architectures

# Values for the arguments that factories require, by their name.
SMALL = {"features": FEATURES, "units": UNITS, "outputs": 2}
LENGTHS = np.array([5, 2, 3])

each_architecture = pytest.mark.parametrize("arch", ARCHS)
# Every cell in one architecture, and in each of the others the two that most are built with; all of them if slow.
PAIRS = [(arch, name) for arch in ARCHS for name in CELLS if not archs.get(name).reads_memory]
FEW = [(arch, name) for arch, name in PAIRS if arch == "vanilla_lstm" or name in ("lstm", "gru")]
each_architecture_and_cell = pytest.mark.parametrize(
    ("arch", "name"), [pair if pair in FEW else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS]
)
each_architecture_and_few_cells = pytest.mark.parametrize(("arch", "name"), FEW)


def small_model(arch, **options):
    factory = archs.get(arch)
    required = [p.name for p in inspect.signature(factory).parameters.values() if p.default is p.empty]
    return factory(**{name: SMALL[name] for name in required} | options)


def answers(outputs, x):
    """The outputs; of one for each time step, those before the lengths, in a row."""
    lengths = x.get("decoder_lengths", x["lengths"])
    rows = [row[:n] for row, n in zip(outputs, lengths, strict=True)]
    return tf.concat(rows, axis=0) if len(outputs.shape) == 3 else outputs


def request(model, time=TIME):
    """What a small model takes: random vectors or tokens of `time` steps, and their lengths."""
    takes = model.input if isinstance(model.input, dict) else {"inputs": model.input}
    tokens = np.random.default_rng(5).integers(0, SMALL["outputs"], (BATCH, time))
    return {
        name: LENGTHS * time // TIME
        if name.endswith("lengths")
        else (tokens if tensor.dtype == "int32" else inputs(time).astype("float32"))
        for name, tensor in takes.items()
    }


def call(model, x):
    return model(x if isinstance(model.input, dict) else x["inputs"])


@each_architecture_and_cell
def test_architecture_trains_a_step_with_every_weight(arch, name):
    model = small_model(arch, cell=name, lengths=True)
    x = request(model, 4 * TIME)  # convolutions leave a quarter
    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        loss = tf.reduce_sum(outputs * random(*outputs.shape).astype("float32"))
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, [w.value for w in model.trainable_weights]), strict=True
    ):
        gradient = tf.convert_to_tensor(gradient)  # that of an embedding has rows only for its tokens
        assert np.all(np.isfinite(gradient)), weight.path
        assert np.abs(gradient).max() > 0, weight.path


def behind(x, fill, more=0):
    """The request with other values behind the lengths, and `more` time steps of them."""
    changed = {}
    for name, value in x.items():
        if value.ndim > 1:
            sides = [(0, 0), (0, more)] + [(0, 0)] * (value.ndim - 2)
            value = np.pad(value, sides)
            lengths = x[name.replace("inputs", "lengths")]
            value[np.arange(value.shape[1]) >= lengths[:, None]] = fill if value.dtype == "float32" else 0
        changed[name] = value
    return changed


@each_architecture_and_cell
def test_padding_never_changes_the_answer(arch, name):
    model = small_model(arch, cell=name, lengths=True)
    randomize(model)
    x = request(model, 4 * TIME)  # convolutions leave a quarter
    expected = np.asarray(model(x))
    for same in (behind(x, 99.0), behind(x, 7.0, more=4)):
        np.testing.assert_allclose(answers(np.asarray(model(same)), x), answers(expected, x), atol=1e-6)
    alone = model({key: value[1:2, :8] if value.ndim > 1 else value[1:2] for key, value in x.items()})
    np.testing.assert_allclose(alone, expected[1:2, :8] if expected.ndim == 3 else expected[1:2], atol=1e-6)
    assert np.abs(model(x | {key: np.full(3, 20) for key in x if key.endswith("lengths")}) - expected).max() > 1e-3


@each_architecture_and_few_cells
def test_padding_never_reaches_the_gradients(arch, name):
    model = small_model(arch, cell=name, lengths=True)
    x = request(model)
    losses = []
    for given in (x, behind(x, np.nan)):
        with tf.GradientTape() as tape:
            losses.append(tf.reduce_sum(answers(model(given), x) ** 2))
        for gradient in tape.gradient(losses[-1], [w.value for w in model.trainable_weights]):
            assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))
    np.testing.assert_allclose(*losses, rtol=1e-5)


@each_architecture_and_few_cells
@pytest.mark.parametrize("lengths", [pytest.param(False, marks=pytest.mark.slow), True])
def test_architecture_reloads_and_trains_on(arch, name, lengths, tmp_path):
    model = small_model(arch, cell=name, lengths=lengths, dropout=0.1)
    model.compile("adam", "mse", run_eagerly=True)
    x = request(model)
    x = x if isinstance(model.input, dict) else x["inputs"]
    y = np.zeros(model(x).shape)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
    assert loaded.to_json() == model.to_json()
    loaded.fit(x, y, verbose=0)


@pytest.mark.slow
@each_architecture_and_cell
def test_architecture_is_saved_and_exported(arch, name, tmp_path):
    model = small_model(arch, cell=name, lengths=True)
    x = request(model, time=10)
    expected = model(x)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), expected, atol=1e-6)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    tensors = {key: tf.constant(value, model.input[key].dtype) for key, value in x.items()}
    np.testing.assert_allclose(loaded.serve(tensors), expected, atol=1e-6)


@each_architecture
def test_architecture_takes_a_cell_as_name_class_or_function(arch):
    for cell in ("lstm", archs.LSTMCell, lambda units: archs.LSTMCell(units, recurrent_dropout=0.1)):
        model = small_model(arch, cell=cell)
        assert call(model, request(model)).shape[0] == BATCH


@each_architecture
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lsmt"}, "Did you mean lstm"),
        ({"cell": "LSTM"}, "Did you mean lstm or"),
        ({"cell": 3}, "a name, a class or a function units -> cell, received 3"),
        ({"cell": lambda units: units}, "to make a cell, received 6"),
        ({"cell": keras.layers.LSTM}, "to make a cell, received <LSTM"),
        ({"cell": dict}, "to take .*received from it: 'int' object is not iterable"),
        ({"cell": lambda: 6}, "received from it: .*takes 0 positional arguments"),
        ({"cell": archs.Cell}, "to have a recurrence, received archs.Cell"),
        ({"cell": "attention_decoder"}, "a `cell` that reads no memory, received <AttentionDecoderCell"),
        ({"cell": archs.LSTMCell, "dropout": 1.0}, r"rate in \[0, 1\)"),
        ({"cell": lambda units: archs.LSTMCell(units), "recurrent_dropout": 0.5}, "to set recurrent_dropout itself"),
    ],
)
def test_architecture_refuses_what_is_no_cell(arch, options, message):
    with pytest.raises(ValueError, match=message):
        small_model(arch, **options)


@each_architecture
@pytest.mark.parametrize("argument", sorted(SMALL))
def test_architecture_refuses_sizes_that_are_none(arch, argument):
    with pytest.raises(ValueError, match=f"`{argument}` to be a positive integer, received 0"):
        archs.create(arch, **SMALL | {argument: 0})


@each_architecture
def test_architecture_answers_in_the_dtype_of_its_weights(arch):
    for dtype, expected in (("mixed_bfloat16", tf.float32), ("float64", tf.float64)):
        model = small_model(arch, dtype=dtype)
        assert call(model, request(model)).dtype == expected


@each_architecture
def test_architecture_has_the_dtype_policy_that_was_asked_for(arch, tmp_path):
    model = small_model(arch, dtype="mixed_float16")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copies = [keras.models.model_from_json(model.to_json()), type(model).from_config(model.get_config())]
    for one in (model, loaded, keras.models.clone_model(model), *copies):
        if one in copies:
            one.compile("adam", "mse")
        assert type(one) is type(model)
        assert one.dtype_policy.name == "mixed_float16"
        assert isinstance(one.optimizer, keras.optimizers.LossScaleOptimizer)
        outputs = [layer.name for layer in layers_of(one) if layer.dtype_policy.name != "mixed_float16"]
        assert outputs == ["outputs"]


def layers_of(model):
    """The layers of a model and of those within it, but for its inputs."""
    for layer in model.layers:
        layer = getattr(layer, "layer", layer)
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        if not isinstance(layer, keras.layers.InputLayer):
            yield layer


@pytest.fixture
def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@each_architecture
@pytest.mark.usefixtures("half_precision")
def test_architecture_takes_nothing_from_another_global_policy(arch):
    model = small_model(arch, dtype="float32", dropout=0.1)
    assert {layer.dtype_policy.name for layer in [model, *layers_of(model)]} == {"float32"}


@pytest.mark.usefixtures("half_precision")
def test_convolutions_over_frames_take_nothing_from_another_global_policy():
    model = archs.cnn_lstm((8, 8, 1), 6, 2, dtype="float32")
    assert {layer.dtype_policy.name for layer in [model, *layers_of(model)]} == {"float32"}


# --- padding

OF_TOKENS = [arch for arch in ARCHS if "mask_zero" in inspect.signature(archs.get(arch)).parameters]
SIDES = {"pre": lambda n: slice(7 - n, 7), "post": lambda n: slice(0, n)}
each_of_tokens = pytest.mark.parametrize("arch", OF_TOKENS)
each_padding = pytest.mark.parametrize("padding", SIDES)


def model_of_tokens(arch, **options):
    """A small model, of random weights, over the tokens 0 to 8."""
    named = inspect.signature(archs.get(arch)).parameters
    given = {"vocabulary": 9, "bidirectional": True, "return_sequences": True, "outputs": 9}
    model = small_model(arch, **{name: value for name, value in given.items() if name in named} | options)
    randomize(model)
    return model


def padded(model, padding):
    """Rows of tokens of `LENGTHS`, as `keras.utils.pad_sequences` pads them, to 7 steps; and each alone."""
    rows = [np.random.default_rng(n).integers(1, 9, n) for n in LENGTHS]
    together, alone = keras.utils.pad_sequences(rows, 7, padding=padding), [row[None] for row in rows]
    if not isinstance(model.input, dict):
        return together, alone
    return dict.fromkeys(model.input, together), [dict.fromkeys(model.input, row) for row in alone]


@each_of_tokens
@each_padding
def test_token_zero_is_padding_wherever_it_stands(arch, padding, tmp_path):
    model = model_of_tokens(arch, mask_zero=True)
    together, alone = padded(model, padding)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "model")
    answers = {
        "eager": model(together),
        "predicted": model.predict(together, verbose=0),
        "reloaded": keras.saving.load_model(tmp_path / "model.keras")(together),
        "exported": exported.serve(keras.tree.map_structure(lambda a: tf.constant(a, "int32"), together)),
    }
    for row, n in enumerate(LENGTHS):
        for way, answer in answers.items():
            received = np.asarray(answer)[row, SIDES[padding](n)]
            np.testing.assert_allclose(received, np.asarray(model(alone[row]))[0], atol=1e-5, err_msg=way)


@each_padding
@pytest.mark.parametrize("arch", ["stacked_lstm", "bidirectional_lstm"])
def test_one_answer_is_blind_to_token_zero(arch, padding):
    model = model_of_tokens(arch, mask_zero=True, return_sequences=False)
    together, alone = padded(model, padding)
    np.testing.assert_allclose(model(together), [model(row)[0] for row in alone], atol=1e-5)


TIED = [(arch, {"tied": True, "features": UNITS}) for arch in ("stacked_lstm", "generative_lstm")]


@pytest.mark.parametrize(("arch", "options"), [*((arch, {}) for arch in OF_TOKENS), *TIED])
@each_padding
def test_training_leaves_the_padding_out(arch, options, padding):
    model = model_of_tokens(arch, mask_zero=True, **options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    together, _ = padded(model, padding)
    tokens = together["inputs"] if isinstance(together, dict) else together
    mask = tokens > 0
    expected = float(loss(tokens[mask], np.asarray(model(together))[mask]))
    for targets in (tokens, np.where(mask, tokens, 5)):
        assert model.evaluate(together, targets, verbose=0) == pytest.approx(expected, rel=1e-5)
        assert model.fit(together, targets, verbose=0).history["loss"] == pytest.approx([expected], rel=1e-5)


@each_architecture
def test_padding_is_told_in_one_way(arch):
    if arch in OF_TOKENS:
        with pytest.raises(ValueError, match=r"`mask_zero=True` with a `vocabulary`.* and without `lengths`"):
            model_of_tokens(arch, mask_zero=True, lengths=True)
        with pytest.raises(ValueError, match="Expected `mask_zero` to be True or False, received 1"):
            model_of_tokens(arch, mask_zero=1)
    with pytest.raises(ValueError, match=r"Expected `lengths` to be True or False, received \[5, 2, 3\]"):
        small_model(arch, lengths=[5, 2, 3])


@each_architecture
@pytest.mark.parametrize("wrong", [6, -1])
def test_lengths_out_of_range_are_refused(arch, wrong, tmp_path):
    model = small_model(arch, lengths=True)
    x = request(model)
    y = np.zeros(model(x).shape)
    x["lengths"] = np.array([5, wrong, 3])
    with pytest.raises(ValueError, match=f"Expected lengths from 0 to the number of time steps, received {wrong}"):
        model(x)
    model.compile("sgd", "mse")
    model.export(tmp_path / "model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "model")
    tensors = {name: tf.constant(value, model.input[name].dtype) for name, value in x.items()}
    refused = pytest.raises(tf.errors.InvalidArgumentError, match="Expected lengths from 0 to the number of time steps")
    with refused:
        model.predict(x, verbose=0)
    with refused:
        model.fit(x, y, verbose=0)
    with refused:
        exported.serve(tensors)


@each_architecture
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([2.7, 1.0, 3.0]), "Expected `lengths` to be integers, received float64"),
        (np.array([True, False, True]), "Expected `lengths` to be integers, received bool"),
        (np.array(["2", "1", "3"]), "Expected `lengths` to be integers, received"),
        (np.array([2, 1 + 2**32, 3]), "Expected `lengths` to be integers of 32 bits, received 4294967297"),
        (np.array([2, 1]), "Expected one of `lengths` for each of the 3 rows, received 2"),
    ],
)
def test_lengths_that_are_none_are_refused(arch, wrong, message):
    model = small_model(arch, lengths=True)
    with pytest.raises(ValueError, match=message):
        model(request(model) | {"lengths": wrong})


@each_architecture
def test_lengths_may_be_a_list(arch):
    model = small_model(arch, lengths=True)
    x = request(model)
    np.testing.assert_array_equal(model(x | {"lengths": LENGTHS.tolist()}), model(x))


@each_architecture
@pytest.mark.parametrize("method", ["__call__", "predict", "fit"])
def test_ragged_tensors_are_refused_with_the_way_to_pad_them(arch, method):
    model = small_model(arch)
    model.compile("sgd", "mse")
    rows = tf.RaggedTensor.from_tensor(request(model)["inputs"], LENGTHS)
    x = dict.fromkeys(model.input, rows) if isinstance(model.input, dict) else rows
    given = {"fit": (x, np.zeros((3, 2)))}.get(method, (x,))
    with pytest.raises(
        ValueError, match=r"received a RaggedTensor .* Give `\w+.to_tensor\(\)` and, .*row_lengths\(\)`"
    ):
        getattr(model, method)(*given)


def test_lists_of_different_lengths_are_refused_with_the_way_to_pad_them():
    model = archs.stacked_lstm(4, 6, 2, vocabulary=9)
    with pytest.raises(
        ValueError, match=r"received lists of different lengths. Give `keras.utils.pad_sequences\(inputs"
    ):
        model([[1, 2, 3], [4]])
    np.testing.assert_array_equal(model([[1, 2, 3], [4, 5, 6]]), model(np.array([[1, 2, 3], [4, 5, 6]])))


@each_of_tokens
@pytest.mark.parametrize(("wrong", "message"), [(9, "from 0 to 8, received 9"), (-1, "from 0 to 8, received -1")])
def test_tokens_that_have_no_vector_are_refused(arch, wrong, message):
    model = model_of_tokens(arch)
    x, _ = padded(model, "post")
    tokens = keras.tree.map_structure(lambda a: np.where(a == 0, wrong, a), x)
    with pytest.raises(ValueError, match=f"Expected tokens {message}"):
        model(tokens)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected tokens from 0 to 8"):
        model.predict(tokens, verbose=0)
    floats = keras.tree.map_structure(lambda a: a.astype("float32"), x)
    np.testing.assert_allclose(model(floats), model(x), atol=1e-6)
    with pytest.raises(ValueError, match=r"to be integers of 32 bits, received 0\.5"):
        model(keras.tree.map_structure(lambda a: a + 0.5 * (a == 0), floats))
    with pytest.raises(tf.errors.InvalidArgumentError, match="to be integers, received"):
        model.predict(keras.tree.map_structure(lambda a: a + 0.5 * (a == 0), floats), verbose=0)


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if arch != "generative_lstm"])  # which takes tokens
@pytest.mark.parametrize("lengths", [False, True])
def test_a_mask_that_arrives_ends_the_rows(arch, lengths):
    """As from a `keras.layers.Masking` in front, nested: the warning that a mask is destroyed is an error here."""
    inner = small_model(arch, lengths=lengths)
    takes = inner.input if isinstance(inner.input, dict) else {"inputs": inner.input}
    asked = {name: keras.Input(x.shape[1:], name=name, dtype=x.dtype) for name, x in takes.items()}
    given = asked | {"inputs": keras.layers.Masking(9.0)(asked["inputs"])}
    outer = keras.Model(asked, inner(given if isinstance(inner.input, dict) else given["inputs"]))
    other = small_model(arch, lengths=True)
    other.set_weights(inner.get_weights())
    whole = {name: np.full(3, TIME) for name in other.input if name.endswith("lengths")}
    x = request(other) | whole
    expected, cut = np.asarray(other(x | {"lengths": LENGTHS})), np.arange(TIME) < LENGTHS[:, None]
    x = {name: x[name] for name in takes} | {"inputs": np.where(cut[..., None], x["inputs"], 9.0)}
    for answer in (outer(x), outer.predict(x, verbose=0)):
        read = whole | {"lengths": LENGTHS}
        np.testing.assert_allclose(answers(answer, read), answers(expected, read), atol=1e-5)


def test_an_output_carries_the_mask_that_arrived():
    inner = archs.stacked_lstm(4, 6, 2, return_sequences=True)
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Masking(9.0), inner])
    model.compile("sgd", "mse")
    cut = np.arange(TIME) < LENGTHS[:, None]
    x = np.where(cut[..., None], inputs(TIME), 9.0).astype("float32")
    expected = np.mean(np.square(np.asarray(model(x)))[cut])
    for behind in (0.0, 5.0):
        y = np.where(cut[..., None], np.zeros((3, TIME, 2)), behind)
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_one_answer_carries_no_mask():
    inner = archs.vanilla_lstm(4, 6, 2)
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Masking(9.0), inner])
    model.compile("sgd", "mse")
    x = np.where((np.arange(TIME) < LENGTHS[:, None])[..., None], inputs(TIME), 9.0).astype("float32")
    expected = np.mean(np.square(np.asarray(model(x))))
    assert model.evaluate(x, np.zeros((3, 2)), verbose=0) == pytest.approx(expected, rel=1e-5)


# --- other cells, other models


@keras.saving.register_keras_serializable(package="tests")
class PlainCell(keras.layers.Layer):
    """A cell as a user writes it: one state whose size is an integer, no size of the output, no initial state."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], self.units), name="kernel")

    def call(self, x, states):
        h = keras.ops.tanh(keras.ops.matmul(x, self.kernel) + states[0])
        return h, [h]

    def get_config(self):
        return super().get_config() | {"units": self.units}


FOREIGN = [keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell, PlainCell]


@each_architecture
@pytest.mark.parametrize("cell", [*FOREIGN, lambda units: keras.layers.GRUCell(units)])
def test_architecture_takes_cells_of_others(arch, cell, tmp_path):
    options = {"attention": None} if arch == "encoder_decoder_lstm" else {}
    model = small_model(arch, cell=cell, **options)
    model.compile("sgd", "mse")
    x = request(model)
    x = x if isinstance(model.input, dict) else x["inputs"]
    model.fit(x, np.zeros(model(x).shape), verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), model(x), atol=1e-6)


def test_attention_is_for_cells_of_the_catalog():
    with pytest.raises(ValueError, match=r"for the layer that attends, received <GRUCell .* or `attention=None`"):
        archs.encoder_decoder_lstm(4, 6, 2, cell=keras.layers.GRUCell)


def test_files_of_plain_models_load(tmp_path):
    model = archs.bidirectional_lstm(4, 6, 2, lengths=True)
    keras.Model(model.input, model.output, name="plain").save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded).__name__ == "Functional"
    x = request(model)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_a_model_shows_its_layers(capsys):
    archs.stacked_lstm(4, 6, 2).summary()
    assert 'Model: "stacked_lstm"' in capsys.readouterr().out


def test_every_entry_has_a_source_and_a_summary():
    for entry in registry.entries():
        assert entry.url.startswith("https://"), entry.name
        assert str(entry.year) in entry.paper, entry.name
        assert entry.summary.endswith("."), entry.name
