"""What is no version of a Keras weight: the weight of another layer, an initial value, other numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pytest_kerasdiff.align.weights import fingerprint
from pytest_kerasdiff.checks.held import Found, Held
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.transformations import constant_of, distance, likeness
from pytest_kerasdiff.trace import Array

ALIKE = 0.5
"""Correlation under which an array of some size is no version of the Keras weight."""
_MOST_BY_CHANCE = 0.95
_SOME_SIZE = 4


def how_much(form: Array, holder: Held) -> str:
    """How many elements of a constant differ from what it should hold, where most, and by how much."""
    port = holder.array.reshape(form.shape)
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(distance(port, form))), form.shape))
    return (
        f"{int((port != form).sum())} of {form.size} elements of {holder.where} differ, most at {at}: got "
        f"{port[at]:.6g}, expected {form[at]:.6g}"
    )


def strange(form: Array, holder: Held) -> tuple[str, str]:
    """(cause, words) for an array that is of none of the Keras model's weights."""
    port = holder.array
    value = constant_of(port)
    if value is not None:
        return "weights-not-loaded", f"{holder.where} is {value:g} everywhere, as before loading"
    if is_unlike(port, form):
        return "weights-not-loaded", f"{holder.where} holds none of the model's weights, as before loading"
    alike = likeness(port, form)
    if alike > 0.999999:
        ours, theirs = (np.asarray(a, np.float64).ravel() for a in (port, form))
        factor = float(ours @ theirs) / float(theirs @ theirs)
        return "weights-differ", f"{holder.where} is about {factor:.6g} times Keras's"
    return "weights-differ", how_much(form, holder)


def is_unlike(port: Array, form: Array) -> bool:
    """Whether an array is no version of the Keras weight: no more alike than two unrelated ones of its size may be.

    The correlation of those has a standard deviation of 1 / sqrt(size); three of them are allowed for.
    """
    by_chance = max(ALIKE, min(_MOST_BY_CHANCE, 3 / math.sqrt(port.size)))
    return port.size >= _SOME_SIZE and abs(likeness(port, form)) < by_chance


def of_another_layer(name: str, weight: Array, subject: Subject, holder: Held) -> Found | None:
    """The weight of another layer that a constant holds."""
    mark = fingerprint(holder.array)
    if mark is None:
        return None
    for layer, other in _with_content(subject, mark, holder.array.size):
        elsewhere = _who_holds(subject, weight, holder.where)
        if elsewhere:
            words = f"{name}: {holder.where} holds {layer}'s {other}, and {elsewhere} holds this one; exchange them"
            return Found("weights-swapped", words)
        return Found("weights-of-other-layer", f"{name}: {holder.where} holds {layer}'s {other}; load this layer's own")
    return None


def _with_content(subject: Subject, mark: int, size: int) -> Iterator[tuple[str, str]]:
    own = subject.layer.weight_owner
    for (layer, other), array in subject.others.items():
        if layer != own and array.size == size and fingerprint(array) == mark:
            yield layer, other


def _who_holds(subject: Subject, weight: Array, but: str) -> str:
    mark = fingerprint(weight)
    if mark is None:
        return ""
    arrays = ((n, a) for n, a in subject.port.items() if n != but and a.size == weight.size and a.dtype.kind == "f")
    return next((n for n, a in arrays if fingerprint(a) == mark), "")
