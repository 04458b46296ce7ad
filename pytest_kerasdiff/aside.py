"""An HDF5 file that is written aside and put in place when it is complete; and what is said where it cannot be written.

Once HDF5's library could not write, it may crash when its objects are closed: nothing is closed then, and the process
ends with the error.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py

from pytest_kerasdiff import child
from pytest_kerasdiff.errors import UnwritableError, first_line

_REASON = re.compile(r"error message = '([^']+)'")
"""What the system said. Source: the messages of HDF5's driver ``sec2``, src/H5FDsec2.c."""


class Aside:
    """A file under way; nothing is at its place until ``place`` has been called."""

    def __init__(self, path: Path) -> None:
        """Open a temporary file beside ``path``; what killed processes have left there is removed.

        Raises:
            UnwritableError: It cannot be made.
        """
        self._path, self._failed = path, False
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            if left.suffix[1:].isdigit() and not _lives(int(left.suffix[1:])):
                left.unlink(missing_ok=True)
        child.UNFINISHED.add(self._temporary)
        with self.writing():
            self.file = h5py.File(self._temporary, "w", libver="latest")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Whatever HDF5 raises in here says that the file cannot be written; it is discarded then.

        Raises:
            UnwritableError: It cannot.
        """
        try:
            yield
        except (OSError, RuntimeError) as error:  # h5py raises either
            self._failed = True
            self.discard()
            said = _REASON.search(str(error))
            reason = said[1] if said else getattr(error, "strerror", None) or first_line(error)
            raise UnwritableError(f"{self._path}: cannot be written: {reason}") from error

    def place(self) -> None:
        """Put the complete file in place.

        Raises:
            UnwritableError: The rest of it cannot be written.
        """
        with self.writing():
            self.file.close()
            os.replace(self._temporary, self._path)
        child.UNFINISHED.discard(self._temporary)

    def discard(self) -> None:
        """Give the file up and leave nothing behind."""
        with contextlib.suppress(OSError, RuntimeError):
            if self._failed:
                os.truncate(self._temporary, 0)  # it stays open, and what says so needs room
            else:
                self.file.close()
            self._temporary.unlink()
            child.UNFINISHED.discard(self._temporary)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True
