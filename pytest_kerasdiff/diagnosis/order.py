"""Layers that a port has in another order: what one layer has too much is what one next to it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_kerasdiff.judge import Judge

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


def _are_near(judge: Judge, first: int, second: int) -> bool:
    """Whether at most ``_FAR`` steps from layer to layer lead from one to the other."""
    reached = {first}
    for _ in range(_FAR):
        given = {v for p in reached for v in judge.layers[p].outputs}
        taken = {v for p in reached for v in judge.layers[p].inputs}
        reached |= {p for p, la in enumerate(judge.layers) if given & set(la.inputs) or taken & set(la.outputs)}
    return second in reached
