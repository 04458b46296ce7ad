"""The scan as the first thing a process does: whatever becomes of it over a damaged file, something is said."""

from __future__ import annotations

import contextlib
import faulthandler
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_kerasdiff import child
from pytest_kerasdiff.scan import refuse

_LONGEST_S = 60.0
"""A file of 1,700 layers takes less than one."""
_ENDLESS = f"damaged: HDF5's own library crashed over it, or came to no end in {_LONGEST_S:g} s"


def scan(job: child.Job, side: str) -> None:
    """Scan a job's model, and its recorded reference, before anything else opens them, and say so.

    HDF5's library loops or crashes on some damaged files. What is said then is written before, because nothing can be
    afterwards; a clock that needs no help of Python's ends the process.

    Raises:
        RunError: See ``refuse.model`` and ``refuse.recorded``.
    """
    settings = job.settings
    with _outlived(job, side, settings.keras_model):
        # What is only listed is not built, and the code that builds it may be named later.
        refuse.model(settings.keras_model, settings.trust, settings.keras is None and side != child.SCAN)
    if settings.reference is not None:
        with _outlived(job, side, settings.reference):
            refuse.recorded(settings.reference)
    (job.folder / child.SCANNED).touch()


@contextlib.contextmanager
def _outlived(job: child.Job, side: str, path: Path) -> Iterator[None]:
    """A context of which something is said whatever becomes of the process in it."""
    child.write_error(job.folder, side, f"{path}: {_ENDLESS}")
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        faulthandler.dump_traceback_later(_LONGEST_S, exit=True, file=nothing)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            child.error_file(job.folder, side).unlink(missing_ok=True)
