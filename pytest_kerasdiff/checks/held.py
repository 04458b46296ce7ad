"""What the torch operations of a layer hold, and how they take it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.trace import Array, Constant, Operation

COMPUTED = 2.0**-21
"""Relative difference allowed to a weight computed from parameters (weight_norm): eight float32 roundings."""
_MATRICES = {  # argument → whether the operation takes a matrix there as (out, in)
    "linear": {"weight": True},
    "addmm": {"mat1": True, "mat2": False},
    "matmul": {"self": True, "other": False},
    "mm": {"self": True, "mat2": False},
    "mv": {"self": True},
    "addmv": {"mat": True},
}


Fails = Literal["always", "unproven", "wrong"]
"""When a cause fails: always, where the activations do not prove what the port holds, where they are wrong."""


class Found(NamedTuple):
    """What was found of one weight.

    Attributes:
        cause: Id of the fault in the catalogue; empty where the port holds Keras's weight.
        words: What the port holds, where, and the remedy.
        fails: When a cause fails the check.
        name: The weight, as Keras calls it.
    """

    cause: str
    words: str
    fails: Fails = "wrong"
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A constant of floating point that an operation takes.

    Attributes:
        array: Its elements, float32.
        where: Name of the parameter or of those that it was computed from.
        direct: It is a parameter or a buffer as it is.
        operation: The first operation of the layer that takes it.
        argument: Name of the argument as which it does; empty where it is one of several.
        number: Its number in the trace.
    """

    array: Array
    where: str
    direct: bool
    operation: Operation | None = None
    argument: str = ""
    number: int = -1

    @property
    def takes_rows(self) -> bool | None:
        """Whether the operation takes a matrix as (out, in); None where it may be either."""
        if self.operation is None:
            return None
        if self.operation.op.startswith(("conv", "_conv", "mkldnn_conv")):
            return True
        if self.operation.op == "einsum":
            return _einsum_takes_rows(self.operation, self.number)
        return _MATRICES.get(self.operation.op, {}).get(self.argument)


def held(subject: Subject) -> list[Held]:
    """The constants of a layer's operations."""
    found = []
    operations = [*subject.steps, *([subject.operation] if subject.operation is not None else [])]
    for number, data in subject.constants.items():
        if data.array.dtype.kind != "f":
            continue
        taker = next((o for o in operations if number in o.constants), None)
        direct = len(data.origins) == 1 and data.origins[0] in subject.parameters
        where = ", ".join(data.origins) or "a constant"
        found.append(Held(data.array.astype(np.float32), where, direct, taker, _argument(taker, number), number))
    return found


def _argument(operation: Operation | None, number: int) -> str:
    for name, value in operation.arguments.items() if operation is not None else ():
        if isinstance(value, Constant) and value.index == number:
            return name
    return ""


def _einsum_takes_rows(operation: Operation, number: int) -> bool | None:
    """Whether an einsum sums over the last axis of a matrix, and not over the first."""
    equation, tensors = (
        str(operation.arguments.get("equation", "")).replace(" ", ""),
        operation.arguments.get("tensors"),
    )
    taken, _, given = equation.partition("->")
    for term, tensor in zip(taken.split(","), tensors or (), strict=False):
        if isinstance(tensor, Constant) and tensor.index == number and len(term) == 2:
            kept = [letter in given for letter in term]
            return kept[0] if kept[0] != kept[1] else None
    return None


def constants_of(arguments: Any) -> list[int]:
    """Numbers of the constants in an argument that is a list of tensors."""
    several: Sequence[Any] = arguments if isinstance(arguments, list | tuple) else [arguments]
    return [value.index for value in several if isinstance(value, Constant)]
