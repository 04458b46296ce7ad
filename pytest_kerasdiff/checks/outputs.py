"""The check of what kind of numbers the model gives: probabilities, logits, logarithms."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.alignment import order_of_outputs
from pytest_kerasdiff.align.kinds import activation_of
from pytest_kerasdiff.checks.subject import Outcome, Whole
from pytest_kerasdiff.trace import Array

Floats = npt.NDArray[np.float64]
_BOUNDED = frozenset({"sigmoid", "hard_sigmoid", "softmax", "sparsemax"})
_CLOSE = 1e-6
"""How near to 1 rows of probabilities add up, and how near two functions of the same logits are."""


def check(whole: Whole) -> Outcome:
    """Fail where outputs stand in another order, or one side gives probabilities and the other does not; say how."""
    if whole.alignment.elsewhere:
        return Outcome("outputs", _in_another_order(whole))
    words = []
    for number, (port, keras) in enumerate(whole.outputs):
        name = f"output {number}" if len(whole.outputs) > 1 else "the output"
        if port is None or port.shape != keras.shape or port.dtype.kind != "f" or keras.dtype.kind != "f":
            words.append(
                f"{name} not compared: {'it does not depend on the input' if port is None else 'other shapes'}"
            )
            continue
        ours, theirs = port.astype(np.float64), keras.astype(np.float64)
        if _same(ours, theirs):
            words.append(f"{name}: {_words(keras)} on both sides")
            continue
        relation = _relation(ours, theirs)
        if relation:
            alike = kind(port) == kind(keras)
            both = [_range(array) if alike else _words(array) for array in (port, keras)]
            return Outcome("softmax", f"{name}: {relation}; {both[0]} in the port, {both[1]} in Keras")
        kinds = {kind(port), kind(keras)}
        by_chance = kinds == {"between 0 and 1", "unbounded"} and not _is_bounded(whole, number)
        if len(kinds) > 1 and not by_chance:
            return Outcome("softmax", f"{name}: {_words(port)} in the port, {_words(keras)} in Keras")
        words.append(f"{name}: {_words(keras)} on both sides")
    return Outcome("", "; ".join(words))


def _is_bounded(whole: Whole, number: int) -> bool:
    """Whether the function that an output of Keras ends in gives numbers between 0 and 1 whatever it takes."""
    layer = whole.reference.layers[whole.reference.giver[whole.reference.outputs[number]]]
    return activation_of(layer.class_name, layer.config) in _BOUNDED


def _in_another_order(whole: Whole) -> str:
    """Which output of the port each output of Keras is, and in which order to return them."""
    port, outputs = whole.candidate.outputs, whole.reference.outputs
    named = json.loads(whole.candidate.environment.get("output_names", "[]"))
    layers = [la.name for u in outputs for la in whole.reference.layers if u in la.outputs]
    given = order_of_outputs(whole.reference, whole.candidate)
    places = [
        port.index(whole.alignment.elsewhere[u]) if u in whole.alignment.elsewhere else given[i]
        for i, u in enumerate(outputs)
    ]
    called = [f'"{named[i]}"' if named else f"output {i}" for i in range(len(port))]
    said = "; ".join(
        f"{called[given[i]]} should be what {layers[i]} gives, which is {called[place]}"
        for i, place in enumerate(places)
        if place != given[i]
    )
    remedy = "name them so" if named else f"return its outputs {', '.join(map(str, places))} in this order"
    return f"the port returns its outputs in another order than Keras: {said}; {remedy}"


def kind(array: Array) -> str:
    """What the numbers of an output are: by their range, and by what the last axis adds up to.

    Returns:
        "probabilities", "log probabilities", the same "over axis N" or "over the batch", "between 0 and 1", "unbounded"
        or "not finite".
    """
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        return "not finite"
    for axis in range(values.ndim - 1, -1, -1):
        where = "" if axis == values.ndim - 1 else f" over axis {axis}" if axis else " over the batch"
        if values.shape[axis] > 1 and values.min() >= 0 and _adds_up(values, axis):
            return f"probabilities{where}"
        if values.shape[axis] > 1 and values.max() <= 0 and _adds_up(np.exp(values), axis):
            return f"log probabilities{where}"
    return "between 0 and 1" if values.size and values.min() >= 0 and values.max() <= 1 else "unbounded"


def _adds_up(values: Floats, axis: int) -> bool:
    return bool(np.all(np.abs(values.sum(axis) - 1) < _CLOSE))


def _words(array: Array) -> str:
    found = kind(array)
    return _range(array) if found == "unbounded" else found


def _range(array: Array) -> str:
    return f"numbers from {float(array.min()):.3g} to {float(array.max()):.3g}"


def _relation(port: Floats, keras: Floats) -> str:
    """How the port's output is made from Keras's or the reverse, in words; empty where they are unrelated."""
    axis = keras.ndim - 1
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if keras.ndim > 1 and keras.shape[axis] > 1:
            if _same(_softmax(port, axis), keras):
                return (
                    "the port takes the logarithm of the softmax" if kind(port) == "log probabilities"
                    else "the softmax is missing in the port"
                )  # fmt: skip
            if _same(port, _softmax(keras, axis)):
                doubled = kind(keras) == "probabilities"
                return (
                    "the softmax is applied twice in the port" if doubled else "the port has a softmax, Keras has none"
                )
        if _same(_sigmoid(port), keras):
            return "the sigmoid is missing in the port"
        if _same(port, _sigmoid(keras)):
            inside = kind(keras) == "between 0 and 1"
            return "the sigmoid is applied twice in the port" if inside else "the port has a sigmoid, Keras has none"
        if kind(keras) == "probabilities" and kind(port) == "between 0 and 1":
            logits = np.log(port) - np.log1p(-port)
            if _same(_softmax(logits, axis), keras):
                return "the port has a sigmoid where Keras has a softmax"
    return ""


def _same(first: Floats, second: Floats) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(first - second) <= _CLOSE * max(1.0, float(np.abs(second).max(initial=0)))))


def _softmax(values: Floats, axis: int) -> Floats:
    grown = np.exp(values - values.max(axis, keepdims=True))
    result: Floats = grown / grown.sum(axis, keepdims=True)
    return result


def _sigmoid(values: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-values))
    return result
