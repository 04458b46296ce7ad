"""Weight files as Keras can read them: under a name that says what they are, and without bfloat16."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from pytest_kerasdiff import modelfile
from pytest_kerasdiff.modelfile import ARCHIVE_WEIGHTS


@contextlib.contextmanager
def readable(path: Path) -> Iterator[Path]:
    """The file itself, or one for the time being in which bfloat16 is float32, or that only has another name.

    Keras goes by the name and not by the content, which is what was scanned. It writes a bfloat16 array as bytes
    without a meaning, two for each element, and does not read it again; only the `.keras` archives of Keras 3 say what
    they are.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="kerasdiff-") as name:
        folder = Path(name)
        if modelfile.is_archive(path):
            with zipfile.ZipFile(path) as archive:
                inner = ARCHIVE_WEIGHTS in archive.namelist() and Path(archive.extract(ARCHIVE_WEIGHTS, folder))
                if inner and _widened(inner):
                    with zipfile.ZipFile(folder / path.name, "w") as copy:
                        for member in archive.namelist():
                            copy.writestr(
                                member, inner.read_bytes() if member == ARCHIVE_WEIGHTS else archive.read(member)
                            )
                    path = folder / path.name
            path = _named(path, (".keras",), folder)
        elif _opaque(path):
            path = Path(shutil.copy(path, folder))
            _widened(path)
        if not modelfile.is_archive(path):
            path = _named(path, (".h5", ".hdf5"), folder)
        yield path


def _named(path: Path, suffixes: Sequence[str], folder: Path) -> Path:
    """The file under a name that ends as Keras expects it of such a file."""
    if path.name.endswith(tuple(suffixes)):
        return path
    link = folder / f"model{suffixes[0]}"
    link.symlink_to(path.absolute())
    return link


def _opaque(path: Path) -> list[str]:
    """Names of the datasets of two bytes without a meaning."""
    found: list[str] = []

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.kind == "V" and node.dtype.itemsize == 2:
            found.append(name)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def _widened(path: Path) -> bool:
    """Whether a file had such datasets; they are made float32 in place."""
    names = _opaque(path)
    if names:
        with h5py.File(path, "a") as file:
            for name in names:
                array = file[name][()]
                upper = np.frombuffer(array.tobytes(), "<u2").astype(np.uint32) << 16
                del file[name]
                file[name] = upper.view(np.float32).reshape(array.shape)
    return bool(names)
