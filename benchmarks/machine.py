"""Where and when it was measured, in one line."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

_PACKAGES = ("pytest", "numpy", "torch", "tensorflow", "keras")


def describe() -> str:
    """Processor, cores that may be used, load, versions, date; no framework is imported for it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in _PACKAGES)]
    load = f"load {os.getloadavg()[0]:.1f}"
    return " · ".join(
        [_processor(), f"{cores} cores", load, *versions, datetime.datetime.now().isoformat(" ", "minutes")]
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
