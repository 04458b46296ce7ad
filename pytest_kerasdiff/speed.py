"""The tests of throughput: pytest-benchmark's fixture is given the times that the run has measured.

Neither framework is in this process, and the models had to take turns. So a round of the benchmark is a round that was
measured, and its clock is moved on by the seconds that took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

CHECK, MARKER = "throughput", "benchmark"
_DEVICES, _SIDES = ("cpu", "cuda"), ("torch", "keras")
_FACTS = ("device_name", "threads", "peak_bytes")
_VERSIONS = ("torch", "keras", "tf_keras", "tensorflow", "python")

Place = tuple[str, int, str]
"""Device, batch size, side."""


class Clock:
    """A clock that is moved on by hand."""

    __name__ = "measured"

    def __init__(self) -> None:
        """Begin at 0."""
        self._now = 0.0

    def __call__(self) -> float:
        """The seconds so far."""
        return self._now

    def move(self, seconds: Iterator[float]) -> None:
        """Move it on by the next of some seconds."""
        self._now += next(seconds)


def places(sizes: Sequence[int]) -> Iterator[Place]:
    """Of each test; Keras runs on the CPU only."""
    for device in _DEVICES:
        for size in sizes:
            for side in _SIDES if device == "cpu" else _SIDES[:1]:
                yield device, size, side


def name(place: Place) -> str:
    """Of a test, in node ids."""
    device, size, side = place
    return f"{CHECK}-{device}-{size}-{side}"


def marker(place: Place, clock: Clock) -> pytest.MarkDecorator:
    """pytest-benchmark's."""
    device, size, _ = place
    return pytest.mark.benchmark(timer=clock, group=f"{device}, batch {size}")


def with_benchmark(request: pytest.FixtureRequest, benchmark: Any) -> None:
    """The function that pytest calls where pytest-benchmark is installed."""
    request.node.measure(benchmark)


def without_benchmark(request: pytest.FixtureRequest) -> None:
    """The function that pytest calls where it is not."""
    request.node.measure(None)


def find(report: Mapping[str, Any], place: Place) -> tuple[Mapping[str, Any] | None, str]:
    """What was measured for a test; None with the reason where nothing was."""
    device, size, side = place
    measured = report["throughput"]["measured"]
    entry = next((e for e in measured if (e["device"], e["batch"]) == (device, size)), None)
    if entry is None:
        return None, "torch sees no CUDA device"
    return (entry, "") if entry[side] is not None else (None, entry["missing"].get(side, "not measured"))


def replay(benchmark: Any, clock: Clock, report: Mapping[str, Any], entry: Mapping[str, Any], side: str) -> None:
    """Give pytest-benchmark's fixture what was measured."""
    seconds, accuracy = entry[side]["seconds"], (report["accuracy"] or {}).get(side)
    benchmark.extra_info |= {
        "samples_per_second": entry[side]["per_second"],
        "ratio": None if entry["ratio"] is None else entry["ratio"]["median"],
        "accuracy": None if accuracy is None else accuracy["value"],
        **({key: entry[key] for key in _FACTS} if side == "torch" else {}),
        "versions": {key: version for key in _VERSIONS if (version := report["environment"].get(key)) is not None},
    }
    benchmark.pedantic(clock.move, args=(iter(seconds),), rounds=len(seconds))
