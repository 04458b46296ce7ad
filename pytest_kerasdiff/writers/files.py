"""The files of a report's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child
from pytest_kerasdiff.errors import RunError
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
    contents[child.REPORT] = (json.dumps(report, indent=1) + "\n").encode()
    made: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            made[folder / name] = folder / f".{name}.{os.getpid()}"
            made[folder / name].write_bytes(content)
        if occupied := next((path for path in made if path.is_dir()), None):
            raise IsADirectoryError(None, f"{occupied.name} is a folder")
        for path, temporary in made.items():
            os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{folder}: the report cannot be written: {error.strerror or error}") from None
    finally:
        for temporary in made.values():
            temporary.unlink(missing_ok=True)
