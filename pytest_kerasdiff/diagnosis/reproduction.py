"""What a port computes, reproduced: Keras's equations with one thing, or two, done otherwise.

Where a layer is made of many torch operations, no edit of one of them undoes a fault. But where Keras's equations with
one thing done otherwise give what the port gives, element by element, on independent samples, that thing is the fault.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.change import Change, Edit, Step, combined
from pytest_kerasdiff.diagnosis import weights
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.trace import Array, ReplayError, Value

Floats = npt.NDArray[np.float64]
Equations = Callable[..., Sequence[Floats]]
"""Keras's inputs of a layer → all that it may give."""
_SAME = 1e-7
"""Difference, relative to the largest element, under which two computations in float64 are the same."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Otherwise:
    """One thing that a port may do otherwise than Keras.

    Attributes:
        id: Id of the fault in the catalogue.
        text: What Keras has and what the port has.
        patch: What repairs the port.
        made: Makes of equations those that do it.
        alone: It is tried alone only: there are many of its kind.
    """

    id: str
    text: str
    patch: str
    made: Callable[[Equations], Equations | None]
    alone: bool = False


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Arranged:
    """Equations of torch values: each brought into Keras's layout first, the result into the port's.

    Attributes:
        equations: Of arrays in Keras's layout.
        index: Which of its outputs is wanted.
        taken: For each input which element of the torch value stands where.
        given: For the output which element of Keras's stands where.
    """

    equations: Equations
    index: int
    taken: tuple[npt.NDArray[np.int64], ...]
    given: npt.NDArray[np.int64]

    def __call__(self, *arrays: Array) -> Floats:
        """The output in the port's layout."""
        keras = [np.asarray(a).ravel()[order] for a, order in zip(arrays, self.taken, strict=True)]
        return np.asarray(self.equations(*keras)[self.index]).ravel()[self.given]


class Port:
    """What the port's operations of a layer give on Keras's inputs, and which of Keras's outputs that should be."""

    def __init__(self, case: Case, equations: Equations, taken: Sequence[int], change: Change | None = None) -> None:
        """Run the layer.

        Args:
            case: The layer.
            equations: Keras's own.
            taken: The Keras values that they take.
            change: What is known to be wrong beside, undone.
        """
        self.case, self.equations, self.taken = case, equations, taken
        self.arrays = [_fed(case, v) for v in taken]
        self.outputs: dict[int, int] = {}
        """Keras value → which of the equations' outputs it is."""
        self.given: dict[int, Floats] = {}
        """Keras value → what the port gives for it."""
        self._change = change
        made = self.run(equations)
        if made is None:
            return
        behind = 0
        for value in case.layer.outputs:
            keras = np.asarray(case.reference.values[value], np.float64)
            at = next((i for i in range(behind, len(made)) if self._alike(made[i], keras, value)), None)
            behind = behind if at is None else at + 1
            port = None if at is None else self._port(value)
            if at is None or port is None:
                continue
            self.outputs[value], self.given[value] = at, port

    @property
    def is_known(self) -> bool:
        """Whether the equations give what Keras gave, and the port's layer runs."""
        return bool(self.outputs)

    def run(self, equations: Equations) -> Sequence[Floats] | None:
        """What equations give on Keras's inputs; None where they do not fit."""
        try:
            with np.errstate(all="ignore"):
                return equations(*self.arrays)
        except (ValueError, IndexError, TypeError):
            return None

    def reproduces(self, equations: Equations) -> bool:
        """Whether equations give what the port gives."""
        made = self.run(equations)
        return made is not None and all(
            at < len(made) and self._alike(made[at], self.given[value], value) for value, at in self.outputs.items()
        )

    def _alike(self, made: Array, other: Floats, value: int) -> bool:
        array: Floats = np.asarray(made, np.float64)
        if array.shape != other.shape:
            return False
        read = self.case.judge.read_of(value)
        if read is not None and read.shape == array.shape[:2]:
            array, other = array[read], other[read]
        finite = np.isfinite(array)
        if not np.array_equal(finite, np.isfinite(other)) or not finite.any():
            return False
        array, other = array[finite], other[finite]
        return bool(np.abs(array - other).max(initial=0) <= _SAME * max(1e-30, float(np.abs(other).max(initial=0))))

    def _port(self, value: int) -> Floats | None:
        judge, torch_value = self.case.judge, self.case.alignment.torch_value(value)
        if torch_value is None:
            return None
        candidate = judge.candidate.changed(self._change) if self._change else judge.candidate
        try:
            array = candidate.run([torch_value], judge.feed(self.case.position, torch_value))[torch_value]
        except (AxesError, ReplayError, ValueError, KeyError, IndexError, TypeError):
            return None
        try:
            return np.asarray(judge.layouts.to_keras(array, torch_value, value), np.float64)
        except (AxesError, ValueError):
            return np.asarray(array, np.float64)

    def way(self, equations: Equations) -> Way | None:
        """Equations in the place of what the port computes; None where its values do not stand for Keras's."""
        judge, edits = self.case.judge, dict[int, Edit]()
        sources = [self.case.alignment.torch_value(v) for v in self.taken]
        shapes = self.case.trace.shapes
        for value, at in self.outputs.items():
            torch_value = self.case.alignment.torch_value(value)
            place = None if torch_value is None else self.case.alignment.torch.producer.get(torch_value)
            if torch_value is None or place is None or any(s is None for s in sources):
                return None
            operation = self.case.trace.operations[place]
            own = [s for s in sources if s is not None]
            taken = tuple(_order(judge.layouts.to_keras, shapes[s], s, v) for s, v in zip(own, self.taken, strict=True))
            given = _order(judge.layouts.to_torch, self.case.reference.shapes[value], value, torch_value)
            step = Step("keras.equations", {"of": _Arranged(equations, at, taken, given), "taken": [*map(Value, own)]})
            number = operation.outputs.index(torch_value)
            edit = Edit(after=(step,)) if number == 0 else Edit(further={number: (step,)})
            more = combined(Change(edits=edits), Change(edits={place: edit}))
            if more is None:
                return None
            edits = dict(more.edits)
        return Way(Change(edits=edits)) if edits else None


def _fed(case: Case, value: int) -> Floats:
    """What a layer is run alone on: as the judge does, nothing where a step is read by no layer."""
    array, read = np.asarray(case.reference.values[value], np.float64), case.judge.read_of(value)
    return array if read is None else np.where(read.reshape(*read.shape, *[1] * (array.ndim - 2)), array, 0.0)


def _order(
    moved: Callable[[Array, int, int], Array], shape: tuple[int, ...], first: int, second: int
) -> npt.NDArray[np.int64]:
    """Where each element goes when an array is brought into another layout."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    try:
        return np.asarray(moved(numbers, first, second), np.int64)
    except (AxesError, ValueError):
        return numbers


def of_weights(case: Case) -> tuple[Change, list[Suspicion]]:
    """What is wrong with the layer's weights, undone, and the suspicions of it, as sure beside what else is found."""
    undone, beside = Change(), []
    for suspicion in weights.suspect(case) if weights.concerns(case) else ():
        if suspicion.ways and (both := combined(undone, suspicion.ways[0].change)) is not None:
            undone = both
            beside.append(dataclasses.replace(suspicion, sure=True))
    return undone, beside


def explained(port: Port, several: Sequence[Otherwise], seconds: float) -> Iterator[Suspicion]:
    """The one thing, or the two, with which Keras's equations give what the port gives.

    Args:
        port: What the port gives.
        several: What it may do otherwise, the likeliest first.
        seconds: How long it may take.
    """
    if not port.is_known or port.reproduces(port.equations):
        return
    until = time.process_time() + seconds
    for number in (1, 2):
        for chosen in itertools.combinations([one for one in several if number == 1 or not one.alone], number):
            if time.process_time() > until:
                return
            made: Equations | None = port.equations
            for one in chosen:
                made = None if made is None else one.made(made)
            if made is not None and port.reproduces(made):
                way = port.way(port.equations)
                for one in chosen:
                    ways = [way] if way is not None else []
                    yield Suspicion(one.id, one.text, one.patch, ways, sure=number > 1)
                return


def fields(several: Mapping[str, object]) -> Callable[[Equations], Equations | None]:
    """Equations whose fields are replaced; None where they have these values already."""

    def made(equations: Equations) -> Equations | None:
        now = {name: getattr(equations, name) for name in several}
        if all(now[name] == several[name] for name in several):
            return None
        changed: Equations = dataclasses.replace(equations, **several)  # type: ignore[type-var]
        return changed

    return made
