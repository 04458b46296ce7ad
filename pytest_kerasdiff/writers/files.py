"""The files of a report's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_kerasdiff import reportfile
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.writers import conversion, markdown, page

FORMS = {"report.html": page.render, "report.md": markdown.render, "conversion.md": conversion.render}
"""What lies beside ``report.json``, and what makes it of the report."""


def publish(report: Mapping[str, Any], folder: Path) -> None:
    """Write the report in all its forms, each file complete or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    reportfile.publish(report, folder)
    for name, render in FORMS.items():
        temporary = folder / f".{name}.{os.getpid()}"
        try:
            # Names of files need not be text: what cannot be written as UTF-8 is a question mark.
            temporary.write_bytes(render(report).encode("utf-8", "replace"))
            os.replace(temporary, folder / name)
        except OSError as error:
            raise RunError(f"{folder}: the report cannot be written: {error.strerror or error}") from None
