"""Commands that take turns, and what their paired figures say: a machine that slows down slows all of a round."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence

from benchmarks import process
from benchmarks.process import Command, Sample

Round = tuple[Sample, ...]
"""One run of each command, in their order."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of the figures of all rounds."""

    median: float
    low: float
    high: float


def spread(figures: Sequence[float]) -> Spread:
    """Sum figures up; one alone is all three."""
    if len(figures) < 2:
        return Spread(figures[0], figures[0], figures[0])
    low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(median, low, high)


def take_turns(commands: Sequence[Command], repeats: int, warm_up: bool = True) -> list[Round]:
    """Run A B A B …, not all of A first.

    Args:
        commands: What takes turns.
        repeats: Number of rounds.
        warm_up: Whether a round goes before that does not count: it fills caches of files and writes byte code.

    Raises:
        CommandError: A command failed.
    """
    if warm_up:
        for command in commands:
            process.run(command)
    return [tuple(process.run(command) for command in commands) for _ in range(repeats)]


def ratios(rounds: Sequence[Round]) -> Spread:
    """The first command's time by the second one's, of each round."""
    return figures(rounds, lambda one: one[0].wall_s / one[1].wall_s)


def figures(rounds: Sequence[Round], figure: Callable[[Round], float]) -> Spread:
    """Any figure of a round."""
    return spread([figure(one) for one in rounds])


def wall_s(rounds: Sequence[Round], number: int) -> float:
    """Median time of one of the commands, to be shown and never compared."""
    return statistics.median(one[number].wall_s for one in rounds)
