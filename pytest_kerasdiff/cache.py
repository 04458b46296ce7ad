"""Reference traces that are kept between runs, so that Keras need not run again on what it has run on.

An entry is a trace file under the name of all that it depends on, and beside it that of further runs, and a small file
that tells the layers and the checksums of both; or Keras's predictions for the user's data, without further runs. All
are written aside and renamed, the small one last: where it fits, the entry is complete and whole. One process at a time
makes an entry; the others wait for its lock, which the system gives back where its holder dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child, fingerprint
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings

LIMIT_BYTES = 2 * 2**30
"""How much is kept; what was used longest ago leaves first."""
_IN_USE_S = 600.0
"""How long an entry stays at least after its last use: a run may still be reading it."""
_WAIT_S = 600.0
_PART_BYTES = 2**20
_LOCKS = 64
"""Locks are files that nobody may remove, so there are so many and not one for each entry."""


def entry(folder: Path | None, settings: Settings, stated: Manifest) -> Path | None:
    """Where the trace of a run is kept; None where it is not.

    What the user's own code makes is not kept: that may read files of which nothing is known here.
    """
    if folder is None or settings.no_cache or settings.keras is not None or stated.preprocess is not None:
        return None
    return folder / f"{fingerprint.of_run(settings, stated)}.h5"


def entry_of_predictions(folder: Path | None, settings: Settings, stated: Manifest) -> Path | None:
    """Where Keras's predictions for the user's data are kept; None where they are not, for the same reason."""
    if settings.data is None or fingerprint.is_code(settings.data) or entry(folder, settings, stated) is None:
        return None
    assert folder is not None
    return folder / f"{fingerprint.of_predictions(settings, stated)}.h5"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time look for an entry, and make it where it is missing.

    Raises:
        RunError: Another process has been at it for too long, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        ignored = path.parent / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n", "utf-8")
        lock = FileLock(path.parent / f"lock-{int(path.stem[:8], 16) % _LOCKS}")
        lock.acquire(timeout=_WAIT_S)
    except Timeout:
        raise RunError(
            f"another run has been making the reference of this model for {_WAIT_S:g} s ({path.parent}): wait for it, "
            "or run with --kerasdiff-no-cache"
        ) from None
    except OSError as error:
        raise RunError(
            f"{path.parent}: the cache cannot be written: {error.strerror or error}; run with --kerasdiff-no-cache"
        ) from None
    try:
        for begun in path.parent.glob(f".{path.stem}.*"):  # by a process that was killed, for nobody else makes it now
            begun.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def use(path: Path) -> list[list[Any]] | None:
    """The layers of an entry, which from now on is the one used last; None where it is not there, or not whole.

    What is there of it is removed then: nobody may be at it, but for the one who holds its lock.
    """
    try:
        said = json.loads(_beside(path).read_text("utf-8"))
        if said["checksums"] == _checksums(path, len(said["checksums"]) > 1):
            os.utime(path)
            return list(said["layers"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _remove(path)
    return None


def complete(path: Path, layers: list[list[Any]], has_further: bool = True) -> None:
    """Say that an entry is complete.

    Args:
        path: Of the entry.
        layers: Name, class and config of every call of every layer.
        has_further: Whether a file of further runs belongs to it.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}")
    temporary.write_text(json.dumps({"checksums": _checksums(path, has_further), "layers": layers}), "utf-8")
    os.replace(temporary, _beside(path))


def _checksums(path: Path, has_further: bool) -> list[int]:
    """Of the files of an entry. A disk may lose or change what was written; nobody is kept from changing both."""
    found = []
    for file in (path, child.further_of(path)) if has_further else (path,):
        checksum = 0
        with file.open("rb") as stream:
            while part := stream.read(_PART_BYTES):
                checksum = zlib.crc32(part, checksum)
        found.append(checksum)
    return found


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _remove(path: Path) -> None:
    for file in (_beside(path), child.further_of(path), path):
        with contextlib.suppress(FileNotFoundError):
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink()


def shrink(folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
    """Remove what was used longest ago until the rest is within the limit, and what a killed process has begun."""
    now, total = time.time(), 0
    entries = []
    try:
        found = list(folder.iterdir())
    except FileNotFoundError:  # somebody cleared the cache meanwhile
        return
    for path in found:
        with contextlib.suppress(OSError):
            if path.suffix == ".h5" or path.name.startswith("."):
                further = child.further_of(path)
                size = path.stat().st_size + (further.stat().st_size if further.exists() else 0)
                entries.append((path.stat().st_mtime, size, path))
    for used, size, path in sorted(entries, reverse=True):
        if path.name == ".gitignore":
            continue
        total += size
        if (total > limit_bytes or path.name.startswith(".")) and now - used > _IN_USE_S:
            _remove(path)
            total -= size
