"""What an HDF5 file holds: its links and its arrays."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import IO, Any

GROWS, ALWAYS_ALLOWED_BYTES = 100, 2**26
"""How many times the file's size its content may be, beside 64 MiB."""
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
"""deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf. Others load a library.

Source: HDF5, "Registered Filter Plugins".
"""


def reasons(stream: IO[bytes], size: int, within: str, grows: int = GROWS) -> Generator[str, None, int]:
    """Links out of the file, values kept or computed elsewhere, arrays that are much larger than the file.

    Returns:
        The number of elements in all arrays.
    """
    import h5py

    if size == 0:
        raise ValueError("an empty file")
    with h5py.File(stream, "r") as file:
        seen: set[int] = set()
        pending: list[tuple[str, Any]] = [("", file)]
        declared = elements = 0
        while pending:
            where, group = pending.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in seen:
                continue
            seen.add(address)
            for name in group:
                place = f"{where}/{name}"
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    yield f"{within}{place} is a link to another file ({link.filename})"
                elif isinstance(link, h5py.SoftLink):
                    yield f"{within}{place} is a link to {link.path}, which Keras does not write"
                else:
                    item = group[name]
                    if isinstance(item, h5py.Group):
                        pending.append((place, item))
                    elif isinstance(item, h5py.Dataset):
                        yield from _dataset(f"{within}{place}", item)
                        own = item.size if item.shape is not None else 0
                        declared, elements = declared + own * item.dtype.itemsize, elements + own
        if declared > grows * size + ALWAYS_ALLOWED_BYTES:
            yield f"{within}its arrays declare {declared} bytes, the file has {size}"
    return elements


def _dataset(place: str, dataset: Any) -> Iterator[str]:
    import h5py

    if dataset.external:
        yield f"{place} keeps its values in another file ({dataset.external[0][0]})"
    if dataset.is_virtual:
        yield f"{place} takes its values from other files"
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        yield f"{place} holds references"
    if dataset.dtype.fields or h5py.check_vlen_dtype(dataset.dtype) not in (None, str, bytes):
        yield f"{place} holds records, or arrays of several lengths, which Keras does not write"
    text = h5py.check_string_dtype(dataset.dtype)
    if text is not None and text.length is None:  # each of them may be the same one, as large as the file
        yield f"{place} holds texts of any length, which Keras does not write"
    plist = dataset.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code = plist.get_filter(number)[0]
        if code not in _FILTERS:
            yield f"{place} needs the filter {code} of HDF5, which would be loaded as a library"
