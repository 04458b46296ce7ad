"""What both child processes have in common: the job they read, how they end, and that they do not outlive their parent.

A child is started as ``python -m pytest_kerasdiff.<side> JOB`` with its standard input held open by the parent. It
writes its result, or its error as one line of JSON, into the folder of the job.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from pytest_kerasdiff.errors import RunError, UnwritableError
from pytest_kerasdiff.options import Settings

REFERENCE_TRACE = "reference.h5"
PREDICTIONS = "predictions.h5"
LAYERS = "layers.json"
"""Every call of every layer, as the reference process found them: ``[name, class, config]``."""
REPORT = "report.json"
SCAN = "scan"
"""The side that does nothing but scan."""
SCANNED = "scanned"
"""Is there when a process has scanned the model: what reads it after that comes to an end."""
UNFINISHED: set[Path] = set()
"""Files under way outside the run's folder: a child that its parent ends removes them."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
THREADS = "KERASDIFF_THREADS"
"""Environment variable: how many threads a framework may use, where several runs go on at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What a child is to do.

    Attributes:
        settings: The run's settings.
        folder: Where results and errors go.
        rootdir: Where the manifest is looked for after the model's own folder.
        sys_path: The parent's ``sys.path``, for the user's modules.
        cache: Folder in which references are kept; None where nothing is.
    """

    settings: Settings
    folder: Path
    rootdir: Path
    sys_path: tuple[str, ...]
    cache: Path | None = None

    def write(self) -> Path:
        """Write the job into its folder and return the file."""
        path = self.folder / "job.json"
        path.write_text(
            json.dumps(
                {
                    "settings": self.settings.to_json(),
                    "rootdir": str(self.rootdir),
                    "sys_path": self.sys_path,
                    "cache": str(self.cache) if self.cache is not None else None,
                }
            ),
            "utf-8",
        )
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read what ``write`` wrote."""
        data = json.loads(path.read_text("utf-8"))
        return cls(
            Settings.from_json(data["settings"]),
            path.parent,
            Path(data["rootdir"]),
            tuple(data["sys_path"]),
            Path(data["cache"]) if data["cache"] is not None else None,
        )


def further_of(trace: Path) -> Path:
    """The file of further runs beside a trace, or beside the one that it links to; it is there later."""
    return trace.resolve().with_suffix(".further")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def error_file(folder: Path, side: str) -> Path:
    """File in which a child leaves the one line that says why the run cannot be made."""
    return folder / f"{side}.error.json"


def main(side: str, work: Callable[[Job], None]) -> None:
    """Run one child to its end; does not return.

    The process ends through ``os._exit``, which saves the interpreter's and the frameworks' clean-up: every result is
    on disk by then.
    """
    job = Job.read(Path(sys.argv[1]))
    _end_with_parent(job.folder)
    sys.path[:] = [*job.sys_path, *(p for p in sys.path if p not in job.sys_path)]
    status = 0
    # Importing a framework makes millions of objects that live to the end; collecting them costs up to a third.
    gc.disable()
    try:
        work(job)
    except (RunError, UnwritableError) as error:
        write_error(job.folder, side, str(error))
        status = 2
    except MemoryError as error:
        words = f"out of memory in the {side} process: {' '.join(str(error).split()) or 'it could not be had'}"
        write_error(job.folder, side, f"{job.settings.keras_model}: {words}")
        status = 2
    except OSError as error:
        traceback.print_exc()
        status = 70
        if error.errno in _FULL:
            write_error(job.folder, side, f"{error.filename or job.folder}: cannot be written: {error.strerror}")
            status = 2
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def write_error(folder: Path, side: str, message: str) -> None:
    """Leave the line that says why the run cannot be made; nothing where the disk is full, which the parent sees."""
    path = error_file(folder, side)
    temporary = path.with_suffix(".tmp")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps({"message": " ".join(message.split())}), "utf-8")
        os.replace(temporary, path)


def _end_with_parent(folder: Path) -> None:
    """Exit when standard input ends: the parent holds its other end, and is gone however it ended.

    A parent that was killed could not remove the run's folder.
    """

    def wait() -> None:
        while os.read(0, 4096):
            pass
        for path in tuple(UNFINISHED):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(71)

    threading.Thread(target=wait, daemon=True).start()
