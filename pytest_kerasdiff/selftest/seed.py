"""A fault that is seeded into a right port, and what is seen of a layer to seed one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from pytest_kerasdiff.align import operations
from pytest_kerasdiff.change import Change, Edit
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.trace import Array, Constant, Operation


@dataclasses.dataclass(frozen=True, slots=True)
class Seed:
    """One fault.

    Attributes:
        id: Id of the catalogue.
        words: What is done to the port.
        change: How.
        also: Further ids that say the same of this fault.
    """

    id: str
    words: str
    change: Change
    also: tuple[str, ...] = ()


_OF_MANY = ("LSTM", "GRU", "RNN", "Bidirectional", "Attention")
"""Layers of many operations, of which none is one of the catalogue's own."""


def is_simple(case: Case) -> bool:
    """Whether the operations of a layer are what its class says, one by one."""
    return not any(word in case.layer.class_name for word in _OF_MANY)


def of_kind(case: Case, *kinds: str) -> Iterator[Operation]:
    """The layer's operations of some kinds."""
    return (step for step in case.subject.steps if operations.kind(step)[0] in kinds)


def named(case: Case, *names: str) -> Iterator[Operation]:
    """The layer's operations of some names."""
    return (step for step in case.subject.steps if step.op in names)


def constant(case: Case, operation: Operation, argument: str) -> tuple[int, Array] | None:
    """Number and elements of a constant that an operation takes."""
    found = operation.arguments.get(argument)
    if not isinstance(found, Constant):
        return None
    array = case.trace.constants[found.index].array
    return (found.index, array) if array.dtype.kind == "f" else None


def elements(number: int, array: Array) -> Change:
    """A constant with other elements."""
    return Change(constants={number: np.ascontiguousarray(array)})


def edited(case: Case, operation: Operation, edit: Edit) -> Change:
    """One operation edited."""
    return Change(edits={case.place(operation): edit})
