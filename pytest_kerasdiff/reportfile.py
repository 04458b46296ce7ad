"""Reports as files: written complete or not at all, read with one clear line where a file is none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.writers import page

SCHEMA = 1
"""Changes when a field of the report changes its meaning."""
Report = dict[str, Any]


_PAGES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"report.html": page.render}
"""Name of a file beside the report → what writes the report for a reader."""


def publish(report: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.json``, and the same for readers, into the user's folder.

    Raises:
        RunError: The folder cannot be written.
    """
    keep(report, folder)
    for name, render in _PAGES.items():
        _write(folder / name, render(report))


def keep(report: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.json`` alone.

    Raises:
        RunError: The folder cannot be written.
    """
    _write(folder / child.REPORT, json.dumps(report, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    """Write a file aside and rename it, so that it is complete or not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{os.getpid()}"
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{path.parent}: the report cannot be written: {error.strerror or error}") from None


def read(path: Path) -> Report:
    """Read a report that a run has written.

    Args:
        path: Of the file, or of the folder it is in.

    Raises:
        RunError: It is not there, or is no report of this version's form.
    """
    file = path / child.REPORT if path.is_dir() else path
    try:
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not {"schema", "verdict", "layers", "checks"} <= found.keys():
        raise RunError(f"{file}: not a report; one is written with --kerasdiff-report=DIR")
    if found["schema"] != SCHEMA:
        raise RunError(f"{file}: a report of schema {found['schema']!r}, this version reads {SCHEMA}")
    return found
