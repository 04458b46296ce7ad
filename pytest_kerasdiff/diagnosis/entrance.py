"""Faults behind which several layers seem wrong: axes that are exchanged, or are not, and operations too many."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from pytest_kerasdiff.change import Change
from pytest_kerasdiff.checks import registry as checks
from pytest_kerasdiff.diagnosis import movements, scaling, shared
from pytest_kerasdiff.diagnosis.case import Case, Suspicion
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.judge import Judge, LayerVerdict
from pytest_kerasdiff.trace import ReferenceTrace, ReplayError

Again = Callable[[Change], Judge]
"""Judges the port with a change."""
SECONDS = 10.0
"""How long may be looked for such a fault: each try judges the whole port once more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entrance:
    """What was wrong, and the port judged without it.

    Attributes:
        position: The first layer that takes what it makes, or the Permute that the port lacks.
        suspicion: What the port does there.
        port: The port as it is, judged.
        undone: The port with its axes as they should be, judged; its verdicts are those of the port as it is.
    """

    position: int
    suspicion: Suspicion
    port: Judge
    undone: Judge


def find(reference: ReferenceTrace, judge: Judge, again: Again) -> Entrance | None:
    """The fault without which more layers are right, among them the one that takes what it makes.

    Axes are exchanged, or an operation too much is taken by several layers. A Permute without an operation is the first
    of these too: its input passes for its output, because axes are known by name.

    Args:
        reference: The Keras side.
        judge: What was judged; it is left as it is.
        again: Judges the port with a change.
    """
    faults = [position for position, verdict in enumerate(judge.verdicts) if verdict.status == "fault"]
    if not faults:
        return None
    end = time.monotonic() + SECONDS
    for position, suspicion in itertools.chain(_of_axes(reference, judge, faults), shared.suspect(reference, judge)):
        for way in suspicion.ways:
            if time.monotonic() > end:
                judge.notes.append(
                    f"after {SECONDS:g} s no further change was tried that concerns several layers: {suspicion.text}"
                )
                return None
            try:
                other = again(way.change)
            except (ReplayError, RunError):
                continue
            if other.verdicts[position].status == "pass" and other.faults < judge.faults:
                other.verdicts = _merged(judge, other, position)
                return Entrance(position, suspicion, judge, other)
    return None


def _of_axes(reference: ReferenceTrace, judge: Judge, faults: Sequence[int]) -> Iterator[tuple[int, Suspicion]]:
    """(position of the layer to be blamed, what is wrong with axes before it)."""
    for position, verdict in enumerate(judge.verdicts):
        subject = checks.subject_of(reference, judge.candidate, judge.alignment, position, verdict)
        case = Case(position, subject, judge, reference)
        yield from ((position, one) for one in movements.lacking(case))
        blamed = position if position in faults else faults[0]
        yield from ((blamed, one) for one in scaling.layouts(case))
        if position in faults:
            yield from ((position, one) for one in scaling.exchanges(case))


def _as_it_stands(judge: Judge, position: int) -> LayerVerdict:
    """The verdict of a Permute that the port lacks: its input, element by element, for its output."""
    value, source = judge.layers[position].outputs[0], judge.layers[position].inputs[0]
    error = judge.error_of_passing_on(source, value)
    reason = "no torch operation for this layer"
    return LayerVerdict("fault", reason, error, error)


def _merged(judge: Judge, other: Judge, position: int) -> list[LayerVerdict]:
    """What each layer does on Keras's inputs without the exchange, and what the port gives with it."""
    name, merged = judge.layers[position].name, []
    for at, (now, then) in enumerate(zip(judge.verdicts, other.verdicts, strict=True)):
        if at == position:
            merged.append(now if now.status == "fault" else _as_it_stands(judge, position))
        elif then.status == "pass" and now.cumulative is not None and not now.cumulative.passes:
            merged.append(dataclasses.replace(then, status="inherited", cumulative=now.cumulative, inherits_from=name))
        else:
            merged.append(then)
    return merged
