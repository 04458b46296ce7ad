"""The search for causes: the fewest changes that repair a layer, and what repairs it as well."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from pytest_kerasdiff.diagnosis.case import Suspicion, Way
from pytest_kerasdiff.diagnosis.trial import Bench, Repair

_MOST_PAIRS = 120
"""Pairs of changes that are tried for one layer."""
Part = tuple[Suspicion, Way]


def search(suspicions: Sequence[Suspicion], bench: Bench) -> tuple[Repair | None, list[Part]]:
    """The fewest causes that repair a layer, with what repairs it as well and is something else.

    First what both sides state, alone, then all of it together; then what is only tried; then pairs.
    """
    stated = [(s, way) for s in suspicions if s.stated for way in bench.alone(s)]
    tried = [(s, way) for s in suspicions if not s.stated for way in bench.alone(s)]
    for ways in (stated, tried):
        repairs = _repairing(([part] for part in ways), bench)
        if repairs:
            chosen, ties = _with_the_sure(repairs, suspicions, bench)
            return _with_the_unseen(chosen, suspicions, bench), ties
    first = [(s, s.ways[0]) for s in suspicions if s.stated and s.ways]
    if len(first) > 1 and (repair := next(iter(_repairing([first], bench)), None)):
        return _with_the_unseen(_fewer(repair, bench), suspicions, bench), []
    base = first if first else []
    with_base = ((*base, part) for part in tried if base)
    pairs = itertools.islice(itertools.combinations([*stated, *tried], 2), _MOST_PAIRS)
    for parts in itertools.chain(with_base, pairs):
        if bench.is_over:
            break
        if len({id(s) for s, _ in parts}) == len(parts):
            repair = bench.try_out(parts)
            if repair is not None and _is_repaired(repair):
                return _fewer(repair, bench), []
    return None, []


def _is_repaired(repair: Repair) -> bool:
    return repair.after.repairs(repair.before) or repair.after.falls_on_one(repair.before)


def _repairing(several: Iterable[Sequence[Part]], bench: Bench) -> list[Repair]:
    found = []
    for parts in several:
        if bench.is_over:
            break
        repair = bench.try_out(parts)
        if repair is not None and _is_repaired(repair):
            found.append(repair)
    return found


def _with_the_sure(
    repairs: Sequence[Repair], suspicions: Sequence[Suspicion], bench: Bench
) -> tuple[Repair, list[Part]]:
    """The first of several repairs, with what is a fault though the activations do not show it."""
    chosen = repairs[0]
    own = chosen.parts[0][0]
    others = [r.parts[0] for r in repairs[1:] if r.parts[0][0].id != own.id]
    ties = [part for part in others if not part[0].sure and not bench.same(chosen.parts[0][1], part[1])]
    sure = [(s, s.ways[0]) for s in suspicions if s.sure and s.ways and s is not own]
    if sure:
        more = bench.try_out([*chosen.parts, *sure])
        if more is not None and _is_repaired(more):
            chosen = more
    return chosen, ties


def _with_the_unseen(repair: Repair, suspicions: Sequence[Suspicion], bench: Bench) -> Repair:
    """A repair with what is a second fault, in the activation function, where no probe input comes."""
    unseen = [dataclasses.replace(way, table=True) for _, way in repair.parts]
    own = [s for s, _ in repair.parts]
    for part in ((s, way) for s in suspicions if s not in own for way in s.ways if way.table):
        without = bench.try_out(list(zip(own, unseen, strict=True)))
        both = bench.try_out([*repair.parts, part])
        if without is None or both is None or without.after.error.passes or not _is_repaired(both):
            continue
        seen = bench.try_out([*repair.parts, (part[0], dataclasses.replace(part[1], table=False))])
        if seen is not None and _is_repaired(seen):
            return seen
    return repair


def _fewer(repair: Repair, bench: Bench) -> Repair:
    """Leave out what the repair does not need."""
    for part in repair.parts:
        rest = [other for other in repair.parts if other is not part]
        if rest and not part[0].sure:
            less = bench.try_out(rest)
            if less is not None and _is_repaired(less):
                return _fewer(less, bench)
    return repair
