"""The model as a drawing: one row for each layer, and lines from the layers whose outputs it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_kerasdiff.writers.charts import short

ROW = 22
"""Height of a layer's row in pixels."""
_WIDEST, _NARROWEST, _ALL = 14.0, 2.0, 168.0
"""Pixels between lanes at most and at least, and of all lanes together where they fit."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Where everything is, in pixels.

    Attributes:
        spine: Where the layers' marks are, from the left.
        height: Of all rows.
        direct: Path of the lines from a layer to the next one.
        arcs: (path, number of the layer it comes from, from 0) of the lines that pass others by.
    """

    spine: float
    height: float
    direct: str
    arcs: tuple[tuple[str, int], ...]


def draw(inputs: Sequence[Sequence[int]]) -> Graph:
    """Place the lines between layers.

    Args:
        inputs: For each layer in the order they ran, the places of the layers whose outputs it takes; others
            than earlier ones are left out.
    """
    direct: list[str] = []
    further: dict[int, list[int]] = {}
    for target, sources in enumerate(inputs):
        for source in dict.fromkeys(sources):
            if source == target - 1:
                direct.append(str(target))
            elif 0 <= source < target:
                further.setdefault(source, []).append(target)
    lanes = _lanes({source: targets[-1] for source, targets in further.items()})
    number = max(lanes.values(), default=-1) + 1
    pitch = min(_WIDEST, max(_NARROWEST, _ALL / max(number, 1)))
    spine = 14 + pitch * number
    lines = "".join(f"M{short(spine)} {(int(target) - 1) * ROW + ROW // 2}v{ROW}" for target in direct)
    arcs = tuple(
        (_arc(source, targets, spine, spine - 6 - pitch * (lanes[source] + 0.6)), source)
        for source, targets in further.items()
    )
    return Graph(spine, ROW * len(inputs), lines, arcs)


def _lanes(spans: dict[int, int]) -> dict[int, int]:
    """A lane for each first row → last row, so that none meets another in its lane; short ones nearest."""
    taken: list[list[tuple[int, int]]] = []
    found: dict[int, int] = {}
    for first, last in sorted(spans.items(), key=lambda span: (span[1] - span[0], span[0])):
        free = (lane for lane, others in enumerate(taken) if all(last < start or first > end for start, end in others))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((first, last))
        found[first] = lane
    return found


def _arc(source: int, targets: Sequence[int], spine: float, lane: float) -> str:
    """From a row to the left, down its lane, and to the right into each target."""
    bend = min(6.0, spine - lane)
    x, turn = short(lane), short(lane + bend)
    start, last = source * ROW + ROW / 2, targets[-1] * ROW + ROW / 2
    path = f"M{short(spine)} {short(start)}H{turn}Q{x} {short(start)} {x} {short(start + bend)}V{short(last - bend)}"
    for target in targets:
        y = target * ROW + ROW / 2
        path += f"M{x} {short(y - bend)}Q{x} {short(y)} {turn} {short(y)}H{short(spine)}"
    return path
