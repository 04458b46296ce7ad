"""Operations too many whose results several layers take: one fault, not one of each layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from pytest_kerasdiff.change import Change, combined
from pytest_kerasdiff.checks import registry as checks
from pytest_kerasdiff.diagnosis import extra
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.trial import measure
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import ReferenceTrace

_MOST_TOGETHER = 4
"""Operations one after the other that are left out at once."""
_MOST = 12
"""Ways that are tried, each on the layers alone."""


def suspect(reference: ReferenceTrace, judge: Judge) -> Iterator[tuple[int, Suspicion]]:
    """(position of the first layer, what to leave out) where that repairs all layers at fault that share it."""
    cases: dict[int, Case] = {}
    for position, verdict in enumerate(judge.verdicts):
        if verdict.status == "fault":
            subject = checks.subject_of(reference, judge.candidate, judge.alignment, position, verdict)
            cases[position] = Case(position, subject, judge, reference)
    tried = 0
    for positions, steps in _shared(cases).items():
        first = cases[positions[0]]
        alone = [found for step in steps for found in extra.left_out(first, step)]
        together = _together(alone)
        for suspicion in (*together, *alone):
            working = []
            for way in suspicion.ways:
                tried += 1
                if tried <= _MOST and all(measure(judge, p, way).error.passes for p in positions):
                    working.append(way)
            if working:
                yield positions[0], dataclasses.replace(suspicion, ways=working)


def _shared(cases: Mapping[int, Case]) -> dict[tuple[int, ...], list[int]]:
    """Layers → the operations that belong to each of them, and to no other layer at fault."""
    users: dict[int, list[int]] = {}
    for position, case in cases.items():
        for step in case.steps:
            users.setdefault(step, []).append(position)
    found: dict[tuple[int, ...], list[int]] = {}
    for step in sorted(users):
        if len(users[step]) > 1:
            found.setdefault(tuple(users[step]), []).append(step)
    return found


def _together(alone: Sequence[Suspicion]) -> list[Suspicion]:
    """All of them left out at once."""
    if not 1 < len(alone) <= _MOST_TOGETHER:
        return []
    change: Change | None = Change()
    for suspicion in alone:
        change = None if change is None else combined(change, suspicion.ways[0].change)
    if change is None:
        return []
    names = [s.text.removesuffix(", Keras has nothing there").removeprefix("the port has ") for s in alone]
    text = f"the port has {', '.join(names)}, Keras has nothing there"
    patch = "; ".join(suspicion.patch for suspicion in alone)
    return [dataclasses.replace(alone[0], text=text, patch=patch, ways=[Way(change)], piece="")]
