"""Trials: a layer's torch operations run again with one change, on what Keras gave its layer."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pytest_kerasdiff import curves
from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.change import Change, Edit, combined
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import ReplayError, Value
from pytest_kerasdiff.verdict import Error

BETTER = 100.0
"""By how much an error must fall: what is left of it is then rounding, not a second fault."""
_LARGER = -7.0
"""What inputs are multiplied with to tell two repairs apart: clippings and slopes show."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """A layer's error under a change.

    Attributes:
        error: Over all probe inputs.
        samples: Of each probe input alone; they are drawn independently of each other.
    """

    error: Error
    samples: tuple[Error, ...]

    @property
    def size(self) -> float:
        """The error as one number; infinite where there is nothing to subtract."""
        return float("inf") if self.error.reason else self.error.max_abs

    def repairs(self, before: Measured) -> bool:
        """Whether the error has fallen within its limit and by ``BETTER``, on every sample that showed it.

        A second sample must have shown it; of a batch of one it cannot be said.
        """
        return self._falls(before) and len(self.samples) > 1

    def _falls(self, before: Measured) -> bool:
        if not self.error.passes or self.size * BETTER > before.size:
            return False
        return all(
            after.passes and (earlier.passes or after.max_abs * BETTER <= _size(earlier))
            for after, earlier in zip(self.samples, before.samples, strict=False)
        )

    def falls_on_one(self, before: Measured) -> bool:
        """Whether a batch of one sample shows the repair."""
        return len(self.samples) < 2 and self._falls(before)


def _size(error: Error) -> float:
    return float("inf") if error.reason else error.max_abs


class Budget:
    """How long a diagnosis may take. By the clock of the process a busy machine finds what an idle one does."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.process_time) -> None:
        """Begin now."""
        self._clock, self._end = clock, clock() + seconds

    @property
    def is_spent(self) -> bool:
        """Whether the time is over."""
        return self._clock() > self._end


def measure(judge: Judge, position: int, way: Way) -> Measured:
    """Error of a layer under a change, alone."""
    at = position if way.measured is None else way.measured
    layer = judge.layers[at]
    worst: Measured | None = None
    candidate = judge.candidate.changed(way.change) if way.change else judge.candidate
    for keras_value in layer.outputs:
        torch_value = judge.alignment.torch_value(keras_value)
        if torch_value is None:
            continue
        try:
            given = judge.feed(at, torch_value, way.ignoring, read_by(way.change))
            array = candidate.run([torch_value], given)[torch_value]
        except (AxesError, ReplayError, ValueError, KeyError, IndexError, TypeError) as error:
            return Measured(Error(float("inf"), 0.0, 0.0, reason=f"cannot run: {error}"), ())
        errors = judge.errors_of(keras_value, torch_value, array)
        found = Measured(errors[0], tuple(errors[1:]) or (errors[0],))
        worst = found if worst is None or found.size > worst.size else worst
    return worst or Measured(Error(float("inf"), 0.0, 0.0, reason="no torch value stands for this layer"), ())


def measure_table(case: Case, change: Change) -> Measured:
    """How far the port's activation function is from Keras's, where no probe input comes too; every second value."""
    found = curves.both(case.reference, case.judge.candidate.changed(change), case.alignment, case.position)
    if found is None:
        return Measured(Error(float("inf"), 0.0, 0.0, reason="the activation function cannot be run alone"), ())
    errors = curves.distance(*found)
    several = (errors, errors[::2], errors[1::2])
    return Measured(*_of_table(Error(float(e.max(initial=0.0)), 1.0, curves.SAME) for e in several))


def _of_table(errors: Iterable[Error]) -> tuple[Error, tuple[Error, ...]]:
    first, *rest = errors
    return first, tuple(rest)


def read_by(change: Change) -> set[int]:
    """Torch values that a change names."""
    return {value for edit in change.edits.values() for value in _values(_tree(edit))}


def _tree(edit: Edit) -> list[Any]:
    chains = [
        *edit.before.values(),
        edit.after,
        *edit.further.values(),
        () if edit.instead is None else (edit.instead,),
    ]
    return [edit.arguments, [step.arguments for chain in chains for step in chain]]


def _values(tree: Any) -> Iterator[int]:
    if isinstance(tree, Value):
        yield tree.index
    for one in tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ():
        yield from _values(one)


@dataclasses.dataclass(frozen=True, slots=True)
class Repair:
    """Causes that together repair a layer.

    Attributes:
        parts: Each cause, with the way that undoes it.
        before: The layer's error as the port has it.
        after: With all changes.
    """

    parts: tuple[tuple[Suspicion, Way], ...]
    before: Measured
    after: Measured


def together(ways: Iterable[Way]) -> Way | None:
    """Several ways as one; None where they contradict each other or are measured at different layers."""
    change, whole, measured, ignoring = Change(), Change(), None, frozenset[int]()
    ways = tuple(ways)
    table = any(way.table for way in ways)
    for way in ways:
        if measured not in (None, way.measured) and way.measured is not None:
            return None
        measured = way.measured if way.measured is not None else measured
        both, both_whole = combined(change, way.change), combined(whole, way.in_the_whole)
        if both is None or both_whole is None:
            return None
        change, whole, ignoring = both, both_whole, ignoring | way.ignoring
    return Way(change, measured, ignoring, whole, table)


class Bench:
    """Tries ways for one layer."""

    def __init__(self, case: Case, budget: Budget) -> None:
        """Nothing is run yet."""
        self._case, self._budget = case, budget
        self._before: dict[tuple[int | None, frozenset[int], bool], Measured] = {}

    def before(self, way: Way) -> Measured:
        """The error as the port has it, measured where a way is measured."""
        key = way.measured, way.ignoring, way.table
        if key not in self._before:
            self._before[key] = self._measure(Way(Change(), way.measured, way.ignoring, table=way.table))
        return self._before[key]

    def _measure(self, way: Way) -> Measured:
        if way.table:
            return measure_table(self._case, way.change)
        return measure(self._case.judge, self._case.position, way)

    def alone(self, suspicion: Suspicion) -> list[Way]:
        """The ways that may undo a fault by themselves: a table of values repairs no layer that is wrong."""
        return [way for way in suspicion.ways if not (way.table and self._case.verdict.is_wrong)]

    def try_out(self, parts: Iterable[tuple[Suspicion, Way]]) -> Repair | None:
        """Try changes together; None where they contradict each other."""
        parts = tuple(parts)
        way = together(way for _, way in parts)
        if way is None:
            return None
        return Repair(parts, self.before(way), self._measure(way))

    def same(self, first: Way, second: Way) -> bool:
        """Whether two ways make the same of the layer, on other inputs too: one repair, said in two ways."""
        if (first.measured, first.ignoring) != (second.measured, second.ignoring):
            return False
        judge, at = self._case.judge, self._case.position if first.measured is None else first.measured
        value = judge.alignment.torch_value(judge.layers[at].outputs[0])
        if value is None:
            return False
        also = read_by(first.change) | read_by(second.change)
        draw = np.random.default_rng(0)
        try:
            given = judge.feed(at, value, first.ignoring, also)
            floats = {v: np.asarray(a, np.float64) for v, a in given.items() if a.dtype.kind == "f"}
            larger = {**given, **{v: _LARGER * a + draw.normal(size=a.shape) for v, a in floats.items()}}
            one, other = (judge.candidate.changed(w.change).run([value], larger)[value] for w in (first, second))
        except (AxesError, ReplayError, ValueError, KeyError, IndexError, TypeError):
            return False
        return one.shape == other.shape and bool(np.allclose(one, other, 1e-6, 1e-9, equal_nan=True))

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._budget.is_spent
