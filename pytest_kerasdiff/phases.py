"""The phases of a child process: what it is doing, how long each took, and how much memory there was by its end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_EVERY_S = 0.1
"""How often the progress within a phase is written down."""


class Phases:
    """Keeps time and memory, and writes into the run's folder what is being done, for those who wait."""

    def __init__(self, folder: Path, side: str) -> None:
        """Begin with nothing under way.

        Args:
            folder: Of the run.
            side: "reference" or "candidate".
        """
        self._path, self._side = progress_file(folder, side), side
        self._name, self._words, self._since, self._written = "", "", time.perf_counter(), 0.0
        self._seconds: dict[str, float] = {}
        self._peak_bytes: dict[str, int] = {}

    def begin(self, name: str, words: str = "") -> None:
        """End the phase before, and begin another one.

        Args:
            name: As the report has it.
            words: What is being done; empty where nobody waits for it.
        """
        self.end()
        self._name, self._words = name, words
        self._write(words)

    def step(self, number: int, of: int) -> None:
        """Say how far the phase is."""
        if time.perf_counter() - self._written > _EVERY_S:
            self._write(f"{self._words} {number} of {of}")

    def end(self) -> None:
        """End the phase under way."""
        now = time.perf_counter()
        if self._name:
            self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._since
            self._peak_bytes[self._name] = peak_bytes()
        self._name, self._since = "", now

    def timing(self) -> dict[str, float]:
        """Seconds of each phase that has ended."""
        return {f"{name}_s": seconds for name, seconds in self._seconds.items()}

    def memory(self) -> dict[str, int]:
        """Peak memory of the process by the end of each phase."""
        return {f"{name}_peak_bytes": peak for name, peak in self._peak_bytes.items()}

    def _write(self, words: str) -> None:
        self._written = time.perf_counter()
        if words:
            with contextlib.suppress(OSError):  # the folder may be on its way out
                self._path.write_text(words, "utf-8")


def progress_file(folder: Path, side: str) -> Path:
    """File in which a child says what it is doing."""
    return folder / f"{side}.phase"


def peak_bytes() -> int:
    """The most memory that this process has had resident; 0 where the system does not tell.

    Source: getrusage(2): ``ru_maxrss`` is in KiB on Linux, and in bytes on macOS.
    """
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes(process: int) -> int:
    """The memory that a process has resident now; 0 where the system does not tell, or the process has ended.

    Source: proc(5): the second number of ``/proc/PID/statm`` counts pages.
    """
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def with_side(side: str, numbers: Mapping[str, float]) -> dict[str, float]:
    """Numbers of a process under names that say which one it was."""
    return {f"{side}_{name}": number for name, number in numbers.items()}
