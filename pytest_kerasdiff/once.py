"""A comparison that several pytest processes may ask for: the first one makes it, the others read what it found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child, reportfile, supervisor
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.options import Settings


def report(settings: Settings, rootdir: Path, folder: Path, cache: Path | None) -> dict[str, Any]:
    """The report of a run that is made at most once; it and its error are kept in a folder that the processes share.

    Args:
        settings: What to do.
        rootdir: pytest's.
        folder: Existing folder, on this host.
        cache: Folder in which references are kept between runs; None where nothing is.

    Raises:
        RunError: The run cannot be made; every process that asks gets the same line.
    """
    made = read(folder)  # reports are written complete or not at all
    if made is not None:
        return made
    from filelock import FileLock

    with FileLock(folder / "lock"):  # given back by the system where its holder dies
        return read(folder) or _make(settings, rootdir, folder, cache)


def read(folder: Path) -> dict[str, Any] | None:
    """The report in a folder, or None where nobody has asked for it."""
    path = folder / child.REPORT
    found: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.exists() else None
    return found


def _make(settings: Settings, rootdir: Path, folder: Path, cache: Path | None) -> dict[str, Any]:
    error = folder / "error.txt"
    if error.exists():
        raise RunError(error.read_text("utf-8"))
    run = supervisor.Run(settings, rootdir, folder, cache=cache)
    try:
        made = run.wait()
    except RunError as reason:
        error.write_text(str(reason), "utf-8")
        raise
    finally:
        run.close()
    reportfile.publish(made, folder)
    return made
