"""Every cell computes the equations of its paper: values, gradients, and what each weight does."""

import inspect
import re

import numpy as np
import pytest

import archs
from tests.conformance.catalog import (
    BATCH,
    FEATURES,
    TIME,
    UNITS,
    each_case,
    each_cell,
    gradients,
    initial,
    inputs,
    numpy,
    random,
    randomize,
    recurrent,
    run_reference,
)


@each_case
def test_reference(name, case):
    layer = recurrent(name, case=case, return_sequences=True, return_state=True)
    sequence, states = inputs(), initial(layer)
    outputs, *finals = numpy(layer(sequence, initial_state=states))
    expected, expected_finals = run_reference(name, randomize(layer), sequence, states, case)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-12)
    for final, expected_final in zip(finals, expected_finals, strict=True):
        np.testing.assert_allclose(final, expected_final, rtol=0, atol=1e-12)


@pytest.mark.sampled(6)
@each_case
def test_gradient_equals_finite_differences_of_reference(name, case):
    layer = recurrent(name, case=case, return_sequences=True)
    sequence, states = inputs(), initial(layer)
    weights = randomize(layer)
    received = gradients(layer, sequence, states)
    places = [*(weights[w.name] for w in layer.trainable_weights), sequence, *states]
    counts = [id(state) for name, state in zip(layer.cell.states, states, strict=True) if name == "steps"]
    projection = random(BATCH, TIME, layer.cell.output_size, seed=9)

    def loss():
        return np.sum(projection * run_reference(name, weights, sequence, states, case)[0])

    eps = 1e-6
    for array, gradient in zip(places, received, strict=True):
        if id(array) in counts:  # of whole numbers, at which what is read changes at once
            assert np.all(gradient == 0)
            continue
        value = array.copy()
        for seed in range(3):
            direction = random(*array.shape, seed=[10, seed])  # in which no entry's error can hide
            array[...] = value + eps * direction
            above = loss()
            array[...] = value - eps * direction
            expected = (above - loss()) / (2 * eps)
            array[...] = value
            np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-6, atol=1e-7)


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
    rows = re.findall(r"^\| (\w+) \| .+ \| \((.+)\) \|$", inspect.getdoc(archs.get(name, "cell")), re.MULTILINE)
    cell = recurrent(name).cell
    sizes = {"d": FEATURES, "n": UNITS, "m": getattr(cell, "memory_width", UNITS), "p": cell.output_size}
    if hasattr(cell, "latents"):
        sizes |= {"d": cell.features, "z": cell.latents, "k": getattr(cell, "hidden", None), "p": cell.parameters}
    documented = {
        weight: tuple(eval(re.sub(r"(\d)([a-z])", r"\1*\2", size), sizes) for size in shape.split(",") if size.strip())
        for weight, shape in rows
    }
    built = {w.name: tuple(w.shape) for w in cell.weights}
    assert built == documented
    assert list(built) == list(documented)
