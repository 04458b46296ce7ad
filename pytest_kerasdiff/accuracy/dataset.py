"""The user's labelled data, read in batches: a ``.npz``, a folder with one sub-folder for each class, or code."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from pytest_kerasdiff import fingerprint, specs
from pytest_kerasdiff.errors import RunError, in_short
from pytest_kerasdiff.options import WHOLE, Shard
from pytest_kerasdiff.trace import Array

OPTION = "--kerasdiff-data"
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_ELEMENTS, _MOST_ROWS = 2**22, 256
"""Elements of one input in a batch, and samples at most: 256 of CIFAR-10, 27 of 224×224 pixels."""

Samples = Array | list[Array]
"""Raw samples of one input: (samples, …), or a list of arrays whose sizes differ."""


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Raw samples of every input in the model's order, and their labels, where the data has any.

    Attributes:
        number: Of the batch in all of the data, from 0 on.
        start: Number of the first sample, likewise.
    """

    samples: tuple[Samples, ...]
    labels: Array | None
    number: int = 0
    start: int = 0

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples[0])

    def digest(self) -> str:
        """Digest of samples and labels, by which two processes know that they have read the same; 32 hex digits."""
        sha = hashlib.sha256()
        for samples in (*self.samples, *(() if self.labels is None else (self.labels,))):
            for sample in samples:
                own = np.ascontiguousarray(sample)
                sha.update(f"{own.dtype.str}{own.shape}".encode())
                sha.update(own.tobytes())
        return sha.hexdigest()[:32]


@dataclasses.dataclass(frozen=True, slots=True)
class Dataset:
    """Data, or a part of it, to be read once, from the first sample to the last.

    Attributes:
        name: The user's words for it.
        samples: How many samples there are in this part; None where only reading tells.
        classes: Name of each class, where folders name them.
        batches: Reads them.
    """

    name: str
    samples: int | None
    classes: tuple[str, ...]
    batches: Callable[[], Iterator[Batch]]


def open_dataset(
    spec: str, inputs: Sequence[str], shapes: Sequence[Sequence[int | None]], shard: Shard = WHOLE
) -> Dataset:
    """Open what ``--kerasdiff-data`` names.

    Args:
        spec: Path of a ``.npz`` or of a folder, or ``module:callable``.
        inputs: Names of the Keras model's inputs in its order.
        shapes: Their shapes with the batch axis; None where a size is free.
        shard: The part of it that is to be read.

    Raises:
        RunError: It is not there, or holds no such data; also while it is read.
    """
    path = Path(spec)
    if fingerprint.is_code(spec):
        return _of_code(spec, inputs, shard)
    if path.is_dir():
        return _of_folder(path, inputs, shapes, shard)
    if not path.is_file():
        raise RunError(f"{path}: no such file or folder ({OPTION})")
    return _of_npz(path, inputs, shapes, shard)


def _rows(elements: int, shapes: Sequence[Sequence[int | None]]) -> int:
    """Samples in a batch: as many as the model is made for, where that is one number."""
    return shapes[0][0] or max(1, min(_MOST_ROWS, _ELEMENTS // max(1, elements)))


def _starts(samples: int, rows: int, shard: Shard) -> Iterator[tuple[int, int]]:
    """Number and first sample of the batches of a part."""
    return ((number, start) for number, start in enumerate(range(0, samples, rows)) if shard.takes(number))


def _samples(samples: int, rows: int, shard: Shard) -> int:
    """How many samples a part has."""
    return sum(min(rows, samples - start) for _, start in _starts(samples, rows, shard))


# -- .npz ------------------------------------------------------------------------------------------------------------


def _of_npz(path: Path, inputs: Sequence[str], model_shapes: Sequence[Sequence[int | None]], shard: Shard) -> Dataset:
    try:
        with zipfile.ZipFile(path) as archive:
            found = {name.removesuffix(".npy") for name in archive.namelist()}
            names = ["x"] if len(inputs) == 1 and "x" in found else list(inputs)
            has_labels = "y" in found and "y" not in names
            missing = [name for name in names if name not in found]
            if missing:
                wanted = "x" if len(inputs) == 1 else ", ".join(inputs)
                raise RunError(f"{path}: holds {', '.join(sorted(found))}; expected {wanted}, and y for the labels")
            columns = [*names, *(["y"] if has_labels else [])]
            shapes = {name: _header(archive, name)[0] for name in columns}
    except RunError as error:
        raise RunError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except Exception as error:  # of a damaged file numpy, zipfile and zlib raise whatever they meet
        raise RunError(f"{path}: not a .npz file: {in_short(error)}") from None
    lengths = {name: shape[0] if shape else 0 for name, shape in shapes.items()}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise RunError(f"{path}: expected equally many samples, at least one: {counts}")
    rows = _rows(max(int(np.prod(shapes[name][1:], dtype=np.int64)) for name in names), model_shapes)

    def batches() -> Iterator[Batch]:
        try:
            with contextlib.ExitStack() as stack:
                archive = stack.enter_context(zipfile.ZipFile(path))
                readers = [stack.enter_context(contextlib.closing(_blocks(archive, n, rows))) for n in columns]
                for number, arrays in enumerate(zip(*readers, strict=True)):
                    if shard.takes(number):
                        yield Batch(arrays[: len(names)], arrays[-1] if has_labels else None, number, number * rows)
        except Exception as error:
            raise RunError(f"{path}: cannot be read to its end: {in_short(error)}") from None

    return Dataset(str(path), _samples(lengths[names[0]], rows, shard), (), batches)


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with archive.open(f"{name}.npy") as file:
        return _read_header(file, name)


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and dtype of an array.

    Source: numpy.lib.format, "Format Version 1.0" and "2.0".
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "biuf":
        raise RunError(f"{name} is of dtype {dtype}; expected numbers, without pickles")
    if min(shape, default=0) < 0:
        raise ValueError(f"{name} has shape {shape}")
    return shape, fortran, dtype


def _blocks(archive: zipfile.ZipFile, name: str, rows: int) -> Generator[Array, None, None]:
    """The rows of an array, so many at a time; only these are in memory, except of one in Fortran's order."""
    with archive.open(f"{name}.npy") as file:
        shape, fortran, dtype = _read_header(file, name)
        if fortran:
            flat = np.frombuffer(file.read(), dtype)
            whole = flat.reshape(shape, order="F")
            yield from (whole[start : start + rows] for start in range(0, shape[0], rows))
            return
        each = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        for start in range(0, shape[0], rows):
            count = min(rows, shape[0] - start)
            data = file.read(count * each)
            if len(data) < count * each:
                raise EOFError(f"{name} ends after {start} samples and a bit")
            yield np.frombuffer(data, dtype).reshape(count, *shape[1:])


# -- a folder --------------------------------------------------------------------------------------------------------


def _of_folder(path: Path, inputs: Sequence[str], shapes: Sequence[Sequence[int | None]], shard: Shard) -> Dataset:
    if len(inputs) != 1:
        raise RunError(f"{path}: a folder holds the samples of one input; the Keras model has {', '.join(inputs)}")
    folders = (entry.name for entry in path.iterdir() if entry.is_dir())
    classes = sorted(name for name in folders if not name.startswith((".", "__")))  # __MACOSX, which archives leave
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((path / name).rglob("*"))
        if file.suffix.lower() in (*_IMAGES, ".npy") and file.is_file()
    ]
    if not files:
        raise RunError(
            f"{path}: expected one sub-folder for each class with images ({', '.join(_IMAGES)}) or .npy files in it"
        )
    is_grey = len(shapes[0]) == 4 and shapes[0][-1] == 1
    rows = _rows(_sample(files[0][0], is_grey).size, shapes)

    def batches() -> Iterator[Batch]:
        for number, start in _starts(len(files), rows, shard):
            some = files[start : start + rows]
            samples = [_sample(file, is_grey) for file, _ in some]
            labels = np.array([label for _, label in some], np.int64)
            same = len({sample.shape for sample in samples}) == 1
            yield Batch((np.stack(samples) if same else samples,), labels, number, start)

    return Dataset(str(path), _samples(len(files), rows, shard), tuple(classes), batches)


def _sample(file: Path, is_grey: bool) -> Array:
    """One raw sample: pixels (H, W, 3) or, for a model of one channel, (H, W, 1), uint8; what a ``.npy`` holds."""
    try:
        if file.suffix.lower() == ".npy":
            loaded: Array = np.load(file, allow_pickle=False)
            if loaded.dtype.kind not in "biuf":
                raise ValueError(f"of dtype {loaded.dtype}, expected numbers")
            return loaded
        from PIL import Image

        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"pixels of more than 8 bits (mode {image.mode}); save them as .npy")
            pixels = np.asarray(image.convert("L" if is_grey else "RGB"))
        return pixels[..., None] if is_grey else pixels
    except ImportError:
        raise RunError(f"{file}: reading images needs Pillow: pip install 'pytest-kerasdiff[accuracy]'") from None
    except Exception as error:  # Pillow raises whatever its decoders do
        raise RunError(f"{file}: cannot be read: {type(error).__name__}: {error}") from None


# -- code ------------------------------------------------------------------------------------------------------------


def _of_code(spec: str, inputs: Sequence[str], shard: Shard) -> Dataset:
    function = specs.load(spec, OPTION)

    def batches() -> Iterator[Batch]:
        try:
            given: Iterable[Any] = function()
            start = 0
            for number, item in enumerate(given):
                batch = _batch(item, spec, inputs)
                if shard.takes(number):
                    yield dataclasses.replace(batch, number=number, start=start)
                start += len(batch)
        except RunError:
            raise
        except (Exception, SystemExit) as error:
            raise RunError(
                f"{OPTION}: {spec} raised {type(error).__name__}: {error}{specs.innermost_line(error)}"
            ) from None

    return Dataset(spec, None, (), batches)


def _batch(item: Any, spec: str, inputs: Sequence[str]) -> Batch:
    """One batch as the user's code gives it: x, or (x, y); x is an array, or a dict of them by the inputs' names."""
    if isinstance(item, tuple) and len(item) > 2:
        raise RunError(
            f"{OPTION}: {spec} gives {len(item)} elements, expected x or (x, y); leave weights of samples out"
        )
    x, y = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
    named = x if isinstance(x, dict) else {inputs[0]: x}
    missing = [name for name in inputs if name not in named]
    if missing:
        raise RunError(f"{OPTION}: {spec} gives no {', '.join(missing)}; the Keras model takes {', '.join(inputs)}")
    samples = tuple(_array(named[name], spec) for name in inputs)
    labels = None if y is None else _array(y, spec)
    lengths = [len(array) if array.ndim else 0 for array in (*samples, *(() if labels is None else (labels,)))]
    if len(set(lengths)) > 1 or not lengths[0]:
        raise RunError(f"{OPTION}: {spec} gives a batch of {', '.join(map(str, lengths))} samples and labels")
    return Batch(samples, labels)


def _array(given: Any, spec: str) -> Array:
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    array = np.asarray(given.numpy() if callable(getattr(given, "numpy", None)) else given)
    if array.dtype.kind not in "biuf":
        raise RunError(f"{OPTION}: {spec} gives {type(given).__name__}, expected batches of numbers: x, or (x, y)")
    return array
