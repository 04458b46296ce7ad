"""The files of a report's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child, reportfile
from pytest_kerasdiff.writers import conversion, markdown, page

FORMS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "report.html": page.render,
    "report.md": markdown.render,
    "conversion.md": conversion.render,
}
"""What lies beside ``report.json``, and what makes it of the report."""


def publish(report: Mapping[str, Any], folder: Path) -> None:
    """Write the report in all its forms: all of them, or none.

    Raises:
        RunError: The folder cannot be written.
    """
    # Names of files need not be text: what cannot be written as UTF-8 is a question mark.
    contents = {name: render(report).encode("utf-8", "replace") for name, render in FORMS.items()}
    reportfile.write(folder, {**contents, child.REPORT: reportfile.as_json(report)})
