"""Weights that the port holds otherwise: each one is put where it belongs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence, Set

from pytest_kerasdiff.change import Change, combined
from pytest_kerasdiff.checks import concerned, weights
from pytest_kerasdiff.checks.held import Found
from pytest_kerasdiff.diagnosis import misfolded, seats
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.placed import Seat

_STRANGE = frozenset({"weights-not-loaded", "weights-differ"})
_OF_SLOTS = _STRANGE | {"bn-slots-exchanged", "bn-stats-not-loaded", "bn-scale-center"}
_MOST = 12
"""Ways to place the weights of one cause."""


def concerns(case: Case) -> bool:
    """Whether the layer may have weights that its torch operations hold as they are."""
    return "weights" in concerned.of_layer(case.layer.class_name, case.layer.config) and not (
        case.subject.folded or case.layer.outputs[0] in case.alignment.passes_on
    )


def suspect(case: Case) -> Iterator[Suspicion]:
    """One cause for all weights of the layer that have the same fault."""
    compared = misfolded.explain(case, weights.compared(case.subject))
    found = [one for one in compared if one.cause and weights.fails(one, case.subject)]
    places = seats.seats(case, list(dict.fromkeys(one.name for one in found)))
    groups: dict[str, list[Found]] = {}
    causes = {one.cause for one in found}
    for one in found:
        groups.setdefault(_in_slots(one.cause, causes), []).append(one)
    for cause, own in groups.items():
        several = [places.get(name, []) for name in dict.fromkeys(one.name for one in own)]
        words, remedies = zip(*(_told(one.words) for one in own if one.words), strict=True)
        ways = list(_ways(several))
        patch = "; ".join(placed[0].patch for placed in several if placed) or "; ".join(filter(None, remedies))
        patch += f"; {misfolded.formula(case.product)}" if case.product is not None else ""
        sure = any(one.fails == "always" for one in own)
        yield Suspicion(cause, "; ".join(words), patch, ways, sure=sure)


def _in_slots(cause: str, causes: Set[str]) -> str:
    """The cause of a slot among those of all: where slots are exchanged, the last one holds what is left."""
    exchanged = "bn-slots-exchanged" in causes
    if "bn-scale-center" in causes and (exchanged or cause in _STRANGE) and cause in _OF_SLOTS:
        return "bn-scale-center"  # one slot was left out, and all behind it moved up
    return "bn-slots-exchanged" if exchanged and cause in _STRANGE else cause


def _told(words: str) -> tuple[str, str]:
    text, _, remedy = words.rpartition("; ")
    return (text, remedy) if text else (remedy, "")


def _ways(several: Sequence[Sequence[Seat]]) -> Iterator[Way]:
    """All weights of a cause at once; where one of them has no place, the others."""
    placed = [own for own in several if own]
    if not placed:
        return
    orders = sorted(itertools.islice(itertools.product(*(range(len(s)) for s in placed)), 4 * _MOST), key=sum)
    number = 0
    for order in orders:
        change: Change | None = Change()
        for at, own in zip(order, placed, strict=True):
            change = None if change is None else combined(change, own[at].change)
        if change is not None and number < _MOST:
            number += 1
            yield Way(change)
