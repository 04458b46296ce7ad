"""The lines of the result, and the table they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.paired import Spread

HEAD = ("row", "model", "median (quartiles)", "budget", "met", "absolute")


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One figure.

    Attributes:
        row: Name of the row it belongs to.
        model: What it was measured on.
        value: The figure; None where it cannot be measured, and ``absolute`` says why.
        unit: Empty for a ratio.
        budget: What the median may be at most; None where nothing is promised.
        absolute: Times and sizes behind it: to be read, not to be compared with those of another run.
    """

    row: str
    model: str
    value: Spread | None
    unit: str
    budget: float | None
    absolute: str

    @property
    def met(self) -> bool | None:
        """Whether the budget is met; None where there is none, or no figure."""
        return None if self.value is None or self.budget is None else self.value.median <= self.budget

    def cells(self) -> tuple[str, ...]:
        """The line as texts, in the order of ``HEAD``."""
        unit = f" {self.unit}" if self.unit else ""
        value = "–"
        if self.value is not None:
            low, high = number(self.value.low), number(self.value.high)
            value = f"{number(self.value.median)}{unit} ({low} to {high})"
        budget = "–" if self.budget is None else f"≤ {self.budget:g}{unit}"
        return self.row, self.model, value, budget, {True: "yes", False: "MISSED", None: "–"}[self.met], self.absolute


def number(figure: float) -> str:
    """Three digits that count, without an exponent."""
    digits = 3 if abs(figure) < 1 else 2 if abs(figure) < 10 else 1 if abs(figure) < 100 else 0
    return f"{figure:.{digits}f}"


def render(lines: Sequence[Line]) -> str:
    """The table; columns are as wide as their widest cell."""
    rows = [HEAD, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rule = tuple("-" * width for width in widths)
    padded = (" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in (rows[0], rule, *rows[1:]))
    return "\n".join(line.rstrip() for line in padded)
