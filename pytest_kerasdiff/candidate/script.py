"""A part of a recorded program as lines of Python that need torch alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from pytest_kerasdiff.candidate.instruction import Instruction
from pytest_kerasdiff.trace import Constant, Operation, ReplayError, Value


def lines(
    steps: Sequence[tuple[Instruction, Operation]], given: Mapping[int, str], constants: Mapping[int, str]
) -> Iterator[str]:
    """Assignments that compute the values of these steps, ``v3 = torch.ops.aten.relu.default(v2)``.

    Args:
        steps: In order.
        given: Values that are not computed → the expression that has each.
        constants: Constants → likewise.

    Raises:
        ReplayError: An operation is no operator of torch, or takes an argument that cannot be written down.
    """
    for function in dict.fromkeys(step.function for step, _ in steps if inspect.isfunction(step.function)):
        yield from inspect.getsource(function).splitlines()  # of this package, and as plain as torch's own
    for number, expression in given.items():
        yield f"v{number} = {expression}"
    source = ""
    for instruction, operation in steps:
        if operation.source and operation.source != source:
            source = operation.source
            yield f"# {' '.join(source.split())}"
        yield from _one(instruction, given, constants)


def _one(instruction: Instruction, given: Mapping[int, str], constants: Mapping[int, str]) -> Iterator[str]:
    args = [_written(argument, constants) for argument in instruction.args]
    kwargs = {name: _written(argument, constants) for name, argument in instruction.kwargs.items()}
    # As in Program: what is written in place is a copy, and a value is never changed after it was given.
    for value, where in zip(instruction.written, instruction.writes, strict=True):
        holder: Any = kwargs if isinstance(where, str) else args
        yield f"w{value} = {holder[where]}.clone()"
        holder[where] = f"w{value}"
    call = f"{_name(instruction.function)}({', '.join([*args, *(f'{name}={text}' for name, text in kwargs.items())])})"
    wanted = [None if number is None or number in given else f"v{number}" for number in instruction.outputs]
    if len(wanted) == 1:
        yield f"{wanted[0]} = {call}" if wanted[0] else call
    else:
        yield f"several = [x for x in tree_leaves({call}) if isinstance(x, torch.Tensor)]"
        yield from (f"{name} = several[{place}]" for place, name in enumerate(wanted) if name)
    yield from (f"v{value} = w{value}" for value in instruction.written if value not in given)


def _name(function: Any) -> str:
    """How an operator is called: ``torch.ops.aten.conv2d.default``."""
    if inspect.isfunction(function) and function.__closure__ is None:
        return str(function.__name__)
    if not isinstance(function, torch._ops.OpOverload):
        raise ReplayError(f"{getattr(function, '__name__', function)} is no operator of torch")
    namespace, _, name = function._schema.name.partition("::")
    return f"torch.ops.{namespace}.{name}.{function._overloadname}"


def _written(argument: Any, constants: Mapping[int, str]) -> str:
    if isinstance(argument, Value):
        return f"v{argument.index}"
    if isinstance(argument, Constant):
        return constants[argument.index]
    if isinstance(argument, list | tuple):
        inside = ", ".join(_written(one, constants) for one in argument)
        return f"[{inside}]" if isinstance(argument, list) else f"({inside},)"
    if isinstance(argument, float) and not math.isfinite(argument):
        return f'float("{argument}")'
    if argument is None or isinstance(argument, bool | int | float | str):
        return repr(argument)
    if isinstance(argument, torch.dtype | torch.memory_format | torch.layout):
        return str(argument)
    if isinstance(argument, torch.device):
        return f"torch.device({str(argument)!r})"
    raise ReplayError(f"an argument of {type(argument).__name__} cannot be written down")
