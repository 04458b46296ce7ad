"""Geometry of the drawings of a report: plain numbers in, numbers and texts of SVG paths out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

LEVELS = 8
"""Shades of an error map."""
MARKS: Mapping[str, str] = {
    "pass": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "fault": "M-5-5h10v10h-10zM-2.5-2.5l5 5M2.5-2.5l-5 5",
    "inherited": "M0-5.5l5.5 10h-11z",
    "unpaired": "M0-6l6 6l-6 6l-6-6z",
    "declared": "M-5 0h10",
}
"""Status → outline of its mark, around the origin; each is another shape, so that none is told by colour alone."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a chart's plot is inside its drawing, in pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Point:
    """One error of a layer in the chart.

    Attributes:
        x: Pixels from the left.
        y: Pixels from the top.
        kind: ``number``; ``zero`` and ``none`` (no number) have rows of their own below and above the scale.
    """

    x: float
    y: float
    kind: str


@dataclass(frozen=True, slots=True)
class Depth:
    """The chart of errors against depth.

    Attributes:
        frame: Of the logarithmic scale.
        width: Of the drawing.
        ticks: (y, exponent of 10) of the horizontal lines.
        numbers: (x, number of the layer) below the chart.
        zero_y: Row of the errors that are exactly 0.
        none_y: Row of the errors that are no number.
        isolated: For each layer, or None where it was not compared.
        cumulative: Likewise.
        limits: Path of the limits.
        isolated_line: Path through the isolated errors.
        cumulative_line: Path through the cumulative errors.
    """

    frame: Frame
    width: float
    ticks: tuple[tuple[float, int], ...]
    numbers: tuple[tuple[float, int], ...]
    zero_y: float
    none_y: float
    isolated: tuple[Point | None, ...]
    cumulative: tuple[Point | None, ...]
    limits: str
    isolated_line: str
    cumulative_line: str


def short(value: float) -> str:
    """A coordinate with at most one decimal, as few characters as it takes."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def outline(counts: Sequence[float], most: float, width: int, height: int) -> str:
    """Path of a histogram's outline as steps from the lower left to the lower right corner, in whole pixels.

    Args:
        counts: One for each bar.
        most: The count that is as high as the drawing.
        width: Of all bars together.
        height: Of the drawing.
    """
    if not counts or most <= 0:
        return f"M0 {height}h{width}"
    step = short(width / len(counts))
    ups = "".join(f"V{round(height * (1 - count / most))}h{step}" for count in counts)
    return f"M0 {height}{ups}V{height}"


def shades(rows: Sequence[Sequence[float | None]]) -> list[tuple[int, str]]:
    """The cells of an error map, those of one shade as one path of strokes over a grid of unit cells.

    Returns:
        (shade, path): shade 1 … ``LEVELS`` in equal parts of the largest error, 0 for cells without a number.
        Cells without an error are left out.
    """
    most = max((value for row in rows for value in row if value is not None), default=0.0)
    cells: dict[int, list[str]] = {}
    for y, row in enumerate(rows):
        for x, level in _runs(row, most):
            cells.setdefault(level[0], []).append(f"M{x} {y}.5h{level[1]}")
    return [(level, "".join(cells[level])) for level in sorted(cells)]


def _runs(row: Sequence[float | None], most: float) -> Iterator[tuple[int, tuple[int, int]]]:
    """(place, (shade, length)) of each run of equal cells with an error."""
    levels = [
        0 if value is None else -1 if value <= 0 or most <= 0 else min(LEVELS, math.ceil(LEVELS * value / most))
        for value in row
    ]
    start = 0
    for x in range(1, len(levels) + 1):
        if x == len(levels) or levels[x] != levels[start]:
            if levels[start] >= 0:
                yield start, (levels[start], x - start)
            start = x


def bars(values: Sequence[float | None], height: float, step: float) -> str:
    """Path of one bar for each value, the largest as high as the drawing; one without a number is full."""
    most = max((value for value in values if value is not None), default=0.0)
    wide = short(step - 1) if step > 2 else short(step)
    return "".join(
        f"M{short(step * i)} {short(height)}v-{short(tall)}h{wide}v{short(tall)}z"
        for i, value in enumerate(values)
        if (tall := height if value is None else height * value / most if most > 0 else 0.0) >= 0.05
    )


def depth(
    isolated: Sequence[float | None],
    cumulative: Sequence[float | None],
    limits: Sequence[float | None],
) -> Depth:
    """Place the errors of all layers over the layers' numbers, on a logarithmic scale.

    Args:
        isolated: Error of each layer: ``nan`` where it is no number, None where it was not compared.
        cumulative: Likewise.
        limits: What is allowed of each, None where there is none.
    """
    count = len(isolated)
    step = min(40.0, max(4.0, 720.0 / max(count, 1)))
    positive = [v for v in (*isolated, *cumulative, *limits) if v is not None and v > 0 and math.isfinite(v)]
    low = math.floor(math.log10(min(positive, default=1e-16)))
    high = max(low + 1, math.ceil(math.log10(max(positive, default=1.0))))
    frame = Frame(62, 46, step * count, 230)
    zero_y, none_y = frame.top + frame.height + 18, frame.top - 16

    def place(index: int, value: float | None) -> Point | None:
        if value is None:
            return None
        x = frame.left + step * (index + 0.5)
        if not math.isfinite(value):
            return Point(x, none_y, "none")
        if value <= 0:
            return Point(x, zero_y, "zero")
        return Point(x, _height(value, low, high, frame), "number")

    every = max(1, math.ceil(28 / step))
    pace = max(1, math.ceil((high - low) / 10))
    alone = tuple(place(i, value) for i, value in enumerate(isolated))
    whole = tuple(place(i, value) for i, value in enumerate(cumulative))
    return Depth(
        frame,
        frame.left + frame.width + 16,
        tuple((_height(10.0**e, low, high, frame), e) for e in range(low, high + 1, pace)),
        tuple((frame.left + step * (i + 0.5), i + 1) for i in range(0, count, every)),
        zero_y,
        none_y,
        alone,
        whole,
        _limit_line(limits, step, low, high, frame),
        _line(alone),
        _line(whole),
    )


def _height(value: float, low: int, high: int, frame: Frame) -> float:
    share = (math.log10(value) - low) / (high - low)
    return frame.top + frame.height * (1 - share)


def _line(points: Sequence[Point | None]) -> str:
    """Path through points, interrupted where there is none."""
    pieces, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
        else:
            pieces.append(f"{pen}{short(point.x)} {short(point.y)}")
            pen = "L"
    return "".join(pieces)


def _limit_line(limits: Sequence[float | None], step: float, low: int, high: int, frame: Frame) -> str:
    """Steps at the limits, a new piece only where they change."""
    pieces: list[str] = []
    before: str | None = None
    for index, limit in enumerate(limits):
        if limit is None or limit <= 0 or not math.isfinite(limit):
            before = None
            continue
        y = short(_height(limit, low, high, frame))
        start, end = short(frame.left + step * index), short(frame.left + step * (index + 1))
        if before is None:
            pieces.append(f"M{start} {y}")
        elif before != y:
            pieces.append(f"V{y}")
        pieces.append(f"H{end}")
        before = y
    return "".join(pieces)
