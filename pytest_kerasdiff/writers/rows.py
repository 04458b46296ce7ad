"""The layers of a report with what belongs to each: its number, the layers it refers to, its checks, its drawings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_kerasdiff import text
from pytest_kerasdiff.writers import charts

Layer = Mapping[str, Any]

HISTOGRAM = (240, 64)
"""Width and height of a histogram in pixels."""
CHANNEL_HEIGHT = 40.0
_CHANNELS_WIDTH = 256.0


@dataclass(frozen=True, slots=True)
class Row:
    """One layer as the page shows it.

    Attributes:
        number: Of the layer in the order they ran, from 1; its place on the page is ``#layer-<number>``.
        layer: What the report has of it.
        inputs: Names of the layers whose outputs it takes, with their numbers where they ran before it.
        origin: Number of the layer whose fault it inherits.
        checks: The layer's own.
        share: Its error as a share of the limit, the larger of both; None where there is no number.
    """

    number: int
    layer: Layer
    inputs: tuple[tuple[str, int | None], ...]
    origin: int | None
    checks: tuple[Mapping[str, Any], ...]
    share: float | None


def rows(report: Mapping[str, Any]) -> list[Row]:
    """Put the layers of a report beside what they refer to by name.

    A layer that is called several times has several entries of one name: meant is the last one before.
    """
    checks: dict[str, list[Mapping[str, Any]]] = {}
    for check in report.get("checks") or ():
        checks.setdefault(check["layer"], []).append(check)
    seen: dict[str, int] = {}
    found = []
    for number, layer in enumerate(report.get("layers") or (), 1):
        inputs = tuple((name, seen.get(name)) for name in layer.get("inputs") or ())
        origin = seen.get(layer.get("inherits_from") or "")
        own = tuple(checks.get(layer["name"], ()))
        found.append(Row(number, layer, inputs, origin, own, _share(layer)))
        seen[layer["name"]] = number
    return found


def _share(layer: Layer) -> float | None:
    errors = [layer.get(side) for side in ("isolated", "cumulative")]
    shares = [
        error["max_abs"] / error["limit"]
        for error in errors
        if error and error.get("max_abs") is not None and error.get("limit")
    ]
    return max(shares, default=None)


def nearest(found: Sequence[Row], most: int = 5) -> list[Row]:
    """Of the layers that pass, those that come nearest to their limit."""
    of_layer = {
        id(row.layer): row
        for row in found
        if row.layer.get("torch") is not None and (row.layer.get("cumulative") or {}).get("max_abs") is not None
    }
    return [of_layer[id(layer)] for layer in text.worst([row.layer for row in of_layer.values()], most)]


def links(found: Sequence[Row]) -> list[list[int]]:
    """For each layer, the places from 0 of the layers whose outputs it takes."""
    return [[number - 1 for _, number in row.inputs if number is not None] for row in found]


def depth(found: Sequence[Row]) -> charts.Depth:
    """The chart of errors against depth."""
    sides = {side: [_value(row.layer.get(side)) for row in found] for side in ("isolated", "cumulative")}
    limits = [(row.layer.get("isolated") or row.layer.get("cumulative") or {}).get("limit") for row in found]
    return charts.depth(sides["isolated"], sides["cumulative"], limits)


def _value(error: Mapping[str, Any] | None) -> float | None:
    """An error as the chart wants it: ``nan`` is one without a number, None none at all."""
    if error is None:
        return None
    return math.nan if error.get("max_abs") is None or error.get("reason") else float(error["max_abs"])


@dataclass(frozen=True, slots=True)
class Histogram:
    """Outlines of both sides' histograms in one scale, and the count at its top."""

    keras: str
    torch: str
    most: int


def histogram(drawn: Mapping[str, Any] | None) -> Histogram | None:
    """The drawing of a layer's ``histogram``."""
    if not drawn:
        return None
    most = max([*drawn["keras"], *drawn["torch"]], default=0)
    keras, torch = (charts.outline(drawn[side], most, *HISTOGRAM) for side in ("keras", "torch"))
    return Histogram(keras, torch, most)


@dataclass(frozen=True, slots=True)
class ErrorMap:
    """The drawing of an error map.

    Attributes:
        columns: Cells in a row.
        rows: Rows of cells.
        shades: (shade, path) over unit cells.
        most: The largest error, None where a cell has no number.
        where: Row and column of the worst cell, from 0.
        bars: Path of the channels' errors.
        bars_width: Of their drawing in pixels.
    """

    columns: int
    rows: int
    shades: list[tuple[int, str]]
    most: float | None
    where: tuple[int, int]
    bars: str
    bars_width: float


def error_map(drawn: Mapping[str, Any] | None) -> ErrorMap | None:
    """The drawing of a layer's ``error_map``."""
    if not drawn or not drawn.get("rows") or not drawn["rows"][0]:
        return None
    cells = drawn["rows"]
    size, where = max(
        (math.inf if value is None else value, (y, x)) for y, row in enumerate(cells) for x, value in enumerate(row)
    )
    channels = drawn.get("channels") or []
    step = min(16.0, _CHANNELS_WIDTH / max(len(channels), 1))
    return ErrorMap(
        max(len(row) for row in cells),
        len(cells),
        charts.shades(cells),
        size if math.isfinite(size) else None,
        where,
        charts.bars(channels, CHANNEL_HEIGHT, step),
        step * len(channels),
    )
