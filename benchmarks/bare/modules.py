"""A pytest plugin: prints the modules that are imported when the tests have ended, in one line."""

from __future__ import annotations

import json
import sys

HEAD = "benchmarks: modules "


def pytest_unconfigure() -> None:
    """Print them."""
    print(f"\n{HEAD}{json.dumps(sorted(sys.modules))}")
