"""Layers that a port has in another order: what one layer has too much is what one next to it lacks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import ReferenceTrace

_FAR = 3
"""Steps between two layers up to which one's operation may stand at the other."""
Pieces = Mapping[int, Sequence[tuple[str, str]]]
"""Position of a layer → (id, piece) of its confirmed causes."""


def exchanged(pieces: Pieces, judge: Judge) -> Iterator[tuple[int, int]]:
    """(position of a layer that has an operation too much, position of the one that lacks the same)."""
    taken: set[int] = set()
    for extra, own in pieces.items():
        for name in (piece for cause, piece in own if cause == "extra-layer" and piece):
            near = [
                other
                for other, theirs in pieces.items()
                if other != extra and other not in taken and ("missing-layer", name) in theirs
                if _are_near(judge, extra, other)
            ]
            if near:
                lacking = min(near, key=lambda other: abs(other - extra))
                taken.add(lacking)
                yield extra, lacking
                break


def twins(pieces: Pieces, judge: Judge, reference: ReferenceTrace) -> Iterator[tuple[int, int]]:
    """Two layers of one form of which each has what is the other's: it is as if they held each other's weights."""
    for first, second in itertools.combinations(pieces, 2):
        forms = [_form(reference, position) for position in (first, second)]
        if forms[0] != forms[1] or not forms[0][1]:
            continue
        named = all(judge.is_called_so(position) for position in (first, second))
        own, theirs = (_exchanges(pieces[position]) for position in (first, second))
        exchanged = {(wrong, right) for wrong, right in own if (right, wrong) in theirs}
        # Where modules have the names of the layers whose weights they hold, it is the functions that are exchanged.
        if any(not named or wrong.isdigit() for wrong, _ in exchanged):
            yield first, second


def _exchanges(own: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """(what the port has, what Keras has there) of the pieces of one layer."""
    return {(wrong, right) for _, piece in own for wrong, between, right in [piece.partition(" for ")] if between}


def _form(reference: ReferenceTrace, position: int) -> tuple[str, list[tuple[int, ...]]]:
    layer = reference.layers[position]
    return layer.class_name, reference.weight_shapes(layer)


def _are_near(judge: Judge, first: int, second: int) -> bool:
    """Whether at most ``_FAR`` steps from layer to layer lead from one to the other."""
    reached = {first}
    for _ in range(_FAR):
        given = {v for p in reached for v in judge.layers[p].outputs}
        taken = {v for p in reached for v in judge.layers[p].inputs}
        reached |= {p for p, la in enumerate(judge.layers) if given & set(la.inputs) or taken & set(la.outputs)}
    return second in reached
