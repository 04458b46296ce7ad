"""A program with changes as if it had been recorded so: chains of steps become operations of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from pytest_kerasdiff.candidate.instruction import Instruction
from pytest_kerasdiff.change import Edit, Here, Step, Taken
from pytest_kerasdiff.trace import Array, Constant, Operation, Value

Line = tuple[Instruction, Operation]


@dataclasses.dataclass
class Expansion:
    """Numbers new values and constants while a program is expanded.

    Attributes:
        values: Number of the next new value.
        constants: Constants that the changes bring, by number.
        next_constant: Number of the next one.
    """

    values: int
    next_constant: int
    constants: dict[int, Array] = dataclasses.field(default_factory=dict)

    def expand(self, instruction: Instruction, operation: Operation, edit: Edit) -> Iterator[Line]:
        """The instructions that one with an edit becomes.

        Raises:
            ValueError: A step names no operation of torch.
        """
        named = {**instruction.named(), **edit.arguments}
        for place, chain in edit.before.items():
            name, _, index = place.partition(".")
            here = named[name][int(index)] if index else named[name]
            for step in chain:
                line = self._line(step, {**named, "": here}, operation, (self._new(),))
                here = Value(line[1].outputs[0])
                yield line
            if index:
                several = list(named[name])
                several[int(index)] = here
                here = several
            named[name] = here
        outputs = [n for n in (*instruction.outputs, *instruction.written) if n is not None]
        first = outputs[0]
        if edit.after:
            outputs[0] = self._new()
        if edit.instead is not None:
            yield self._line(edit.instead, named, operation, tuple(outputs), same_name=True)
        elif not named:
            yield instruction, operation
        else:
            yield self._again(instruction, operation, named, {first: outputs[0]})
        here = Value(outputs[0])
        for i, step in enumerate(edit.after):
            number = first if i == len(edit.after) - 1 else self._new()
            yield self._line(step, {**named, "": here}, operation, (number,))
            here = Value(number)

    def _again(
        self, instruction: Instruction, operation: Operation, named: Mapping[str, Any], moved: Mapping[int, int]
    ) -> Line:
        """The instruction itself, with other arguments, and perhaps another number of its first output."""
        names = [a.name for a in instruction.function._schema.arguments]  # type: ignore[attr-defined]
        named = self._held(dict(named))
        args = tuple(named[name] for name in names[: len(instruction.args)])
        kwargs = {name: value for name, value in named.items() if name not in names[: len(instruction.args)]}
        made = dataclasses.replace(
            instruction,
            args=args,
            kwargs=kwargs,
            outputs=tuple(None if n is None else moved.get(n, n) for n in instruction.outputs),
            written=tuple(moved.get(n, n) for n in instruction.written),
        )
        return made, _described(operation, made, operation.op, {**operation.arguments, **named}, operation.name)

    def _line(
        self,
        step: Step,
        taken: Mapping[str, Any],
        operation: Operation,
        outputs: tuple[int, ...],
        same_name: bool = False,
    ) -> Line:
        def resolved(leaf: Any) -> Any:
            if isinstance(leaf, Here):
                return taken[""]
            return taken[leaf.name] if isinstance(leaf, Taken) else leaf

        arguments: dict[str, Any] = self._held(pytree.tree_map(resolved, dict(step.arguments)))
        function = overload(step.op, arguments)
        made = Instruction(function, (), arguments, (), outputs, ())
        op = step.op.partition(".")[0]
        defaults = {a.name: a.default_value for a in function._schema.arguments if a.has_default_value()}  # type: ignore[attr-defined]
        name = operation.name if same_name else f"{operation.name}.{op}"
        return made, _described(operation, made, op, {**defaults, **arguments}, name)

    def _held(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Arguments with arrays as constants of the program."""

        def hold(leaf: Any) -> Any:
            if not isinstance(leaf, np.ndarray):
                return leaf
            number = self.next_constant
            self.next_constant += 1
            self.constants[number] = leaf
            return Constant(number)

        held: dict[str, Any] = pytree.tree_map(hold, tree)
        return held

    def _new(self) -> int:
        self.values += 1
        return self.values - 1


def _described(
    operation: Operation, instruction: Instruction, op: str, arguments: Mapping[str, Any], name: str
) -> Operation:
    leaves = pytree.tree_leaves((instruction.args, dict(instruction.kwargs)))
    return dataclasses.replace(
        operation,
        name=name,
        op=op,
        inputs=tuple(leaf.index for leaf in leaves if isinstance(leaf, Value)),
        constants=tuple(leaf.index for leaf in leaves if isinstance(leaf, Constant)),
        outputs=tuple(instruction.gives()),
        arguments=dict(arguments),
    )


def overload(op: str, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """The overload of one of torch's operations that takes these arguments.

    Raises:
        ValueError: There is none.
    """
    name, _, wanted = op.partition(".")
    packet = getattr(torch.ops.aten, name, None)
    for own in packet.overloads() if packet is not None else ():
        found = getattr(packet, own)
        if (not wanted or own == wanted) and _fits(found._schema.arguments, arguments):
            return found  # type: ignore[no-any-return]
    raise ValueError(f"no operation {op!r} takes {', '.join(arguments)}")


def _fits(stated: Any, arguments: Mapping[str, Any]) -> bool:
    types = {a.name: str(a.type) for a in stated}
    required = {a.name for a in stated if not a.has_default_value()}
    if not arguments.keys() <= types.keys() or not required <= arguments.keys():
        return False
    return all(
        ("Tensor" in types[name]) == isinstance(value, Value | Constant | torch.Tensor)
        for name, value in arguments.items()
        if value is not None and not isinstance(value, list | tuple)
    )
