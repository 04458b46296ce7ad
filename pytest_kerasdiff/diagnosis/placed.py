"""A weight of Keras at a place of the torch program, as a change of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff.change import Change, Edit
from pytest_kerasdiff.checks.held import Held
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.trace import Array, Constant


@dataclasses.dataclass(frozen=True, slots=True)
class Seat:
    """Where a weight belongs.

    Attributes:
        name: The weight, as Keras calls it.
        change: What brings it there.
        patch: The same as a line of code.
    """

    name: str
    change: Change
    patch: str


def placed(case: Case, name: str, holder: Held, form: Array, code: str, rows: str = "") -> Seat:
    """A weight as the elements of a constant.

    Args:
        case: The layer.
        name: The weight.
        holder: The constant.
        form: What it is to hold.
        code: What makes this of Keras's weight, as code.
        rows: Which part of the constant is said to be it.
    """
    change = held_change(case, {holder.number: form})
    where = f'sd["{holder.where}"]' if holder.direct else holder.where
    return Seat(name, change, f"{rows}{where} = {code}")


def held_change(case: Case, arrays: Mapping[int, Array]) -> Change:
    """Other elements for constants; for those that another layer's operations take too, for this layer's alone."""
    own = set(case.steps)
    strangers = {
        number
        for i, operation in enumerate(case.trace.operations)
        if i not in own and _is_anothers(case, i)
        for number in operation.constants
        if number in arrays
    }
    constants = {n: np.asarray(a, np.float32) for n, a in arrays.items() if n not in strangers}
    edits = {}
    for i in sorted(own):
        changed = {
            name: new
            for name, argument in case.trace.operations[i].arguments.items()
            if (new := _with(argument, {n: np.asarray(arrays[n], np.float32) for n in strangers})) is not argument
        }
        if changed:
            edits[i] = Edit(arguments=changed)
    return Change(constants, edits)


def _is_anothers(case: Case, step: int) -> bool:
    """Whether an operation belongs to a layer that has other weights than this one."""
    owners = {
        other.weight_owner
        for position, other in enumerate(case.reference.layers)
        if other.weights and other.outputs and step in case.alignment.steps(position, other.outputs[0])
    }
    return bool(owners) and case.layer.weight_owner not in owners


def _with(argument: Any, arrays: Mapping[int, Array]) -> Any:
    if isinstance(argument, Constant):
        return arrays.get(argument.index, argument)
    if isinstance(argument, list | tuple) and any(
        isinstance(one, Constant) and one.index in arrays for one in argument
    ):
        several: Sequence[Any] = argument
        return [arrays.get(one.index, one) if isinstance(one, Constant) else one for one in several]
    return argument
