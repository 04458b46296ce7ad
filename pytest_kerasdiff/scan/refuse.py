"""What is refused, and why: the one line that a scan comes to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pytest_kerasdiff import modelfile
from pytest_kerasdiff.errors import RunError, in_short
from pytest_kerasdiff.scan import archive, arrays, config, folder

_DEFLATES = 1100
"""How many times its size the content may be of a recorded reference, which is compressed: activations may all be 0.

Source: zlib's limit is 1,032.
"""


def model(path: Path, trust: bool, reads_config: bool = True) -> None:
    """Look at a file as it stands, and at nothing that it refers to.

    Args:
        path: A ``.h5``, ``.hdf5``, ``.keras`` or a SavedModel folder.
        trust: Let code stored in it pass; what is no code is refused all the same.
        reads_config: Whether Keras will build the model that the file describes.

    Raises:
        RunError: It is refused, for a reason that names the layer or the member.
    """
    try:
        reason = next(_reasons(path, trust, reads_config), None)
    except RunError:
        raise
    except PermissionError:
        raise RunError(f"{path}: cannot be read: permission denied") from None
    except RecursionError:
        reason = "its config is nested too deeply"
    except Exception as error:  # what h5py and zipfile raise of a damaged file is whatever they meet
        raise RunError(f"{path}: damaged, or not as Keras writes it: {in_short(error)}") from None
    if reason is not None:
        raise RunError(f"{path}: refused: {reason}")


def recorded(path: Path) -> None:
    """Look at a recorded reference as ``model`` does at a model; who reads it says what is no such file.

    Raises:
        RunError: It is refused, for a reason that names the place.
    """
    if not modelfile.is_hdf5(path):
        return
    try:
        with path.open("rb") as stream:
            reason = next(arrays.reasons(stream, path.stat().st_size, "", _DEFLATES), None)
    except Exception as error:  # as above: an object that h5py cannot even look at hides what comes after it
        raise RunError(f"{path}: a damaged recorded reference: {in_short(error)}") from None
    if reason is not None:
        raise RunError(f"{path}: refused: {reason}")


def _reasons(path: Path, trust: bool, reads_config: bool) -> Iterator[str]:
    elements: int | None = None
    modelfile.demand(path)
    if path.is_dir():
        yield from folder.reasons(path)
        file = modelfile.read(path)
    elif modelfile.is_archive(path):
        with modelfile.archive(path) as opened:
            yield from archive.reasons(opened, path.stat().st_size)
            file = modelfile.read(path)
            elements = 0
            if modelfile.ARCHIVE_WEIGHTS in opened.namelist():
                member = opened.getinfo(modelfile.ARCHIVE_WEIGHTS)
                with opened.open(member) as stream:
                    # What is stored as it is can be read here and there; else that would unpack it again and again.
                    plain = member.compress_type == zipfile.ZIP_STORED
                    content = stream if plain else io.BytesIO(stream.read())
                    elements = yield from arrays.reasons(content, member.file_size, f"{modelfile.ARCHIVE_WEIGHTS}: ")
    else:
        file = modelfile.read(path)  # what is no model at all is said in its own words
        with path.open("rb") as stream:
            elements = yield from arrays.reasons(stream, path.stat().st_size, "")
    if reads_config:
        yield from config.reasons(file.config, trust, elements)
        calls = modelfile.count_calls(file.config or {})
        if calls > modelfile.MOST_CALLS:
            yield f"it calls its layers {calls} times, models in models multiplied"
