"""Toy traces: both sides of tiny models in numpy, to test the core in milliseconds and without a framework."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff.change import Change
from pytest_kerasdiff.trace import (
    Array,
    CandidateTrace,
    Constant,
    ConstantData,
    Layer,
    Operation,
    ReferenceTrace,
    ReplayError,
    Value,
)

Function = Callable[..., Any]


class ToyReference:
    """Builds a reference trace layer by layer, computing with numpy."""

    def __init__(self, **inputs: Array) -> None:
        self.layers: list[Layer] = []
        self.values: dict[int, Array] = {}
        self.weights: dict[tuple[str, str], Array] = {}
        for name, array in inputs.items():
            self._add(name, "InputLayer", {}, (), array, {})

    def _add(
        self,
        name: str,
        kind: str,
        config: Mapping[str, Any],
        inputs: Sequence[int],
        array: Array,
        weights: Mapping[str, Array],
    ) -> int:
        number = len(self.values)
        self.values[number] = np.asarray(array, np.float64)
        self.layers.append(Layer(name, kind, {"name": name, **config}, tuple(inputs), (number,), tuple(weights)))
        self.weights.update({(name, key): np.asarray(w, np.float32) for key, w in weights.items()})
        return number

    def layer(
        self, name: str, kind: str, *inputs: int, config: Mapping[str, Any] | None = None, out: Array, **weights: Array
    ) -> int:
        """Add a layer whose output is known."""
        return self._add(name, kind, config or {}, inputs, out, weights)

    def dense(self, name: str, source: int, kernel: Array, bias: Array, activation: str = "linear") -> int:
        """Add a Dense layer."""
        out = self.values[source] @ np.asarray(kernel, np.float32).astype(np.float64) + np.asarray(bias, np.float32)
        if activation == "relu":
            out = np.maximum(out, 0)
        return self._add(name, "Dense", {"activation": activation}, (source,), out, {"kernel": kernel, "bias": bias})

    def relu(self, name: str, source: int) -> int:
        """Add an Activation layer."""
        return self._add(name, "Activation", {"activation": "relu"}, (source,), np.maximum(self.values[source], 0), {})

    def trace(self, *outputs: int) -> ReferenceTrace:
        """The finished trace."""
        shapes = {number: array.shape for number, array in self.values.items()}
        return ReferenceTrace(tuple(self.layers), outputs, self.values, shapes, self.weights)


@dataclasses.dataclass
class _Step:
    function: Function
    arguments: tuple[Any, ...]
    output: int


class ToyCandidate:
    """A torch side in numpy: operations are recorded as they are added and can be run again."""

    def __init__(self, *inputs: Array) -> None:
        self._inputs = {i: np.asarray(a, np.float64) for i, a in enumerate(inputs)}
        self._shapes = {i: a.shape for i, a in self._inputs.items()}
        self._steps: list[_Step] = []
        self._operations: list[Operation] = []
        self._constants: dict[int, ConstantData] = {}
        self._outputs: tuple[int, ...] = ()
        self.runs = 0
        self.first_run: dict[int, Array] = {}

    def parameter(self, name: str, array: Array) -> Constant:
        """Add a parameter."""
        number = len(self._constants)
        self._constants[number] = ConstantData(np.asarray(array, np.float64), (name,))
        return Constant(number)

    def op(self, name: str, op: str, function: Function, *arguments: Value | Constant, **stated: Any) -> Value:
        """Add an operation; ``function`` takes the arrays of ``arguments``."""
        number = len(self._shapes)
        self._steps.append(_Step(function, arguments, number))
        values = tuple(a.index for a in arguments if isinstance(a, Value))
        constants = tuple(a.index for a in arguments if isinstance(a, Constant))
        named = {f"arg{i}": a for i, a in enumerate(arguments)} | stated
        self._operations.append(
            Operation(name, op, name.rpartition(".")[0], f"port.py:{number}", values, constants, (number,), named)
        )
        self._shapes[number] = self._run({})[number].shape
        return Value(number)

    def linear(self, name: str, source: Value, kernel: Array, bias: Array) -> Value:
        """Add a linear operation from Keras's kernel (in, out)."""
        weight = self.parameter(f"{name}.weight", np.asarray(kernel, np.float32).T)
        return self.op(name, "linear", lambda x, w, b: x @ w.T + b, source, weight,
                       self.parameter(f"{name}.bias", np.asarray(bias, np.float32)))  # fmt: skip

    def relu(self, name: str, source: Value) -> Value:
        """Add a ReLU."""
        return self.op(name, "relu", lambda x: np.maximum(x, 0), source)

    def changed(self, change: Change) -> ToyCandidate:
        """The same program with other constants; edits of operations are torch's."""
        result = copy.copy(self)
        result._constants = {
            n: dataclasses.replace(data, array=change.constants.get(n, data.array))
            for n, data in self._constants.items()
        }
        return result

    def script(self, output: int, given: Mapping[int, str]) -> tuple[str, dict[str, Array]]:
        """numpy has no torch operations to write down."""
        raise ReplayError("a toy")

    def in_precision(self, precision: str) -> ToyCandidate:
        """numpy computes in what it is given."""
        return self

    def returns(self, *outputs: Value) -> ToyCandidate:
        """State the model's outputs."""
        self._outputs = tuple(v.index for v in outputs)
        return self

    @property
    def trace(self) -> CandidateTrace:
        """The program as data."""
        parameters = {c.origins[0]: c.array for c in self._constants.values()}
        return CandidateTrace(
            tuple(self._operations), tuple(self._inputs), self._outputs, dict(self._shapes), self._constants, parameters
        )

    @property
    def recorded(self) -> Mapping[int, Array]:
        """The outputs of the first run; a test may overwrite ``first_run`` to stand for an unsteady port."""
        values = self._run({})
        return {number: self.first_run.get(number, values[number]) for number in self._outputs}

    def run(self, outputs: Iterable[int], given: Mapping[int, Array]) -> dict[int, Array]:
        """See ``Candidate.run``."""
        self.runs += 1
        try:
            values = self._run(given)
        except ValueError as error:
            raise ReplayError(str(error)) from None
        return {number: values[number] for number in outputs}

    def stream(self, outputs: Iterable[int], visit: Callable[[int, Array], None]) -> None:
        """See ``Candidate.stream``."""
        values = self._run({})
        for number in sorted(outputs):
            visit(number, values[number])

    def _run(self, given: Mapping[int, Array]) -> dict[int, Array]:
        values = {**self._inputs, **given}
        needed = set(values)
        for step in self._steps:
            if step.output in needed:
                continue
            arrays = [
                values[a.index] if isinstance(a, Value) else self._constants[a.index].array for a in step.arguments
            ]
            values[step.output] = np.asarray(step.function(*arrays))
        return values
