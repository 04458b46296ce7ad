"""The members of a ``.keras`` file."""

from __future__ import annotations

import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from pytest_kerasdiff.scan import arrays

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npz")


def reasons(archive: zipfile.ZipFile, size: int) -> Iterator[str]:
    """Members that would leave the folder they are put into, hold pickles, or are much larger than the archive."""
    members = archive.infolist()
    names = Counter(member.filename for member in members)
    for member in members:
        name = member.filename
        own = PurePosixPath(name.replace("\\", "/"))
        if own.is_absolute() or ".." in own.parts or ":" in name or "\0" in name:
            yield f"the member {name!r} would be put outside the folder it is unpacked into"
        if stat.S_ISLNK(member.external_attr >> 16):
            yield f"the member {name!r} is a link"
        if own.suffix.lower() in _PICKLES:
            yield f"the member {name!r} may hold a pickle, which can run code"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # What others unpack to is known only when it is unpacked.
            yield f"the member {name!r} is compressed in a way that Keras does not use"
        if member.flag_bits & 1:
            yield f"the member {name!r} is encrypted"
        if names[name] > 1:
            yield f"the member {name!r} is there twice"
    total = sum(member.file_size for member in members)
    if total > arrays.GROWS * size + arrays.ALWAYS_ALLOWED_BYTES:
        yield f"{size} bytes that unpack to {total}"
