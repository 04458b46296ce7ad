"""Columns of pytest-html's table: how far a layer is off, and the cause. They are empty for other tests."""

from __future__ import annotations

import html
from typing import Any

PREFIX = "kerasdiff_"
"""Of the user properties of a test, which JUnit files have too."""
_COLUMNS = {"max|Δ|": "isolated_max_abs", "limit": "isolated_limit", "cause": "cause"}


class Columns:
    """Hooks of pytest-html.

    Source: pytest-html 4, "Modifying the results table".
    """

    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """Name the columns, before that of the links."""
        for title in _COLUMNS:
            cells.insert(len(cells) - 1, f"<th>{html.escape(title)}</th>")

    def pytest_html_results_table_row(self, report: Any, cells: list[str]) -> None:
        """Fill them from what the test said of itself."""
        said = dict(report.user_properties)
        for name in _COLUMNS.values():
            value = said.get(PREFIX + name, "")
            shown = f"{value:.3g}" if isinstance(value, float) else str(value)
            cells.insert(len(cells) - 1, f"<td>{html.escape(shown)}</td>")
