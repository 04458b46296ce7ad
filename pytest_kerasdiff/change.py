"""Changes of a torch program, as plain data: what a diagnosis tries, and what the self-test seeds.

A change holds other elements for constants, and edits of single operations. Chains of steps are written with torch's
own names of operations and arguments, so that whoever proposes a change needs no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, slots=True)
class Here:
    """In the arguments of a step: the tensor that its chain has come to."""


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """In the arguments of what is run instead of an operation: what that one takes as this argument."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One operation of a chain.

    Attributes:
        op: Name in torch's ``aten`` namespace ("constant_pad_nd"), or "keras." and a formula of the candidate side.
        arguments: By the names of torch's schema; tensors are ``Here``, ``Taken``, the ``Value`` and ``Constant`` of a
            trace, or arrays.
    """

    op: str
    arguments: Mapping[str, Any]


Chain = tuple[Step, ...]
"""Steps, each of which takes what the one before it gave as ``Here``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """What is changed at one operation.

    Attributes:
        before: Name of an argument ("input", or "tensors.1" for an element of a list) → what is done to it first.
        arguments: Arguments that get another value.
        instead: Another operation in its place.
        after: What is done to its result before anything takes it.
        further: Number of a further result, from 1 on → what is done to that one.
    """

    before: Mapping[str, Chain] = dataclasses.field(default_factory=dict)
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    instead: Step | None = None
    after: Chain = ()
    further: Mapping[int, Chain] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What is changed in a program.

    Attributes:
        constants: Number of a constant → the elements that it is to hold.
        edits: Position of an operation → what is changed there.
    """

    constants: Mapping[int, npt.NDArray[np.generic]] = dataclasses.field(default_factory=dict)
    edits: Mapping[int, Edit] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return bool(self.constants or self.edits)


def removed(takes: str) -> Edit:
    """Leave an operation out: what it takes as the argument ``takes`` is handed on as it is."""
    return Edit(instead=Step("alias", {"self": Taken(takes)}))


def put_before(takers: Iterable[tuple[int, str]], chain: Sequence[Step]) -> dict[int, Edit]:
    """Put a chain before each of these arguments.

    Args:
        takers: (position, argument) of the operations that take the value.
        chain: What is computed of it first.
    """
    edits: dict[int, Edit] = {}
    for place, argument in takers:
        own = edits[place].before if place in edits else {}
        edits[place] = Edit(before={**own, argument: tuple(chain)})
    return edits


def combined(first: Change, second: Change) -> Change | None:
    """Both changes as one; None where they contradict each other."""
    for number in first.constants.keys() & second.constants.keys():
        one, other = first.constants[number], second.constants[number]
        if one.shape != other.shape or not np.array_equal(one, other):
            return None
    edits = dict(first.edits)
    for position, edit in second.edits.items():
        joined = _joined(edits[position], edit) if position in edits else edit
        if joined is None:
            return None
        edits[position] = joined
    return Change({**first.constants, **second.constants}, edits)


def _are_equal(first: Edit, second: Edit) -> bool:
    try:
        return first == second
    except ValueError:  # arrays among their arguments, of which neither is the other
        return False


def _joined(first: Edit, second: Edit) -> Edit | None:
    if _are_equal(first, second):
        return first
    shared = first.arguments.keys() & second.arguments.keys()
    if first.instead is not None and second.instead is not None:
        return None
    if any(repr(first.arguments[name]) != repr(second.arguments[name]) for name in shared):
        return None
    before = dict(first.before)
    for name, chain in second.before.items():
        before[name] = (*before.get(name, ()), *chain)
    further = dict(first.further)
    for number, chain in second.further.items():
        further[number] = (*further.get(number, ()), *chain)
    return Edit(
        before,
        {**first.arguments, **second.arguments},
        first.instead if first.instead is not None else second.instead,
        (*first.after, *second.after),
        further,
    )
