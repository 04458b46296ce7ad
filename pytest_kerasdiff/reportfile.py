"""Reports as files: written complete or not at all, read with one clear line where a file is none."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child, tally
from pytest_kerasdiff.errors import RunError

SCHEMA = 1
"""Changes when a field of the report changes its meaning."""
Report = dict[str, Any]
OTHER_FORM = "a damaged report, or one that another version has written: make it anew"


def as_json(report: Mapping[str, Any]) -> bytes:
    """The content of ``report.json``."""
    return (json.dumps(report, indent=1) + "\n").encode()


def publish(report: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.json`` alone into a folder; see ``write``."""
    write(folder, {child.REPORT: as_json(report)})


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into the user's folder: all of them, or none.

    Args:
        folder: Is made where it is not there.
        contents: By the name of the file.

    Raises:
        RunError: The folder cannot be written.
    """
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
            with contextlib.suppress(OSError):
                temporary.unlink()


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
    try:
        says = tally.verdict(found["layers"], found["checks"]), tally.summary(found["layers"], found["checks"])
        agrees = says == (found["verdict"], found["summary"])
    except (KeyError, TypeError, AttributeError):
        raise RunError(f"{file}: {OTHER_FORM}") from None
    if not agrees:
        raise RunError(f"{file}: its verdict and its numbers are not those of its layers and checks: it was changed")
    return found
