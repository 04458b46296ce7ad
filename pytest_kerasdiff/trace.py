"""Traces: what each side computed, in order, as plain data.

A trace knows no framework. Values are numbered; ``inputs`` and ``outputs`` of a step are numbers of values. The
reference trace holds the values of every Keras layer; the candidate trace holds the torch program, whose values are
computed on demand (see ``Candidate``).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.change import Change
from pytest_kerasdiff.layer import Layer as Layer

Array = npt.NDArray[np.generic]

_FAR = np.geomspace(0.01, 300, 24)
CURVE_AT: npt.NDArray[np.float64] = np.unique(np.concatenate([-_FAR, [0.0], _FAR, np.linspace(-8.013, 7.987, 65)]))
"""Values at which activation functions are compared: dense where they bend, and as far as clippings may be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Glance:
    """An array in a few numbers.

    Attributes:
        kind: Kind of its dtype, as numpy names it: "f", "i", "b", …
        size: Number of elements.
        least: Smallest element, NaN left out.
        greatest: Largest element, NaN left out.
        has_nan: Whether any element is NaN.
        is_constant: Whether all elements are equal.
        border_has_more: Whether anything but 0 is at the ends of the axes between the first and the last.
        border_least: Smallest element there, NaN left out.
    """

    kind: str
    size: int
    least: float
    greatest: float
    has_nan: bool = False
    is_constant: bool = False
    border_has_more: bool = False
    border_least: float = math.inf

    @classmethod
    def of(cls, array: Array) -> Glance:
        """Look at an array; of complex numbers at their absolute values."""
        if not array.size:
            return cls(array.dtype.kind, 0, math.inf, -math.inf)
        given, array = array, np.abs(array) if array.dtype.kind == "c" else array
        least, greatest = float(array.min()), float(array.max())
        has_nan = math.isnan(least)
        if has_nan:
            least, greatest = float(np.fmin.reduce(array, axis=None)), float(np.fmax.reduce(array, axis=None))
        ends = [array.take(at, axis) for axis in range(1, array.ndim - 1) for at in (0, -1)]
        return cls(
            given.dtype.kind, array.size, least, greatest, has_nan,
            not has_nan and least == greatest and (given is array or bool(np.all(given == given.flat[0]))),
            any(bool(end.any()) for end in ends),
            min((float(np.fmin.reduce(end, axis=None)) for end in ends if end.size), default=math.inf),
        )  # fmt: skip

    @property
    def is_finite(self) -> bool:
        """Whether every element is finite."""
        return not self.has_nan and math.isfinite(self.least) and math.isfinite(self.greatest)

    @property
    def has_more_than_zeros(self) -> bool:
        """Whether any element is not 0."""
        return self.size > 0 and (self.has_nan or self.least != 0 or self.greatest != 0)

    @property
    def largest(self) -> float:
        """Largest absolute value; 0 where there is no element."""
        return max(0.0, -self.least, self.greatest)


@dataclasses.dataclass(frozen=True, slots=True)
class Sketch:
    """What a compact reference keeps of a value; see ``compact.py``.

    Attributes:
        shape: Of the value.
        glance: Of the value.
        projections: (projections, channels): sums with random signs.
        samples: Some of its elements.
    """

    shape: tuple[int, ...]
    glance: Glance
    projections: npt.NDArray[np.float64]
    samples: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ReferenceTrace:
    """What Keras computed.

    Attributes:
        layers: Every call of every layer in execution order, InputLayers first.
        outputs: The model's outputs.
        values: Array of each value, in Keras's layout and the run's precision; loaded when asked for.
        shapes: Shape of each value.
        masks: Values that are boolean: which steps a layer is to leave out.
        step_masks: Mask of each value that Keras hands on with one, (batch, steps); false where a step is padding.
        weights: float32 array of each weight by (layer, weight).
        environment: Versions and platform that made the trace.
        notes: What a reader of the report must know, such as a changed dtype policy.
        curves: What the activation function of a layer makes of ``CURVE_AT``, by the layer's report name.
        sketches: What there is of the values that a compact reference does not hold; empty in every other one.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    values: Mapping[int, Array]
    shapes: Mapping[int, tuple[int, ...]]
    weights: Mapping[tuple[str, str], Array]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    masks: frozenset[int] = frozenset()
    step_masks: Mapping[int, Array] = dataclasses.field(default_factory=dict)
    curves: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    sketches: Mapping[int, Sketch] = dataclasses.field(default_factory=dict)

    @property
    def inputs(self) -> tuple[int, ...]:
        """Values of the InputLayers."""
        return tuple(v for layer in self.layers if layer.class_name == "InputLayer" for v in layer.outputs)

    @functools.cached_property
    def giver(self) -> Mapping[int, int]:
        """Value → position of the layer that gives it."""
        return {value: position for position, layer in enumerate(self.layers) for value in layer.outputs}

    @functools.cached_property
    def takers(self) -> Mapping[int, Sequence[int]]:
        """Value → positions of the layers that take it, in order; values that none takes are not in it."""
        found: dict[int, list[int]] = {}
        for position, layer in enumerate(self.layers):
            for value in dict.fromkeys(layer.inputs):
                found.setdefault(value, []).append(position)
        return found

    @functools.cached_property
    def _glances(self) -> dict[int, Glance]:
        return {value: kept.glance for value, kept in self.sketches.items()}

    def glance(self, value: int, array: Array | None = None) -> Glance:
        """What is asked of a value more than once, kept so that its array is read once.

        Args:
            value: Its number.
            array: Its array, where it has just been read.
        """
        if value not in self._glances:
            self._glances[value] = Glance.of(self.values[value] if array is None else array)
        return self._glances[value]

    def weights_of(self, layer: Layer) -> dict[str, Array]:
        """The weights of a layer by name, in Keras's order."""
        return {name: self.weights[layer.weight_owner, name] for name in layer.weights}

    def weight_shapes(self, layer: Layer) -> list[tuple[int, ...]]:
        """Shape of each weight of a layer, in Keras's order."""
        return [array.shape for array in self.weights_of(layer).values()]


@dataclasses.dataclass(frozen=True, slots=True)
class FurtherRuns:
    """What Keras gave when it was run otherwise than the trace says; nobody waits for it to compare the layers.

    Attributes:
        deployed: The model's outputs in float32, as it is deployed.
        others: The model's outputs for ``probes.other_batches``; empty where it takes each sample apart, or none.
        preprocessed: What the user's Keras-side preprocessing makes of the raw samples, (samples, …); None where the
            manifest names none.
        opinion: The model's outputs as ONNX in float32; empty where nobody asks for it.
        opinion_error: Why there are none, where somebody does.
        run: Name of the run that made all this, and the trace.
        timing: Seconds of each phase of making it.
        memory: Peak memory of the process by the end of each phase, in bytes.
    """

    deployed: Sequence[Array] = ()
    others: Sequence[Sequence[Array]] = ()
    preprocessed: npt.NDArray[np.float64] | None = None
    opinion: Sequence[Array] = ()
    opinion_error: str = ""
    run: str = ""
    timing: Mapping[str, float] = dataclasses.field(default_factory=dict)
    memory: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """An argument that is an earlier value."""

    index: int


@dataclasses.dataclass(frozen=True, slots=True)
class Constant:
    """An argument that does not depend on the model's input: a parameter, a buffer, or computed from such."""

    index: int


@dataclasses.dataclass(frozen=True, slots=True)
class ConstantData:
    """A constant of the torch program.

    Attributes:
        array: Its elements.
        origins: Names of the parameters and buffers it was computed from; its own name where it is one.
    """

    array: Array
    origins: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One torch operation that depends on the model's input.

    Attributes:
        name: Unique name for reports and the manifest: the module's path where the module is this one operation
            (``b2.conv1``), else path and operation (``b2.add``), with ``@1`` from the second on.
        op: Name of the operation: ``conv2d``.
        module: Path of the innermost module that ran it.
        source: ``file:line`` of the user's code that ran it.
        inputs: Values it took, in the order of its arguments.
        constants: Constants it took, in the order of its arguments.
        outputs: Values it gave.
        arguments: Every argument by its schema name, tensors as ``Value`` or ``Constant``.
    """

    name: str
    op: str
    module: str
    source: str
    inputs: tuple[int, ...]
    constants: tuple[int, ...]
    outputs: tuple[int, ...]
    arguments: Mapping[str, Any]

    @property
    def place(self) -> str:
        """The user's line to follow the words about it, `` [file:line]``; empty where it is not known."""
        return f" [{self.source}]" if self.source else ""


@dataclasses.dataclass(frozen=True)
class CandidateTrace:
    """The torch program.

    Attributes:
        operations: In execution order.
        inputs: The model's inputs.
        outputs: The model's outputs, flattened; None for an output that does not depend on the input.
        shapes: Shape of every value.
        constants: Constants by number.
        parameters: Every parameter and buffer of the module by name.
        environment: Versions and platform.
        notes: What a reader of the report must know.
    """

    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    shapes: Mapping[int, tuple[int, ...]]
    constants: Mapping[int, ConstantData]
    parameters: Mapping[str, Array]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Candidate(Protocol):
    """The torch side, as everything above it sees it."""

    @property
    def trace(self) -> CandidateTrace:
        """The recorded program."""

    @property
    def recorded(self) -> Mapping[int, Array]:
        """The model's outputs as the user's code itself gave them while it was recorded."""

    def run(self, outputs: Iterable[int], given: Mapping[int, Array]) -> dict[int, Array]:
        """Run the part of the program that leads to ``outputs``, with some values replaced.

        Args:
            outputs: Values wanted.
            given: Values that are not computed but taken as they are here.

        Raises:
            ReplayError: An operation raised, for example because a shape does not fit.
        """

    def stream(self, outputs: Iterable[int], visit: Callable[[int, Array], None]) -> None:
        """Run the whole program on its recorded inputs and hand over each wanted value as soon as it is there."""

    def changed(self, change: Change) -> Candidate:
        """The same program with a change; shapes and recorded outputs stay those of the unchanged one."""

    def script(self, output: int, given: Mapping[int, str]) -> tuple[str, dict[str, Array]]:
        """The part of the program that leads to a value, as Python that needs torch alone.

        Args:
            output: The value, ``v<number>`` in the script.
            given: Values that are not computed → the expression that has each.

        Returns:
            The lines, which look constants up in a dict ``t`` of tensors, and these constants by name.

        Raises:
            ReplayError: An operation cannot be written down.
        """

    def in_precision(self, precision: str) -> Candidate:
        """The same program in other arithmetic: "float64" or "float32"."""


class Recorded(Candidate, Protocol):
    """The torch side just recorded."""

    def joined(self, sequences: Iterable[Sequence[int]]) -> Recorded:
        """The same program with sequences that it has step by step as values too.

        Args:
            sequences: The steps of each, which become axis 1 of a value of its own; what takes a step and is no part
                of the computation of another one takes it from there.
        """

    def seeded(self, change: Change) -> Recorded:
        """A changed program as if it had been recorded so: with its own shapes and outputs.

        Raises:
            ReplayError: It does not run.
        """


class ReplayError(Exception):
    """Operations run again on other values raised; the text is torch's reason."""
