"""The net holds: each cell, changed in one place as a slip of the hand would, fails a test of the catalog.

`pytest -m slow tests/conformance/test_mutations.py -s` prints which test catches what.
"""

import ast
import functools
import inspect
import textwrap

import keras
import pytest

import archs
from tests.conformance import catalog, test_arguments, test_equations


def rewritten(cls, change):
    """The methods with the equations, `recur` or `coefficients`, where `change(tree)` says that it found a place."""
    methods = {}
    for name in ("recur", "coefficients"):
        if name in vars(cls):
            function = vars(cls)[name]
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
            if change(tree):
                scope = {}
                exec(
                    compile(ast.fix_missing_locations(tree), f"<{name}, mutated>", "exec"), function.__globals__, scope
                )
                methods[name] = scope[name]
    return methods


def names(target):
    return [element.id for element in getattr(target, "elts", []) if isinstance(element, ast.Name)]


def reads_states(node):
    return any(isinstance(child, ast.Name) and child.id == "states" for child in ast.walk(node))


def unpacks_gates(node):
    if not isinstance(node, ast.Assign) or len(names(node.targets[0])) < 2 or reads_states(node.value):
        return False
    return isinstance(node.value, ast.Call) and getattr(node.value.func, "attr", None) in ("split", "activate")


def swap_two_gates(cls):
    """The first and the last gate unpacked trade places; where gates are looked up by name, two names do."""

    def change(tree):
        found = False
        for node in ast.walk(tree):
            if unpacks_gates(node):
                gates = [e for e in node.targets[0].elts if isinstance(e, ast.Name)]
                gates[0].id, gates[-1].id = gates[-1].id, gates[0].id
                found = True
        return found

    methods = rewritten(cls, change)
    if not methods and len(cls.gates) > 1:
        methods = {"gates": (cls.gates[1], cls.gates[0], *cls.gates[2:])}
    return methods


def read_an_old_state(cls):
    """A mutation: of a state after its update, its value from before is read, be it in the return."""

    def change(tree):
        (function,) = tree.body
        assignments = [n for n in ast.walk(tree) if isinstance(n, ast.Assign)]
        unpacked = next((n for n in assignments if names(n.targets[0]) and reads_states(n)), None)
        if not unpacked:
            return False
        updates = {
            name: n.lineno
            for name in names(unpacked.targets[0])
            for n in assignments
            if n is not unpacked and name in ast.unparse(n.targets[0]).split(", ")
        }
        if not updates:
            return False
        state, updated = list(updates.items())[-1]
        reads = [
            n
            for n in ast.walk(function)
            if isinstance(n, ast.Name) and n.id == state and isinstance(n.ctx, ast.Load) and n.lineno > updated
        ]
        for read in reads:
            read.id = f"old_{state}"
        keep = ast.parse(f"old_{state} = {state}").body[0]
        for parent in ast.walk(tree):
            body = getattr(parent, "body", [])
            if isinstance(body, list) and unpacked in body:
                body.insert(body.index(unpacked) + 1, keep)
        return bool(reads)

    return rewritten(cls, change)


def drop_a_bias(cls):
    """Every bias is there, as a weight, and never read."""

    if "bias" not in inspect.getsource(cls.build):
        return {}

    def weight(self, name, *args, **kwargs):
        variable = archs.Cell.weight(self, name, *args, **kwargs)
        return keras.ops.zeros(variable.shape, variable.dtype) if "bias" in name else variable

    return {"weight": weight}


def drop_a_config_key(cls):
    own = [key for key in inspect.signature(cls.__init__).parameters if key not in ("self", "units", "kwargs")]

    def get_config(self):
        config = super(cls, self).get_config()
        return {key: value for key, value in config.items() if key != (own or ["activation"])[0]}

    return {"get_config": get_config}


class _Turning:
    """A step that transposes the kernels of one of its products."""

    def __init__(self, step, name):
        self._step, self._product = step, getattr(step, name)
        setattr(self, name, self._turned)

    def __getattr__(self, name):
        return getattr(self._step, name)

    def _turned(self, a, kernel, *args):
        turned = keras.ops.transpose(kernel) if len(kernel.shape) > 1 else keras.ops.flip(kernel)
        return self._product(a, keras.ops.reshape(turned, kernel.shape), *args)


def transpose_a_recurrent_kernel(cls):
    source, right = inspect.getsource(cls), cls.recur
    name = next((name for name in ("recurrent_product", "product") if f"step.{name}(" in source), None)
    return {} if name is None else {"recur": lambda self, x, states, step: right(self, x, states, _Turning(step, name))}


MUTATIONS = [swap_two_gates, read_an_old_state, drop_a_bias, drop_a_config_key, transpose_a_recurrent_kernel]
NET = [
    *(functools.partial(test_equations.test_reference, name, case) for name, case in catalog.CASES),
    *(functools.partial(test_arguments.test_config_is_complete, name) for name in catalog.CELLS),
]


def without(cls):
    """Mutations that a cell has no place for.

    There is no gate to swap, no recurrent product and no state updated by name, or all that but the state is the
    matter of an inner cell or, in a grid, of sides.
    """
    gates = [] if cls.gates else [swap_two_gates]
    inner = [drop_a_bias, transpose_a_recurrent_kernel] * cls.reads_memory
    inner += [transpose_a_recurrent_kernel] * (cls is archs.STORNCell)
    states = [read_an_old_state] * (cls in (archs.GridLSTMCell, archs.DRAWReaderCell))
    return gates + inner + states + [read_an_old_state, transpose_a_recurrent_kernel] * bool(cls.coefficients)


def caught_by(name):
    """The first test of the net that fails for a cell, or None."""
    for test in NET:
        if test.args[0] == name:
            try:
                test()
            except Exception as error:
                return f"{test.func.__name__} ({type(error).__name__})"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", catalog.CELLS)
def test_every_mutation_is_caught(name, monkeypatch):
    cls = archs.get(name, "cell")
    assert caught_by(name) is None
    for mutate in MUTATIONS:
        members = mutate(cls)
        assert members or mutate in without(cls), mutate.__name__
        with monkeypatch.context() as patch:
            for member, value in members.items():
                patch.setattr(cls, member, value)
            caught = caught_by(name)
        print(f"| {name} | {mutate.__name__} | {caught if members else 'has none'} |")
        assert caught or not members, mutate.__name__
