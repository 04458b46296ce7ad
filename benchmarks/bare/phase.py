"""A pytest plugin: writes how long the tests took, all of them together, into the file that BENCHMARKS_PHASE names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

_TIMES: list[float] = []


def pytest_runtest_logstart() -> None:
    """The first one begins the phase."""
    if not _TIMES:
        _TIMES.append(time.perf_counter())


def pytest_runtest_logfinish() -> None:
    """The last one ends it."""
    _TIMES.append(time.perf_counter())


def pytest_sessionfinish() -> None:
    """Write the number of tests and their time."""
    found = {"tests": len(_TIMES) - 1, "tests_s": _TIMES[-1] - _TIMES[0]}
    Path(os.environ["BENCHMARKS_PHASE"]).write_text(json.dumps(found), "utf-8")
