"""The recorded torch program, and running it again: whole, or a part of it on other values."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from pytest_kerasdiff.candidate import edited, expanded, script
from pytest_kerasdiff.candidate.instruction import Instruction, unwritten
from pytest_kerasdiff.change import Change
from pytest_kerasdiff.trace import Array, CandidateTrace, Constant, ConstantData, Operation, ReplayError, Value

_RAISED = (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError, KeyError)
"""What an operation raises that does not fit the values it is given."""


class Program:
    """A recorded model that can be run again. Implements ``pytest_kerasdiff.trace.Candidate``."""

    def __init__(
        self,
        trace: CandidateTrace,
        instructions: Sequence[Instruction],
        constants: Mapping[int, torch.Tensor],
        inputs: Mapping[int, torch.Tensor],
        outputs: Mapping[int, torch.Tensor],
        precision: torch.dtype,
    ) -> None:
        """Keep the program, its constants, the inputs and outputs of the recorded run, and the dtype it computes in."""
        self._trace, self._instructions, self._constants = trace, instructions, constants
        self._outputs = {number: array_of(tensor) for number, tensor in outputs.items()}
        self._inputs, self._precision = inputs, precision
        self._producer = {value: i for i, ins in enumerate(instructions) for value in ins.gives()}

    @property
    def trace(self) -> CandidateTrace:
        """The recorded program as data."""
        return self._trace

    @property
    def recorded(self) -> Mapping[int, Array]:
        """The model's outputs as the user's code itself gave them."""
        return self._outputs

    def run(self, outputs: Iterable[int], given: Mapping[int, Array]) -> dict[int, Array]:
        """Run what leads to ``outputs``, with some values replaced; see ``Candidate.run``."""
        wanted = list(outputs)
        values = {number: self._tensor(array) for number, array in given.items()}
        steps = self._needed(wanted, set(values))
        values.update({n: t for n, t in self._inputs.items() if n not in values})
        found: dict[int, Array] = {n: array_of(values[n]) for n in wanted if n in values}
        try:
            self._execute(steps, values, lambda n, t: found.setdefault(n, array_of(t)), set(wanted))
        except _RAISED as error:
            raise ReplayError(_reason(error)) from None
        return found

    def joined(self, sequences: Iterable[Sequence[int]]) -> Program:
        """The same program with sequences that it has step by step as values too; see ``Candidate.joined``."""
        result = self
        for steps in sequences:
            result = result._with_sequence(steps)
        return result

    def _with_sequence(self, steps: Sequence[int]) -> Program:
        new = max(self._trace.shapes) + 1
        apart = range(new + 1, new + 1 + len(steps))
        taken = {step: Value(n) for step, n in zip(steps, apart, strict=True)}

        def renamed(tree: Any) -> Any:
            return pytree.tree_map(lambda leaf: taken.get(leaf.index, leaf) if isinstance(leaf, Value) else leaf, tree)

        before = set(self._needed(steps, set()))
        program = [(self._instructions[i], self._trace.operations[i]) for i in sorted(before)]
        values, last = [Value(step) for step in steps], program[-1][1]
        joining = (
            ("stack", torch.ops.aten.stack.default, {"tensors": values, "dim": 1}, tuple(steps), (new,)),
            ("unbind", torch.ops.aten.unbind.int, {"self": Value(new), "dim": 1}, (new,), tuple(apart)),
        )
        for op, function, arguments, inputs, outputs in joining:
            name = f"{last.name}.{op}"
            operation = Operation(name, op, last.module, last.source, inputs, (), outputs, arguments)
            program.append((Instruction(function, tuple(arguments.values()), {}, (), outputs, ()), operation))
        for i, (instruction, operation) in enumerate(zip(self._instructions, self._trace.operations, strict=True)):
            if i not in before:
                instruction = dataclasses.replace(
                    instruction, args=renamed(instruction.args), kwargs=renamed(dict(instruction.kwargs))
                )
                inputs = tuple(renamed(Value(n)).index for n in operation.inputs)
                arguments = renamed(dict(operation.arguments))
                program.append((instruction, dataclasses.replace(operation, inputs=inputs, arguments=arguments)))
        shape = self._trace.shapes[steps[0]]
        shapes = {**self._trace.shapes, new: (shape[0], len(steps), *shape[1:]), **dict.fromkeys(apart, shape)}
        result = copy.copy(self)
        result._trace = dataclasses.replace(
            self._trace, operations=tuple(operation for _, operation in program), shapes=shapes
        )
        result._instructions = [instruction for instruction, _ in program]
        result._producer = {value: i for i, ins in enumerate(result._instructions) for value in ins.gives()}
        return result

    def stream(self, outputs: Iterable[int], visit: Callable[[int, Array], None]) -> None:
        """Run the whole program on its recorded inputs; see ``Candidate.stream``."""
        wanted = set(outputs)
        values = dict(self._inputs)
        for number in sorted(wanted & set(values)):
            visit(number, array_of(values[number]))
        # Who visits keeps nothing, and the next step runs after: no copy is needed.
        self._execute(range(len(self._instructions)), values, lambda n, t: visit(n, _shared(t)), wanted)

    def script(self, output: int, given: Mapping[int, str]) -> tuple[str, dict[str, Array]]:
        """The part of the program that leads to a value, as Python; see ``Candidate.script``."""
        steps = [(self._instructions[i], self._trace.operations[i]) for i in self._needed([output], set(given))]
        numbers = dict.fromkeys(
            leaf.index
            for instruction, _ in steps
            for leaf in pytree.tree_leaves((instruction.args, dict(instruction.kwargs)))
            if isinstance(leaf, Constant)
        )
        names: dict[int, str] = {}
        for number in numbers:
            origins = self._trace.constants[number].origins if number in self._trace.constants else ()
            name = f"port.{origins[0] if len(origins) == 1 else f'constant_{number}'}"
            names[number] = name if name not in names.values() else f"{name}_{number}"
        made = "\n".join(script.lines(steps, given, {number: f"t[{name!r}]" for number, name in names.items()}))
        return made, {name: array_of(self._constants[number]) for number, name in names.items()}

    def changed(self, change: Change) -> Program:
        """The same program with other constants and operations; see ``Candidate.changed``."""
        result = copy.copy(self)
        data, parameters = dict(self._trace.constants), dict(self._trace.parameters)
        result._constants = {**self._constants, **{n: self._tensor(a) for n, a in change.constants.items()}}
        for number, array in change.constants.items():
            origins = data[number].origins
            if len(origins) == 1 and np.array_equal(parameters.get(origins[0], np.nan), data[number].array):
                parameters[origins[0]] = array
            data[number] = ConstantData(array, origins)
        instructions, operations = list(self._instructions), list(self._trace.operations)
        for position, edit in change.edits.items():
            instructions[position] = edited.instruction(instructions[position], edit, self._tensor)
            operations[position] = edited.operation(operations[position], edit)
        result._instructions = instructions
        result._trace = dataclasses.replace(
            self._trace, operations=tuple(operations), constants=data, parameters=parameters
        )
        return result

    def in_precision(self, precision: str) -> Program:
        """The same program in other arithmetic; see ``Candidate.in_precision``."""
        result = copy.copy(self)
        result._precision = torch.float64 if precision == "float64" else torch.float32

        def converted(tensors: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
            return {n: t.to(result._precision) if t.is_floating_point() else t for n, t in tensors.items()}

        result._constants, result._inputs = converted(self._constants), converted(self._inputs)
        return result

    def seeded(self, change: Change) -> Program:
        """A changed program as if it had been recorded so; see ``Recorded.seeded``."""
        result = self.changed(Change(change.constants))
        expansion = expanded.Expansion(max(self._trace.shapes) + 1, max(self._constants, default=-1) + 1)
        program: list[expanded.Line] = []
        for i, line in enumerate(zip(self._instructions, self._trace.operations, strict=True)):
            try:
                program += expansion.expand(*line, change.edits[i]) if i in change.edits else [line]
            except (ValueError, KeyError) as error:
                raise ReplayError(_reason(error)) from None
        if not all(operation.inputs for _, operation in program):
            raise ReplayError("an operation would no longer depend on the model's input")
        result._instructions = [instruction for instruction, _ in program]
        result._producer = {value: i for i, ins in enumerate(result._instructions) for value in ins.gives()}
        result._constants = {**result._constants, **{n: self._tensor(a) for n, a in expansion.constants.items()}}
        data = {n: ConstantData(a, ()) for n, a in expansion.constants.items()}
        result._trace = dataclasses.replace(
            result._trace,
            operations=tuple(operation for _, operation in program),
            constants={**result._trace.constants, **data},
        )
        shapes = {number: tuple(tensor.shape) for number, tensor in self._inputs.items()}
        outputs: dict[int, Array] = {}

        def visit(number: int, tensor: torch.Tensor) -> None:
            shapes[number] = tuple(tensor.shape)
            if number in self._outputs:
                outputs[number] = array_of(tensor)

        try:
            result._execute(range(len(result._instructions)), dict(self._inputs), visit, set(result._producer))
        except _RAISED as error:
            raise ReplayError(_reason(error)) from None
        result._outputs = {**self._outputs, **outputs}
        result._trace = dataclasses.replace(result._trace, shapes={**self._trace.shapes, **shapes})
        return result

    def _tensor(self, array: Array) -> torch.Tensor:
        reference = next(iter(self._inputs.values()))
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.to(reference.device, self._precision if tensor.is_floating_point() else tensor.dtype)

    def _needed(self, wanted: Iterable[int], given: set[int]) -> list[int]:
        steps: set[int] = set()
        pending = [n for n in wanted if n not in given]
        while pending:
            step = self._producer.get(pending.pop())
            if step is None or step in steps:
                continue
            steps.add(step)
            pending += [n for n in self._instructions[step].reads() if n not in given]
        return sorted(steps)

    def _execute(
        self,
        steps: Sequence[int],
        values: dict[int, torch.Tensor],
        visit: Callable[[int, torch.Tensor], Any],
        wanted: set[int],
    ) -> None:
        last: dict[int, int] = {}
        for step in steps:
            for number in self._instructions[step].reads():
                last[number] = step
        given = set(values)
        with torch.inference_mode():
            for step in steps:
                instruction = self._instructions[step]
                self._one(instruction, values, given)
                for number in instruction.gives():
                    if number in wanted and number not in given:
                        visit(number, values[number])
                for number in {*instruction.reads(), *instruction.gives()}:
                    if last.get(number, -1) <= step and number not in given:
                        values.pop(number, None)

    def _one(self, instruction: Instruction, values: dict[int, torch.Tensor], given: set[int]) -> None:
        def resolve(leaf: Any) -> Any:
            if isinstance(leaf, Value):
                return values[leaf.index]
            return self._constants[leaf.index] if isinstance(leaf, Constant) else leaf

        args, kwargs = pytree.tree_map(resolve, (list(instruction.args), dict(instruction.kwargs)))
        # What the operation writes in place is a copy: values are never changed after they were given.
        for where in instruction.writes:
            holder: Any = kwargs if isinstance(where, str) else args
            holder[where] = holder[where].clone()
        unwritten(instruction.function, args)
        result = [t for t in pytree.tree_leaves(instruction.function(*args, **kwargs)) if isinstance(t, torch.Tensor)]
        for number, tensor in zip(instruction.outputs, result, strict=True):
            if number is not None and number not in given:
                values[number] = tensor
        for number, where in zip(instruction.written, instruction.writes, strict=True):
            if number not in given:
                values[number] = kwargs[where] if isinstance(where, str) else args[where]


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def array_of(tensor: torch.Tensor) -> Array:
    """A tensor as an array of its own; bfloat16 and float16 become float32."""
    # A copy: the tensor's memory may be a view that a later step of the user's program would share.
    return _shared(tensor).copy()


def _shared(tensor: torch.Tensor) -> Array:
    """A tensor as an array in the same memory where that can be; bfloat16 and float16 become float32."""
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    array: Array = tensor.cpu().numpy()
    return array


def overlay(
    target: torch.Tensor,
    written: torch.Tensor,
    storage_size: int,
    target_geometry: tuple[Any, ...],
    written_geometry: tuple[Any, ...],
) -> torch.Tensor:
    """The value of a tensor after another view of its memory was written.

    Args:
        target: Value of the tensor before.
        written: Value of the other view after the write.
        storage_size: Number of elements of the memory both share.
        target_geometry: (size, stride, offset) of the tensor in that memory.
        written_geometry: (size, stride, offset) of the written view.
    """
    memory = torch.zeros(storage_size, dtype=target.dtype, device=target.device)
    memory.as_strided(*target_geometry).copy_(target)
    memory.as_strided(*written_geometry).copy_(written)
    return memory.as_strided(*target_geometry).clone()
