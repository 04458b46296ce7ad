"""Configuration of this repository's own pytest runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent / "tests"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``pytest --keras-model=…`` judges that model and nothing else here; ``pytest`` runs the project's own tests."""
    asked_for_model = bool(config.getoption("keras_model", None))
    named_nothing = config.args_source is not pytest.Config.ArgsSource.ARGS
    return True if asked_for_model and named_nothing and collection_path.is_relative_to(TESTS) else None


# -- the table of promises -------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the table of what SECURITY.md and README promise is written, with what became of its tests."""
    parser.addoption("--promises", type=Path, metavar="PATH", help="write the table of promises and their tests")


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker, and gather results where the table is asked for."""
    config.addinivalue_line("markers", "promise(words): what the documents promise and the test holds")
    if config.getoption("--promises"):
        config.pluginmanager.register(_Promises(config.getoption("--promises")))


class _Promises:
    """Promise → test function → numbers of cases and of failures."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, dict[str, list[int]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Iterator[None]:
        """Count what a marked test has come to; one that tries several cases says how many."""
        report: Any = yield
        marker = item.get_closest_marker("promise")
        if marker is not None and (report.when == "call" or report.failed or report.skipped):
            test = item.nodeid.partition("[")[0]
            counted = self._kept.setdefault(marker.args[0], {}).setdefault(test, [0, 0, 0])
            said: dict[str, Any] = dict(item.user_properties)
            counted[0] += said.get("cases", 1)
            counted[1] += report.failed
            counted[2] += report.skipped
        return report  # type: ignore[no-any-return]

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        lines = ["| promise | tests | cases | result |", "|---|---|---|---|"]
        for promise, tests in self._kept.items():
            names = "<br>".join(f"`{name}`" for name in tests)
            cases, failed, skipped = (sum(counted[i] for counted in tests.values()) for i in range(3))
            result = f"{failed} failed" if failed else "holds"
            lines.append(f"| {promise} | {names} | {cases} | {result}{f', {skipped} skipped' if skipped else ''} |")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("\n".join([_TITLE, "", *lines]) + "\n", "utf-8")


_TITLE = """# What is promised, and the tests that hold it

Written by `pytest -m promise --promises=docs/promises.md`; SECURITY.md and README say what each promise means."""
