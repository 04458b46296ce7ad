"""Which known transformation makes a Keras weight of what the port holds. Arrays only; no layer, no operation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.trace import Array

_SAMPLE = 64
"""Elements compared before a whole array is brought into another order."""
_AXES = {1: ("K",), 2: ("H", "W"), 3: ("D", "H", "W")}


def spatial_names(dimensions: int) -> tuple[str, ...]:
    """Names of the axes of a kernel's window."""
    return _AXES.get(dimensions, tuple(f"axis {i}" for i in range(dimensions)))


def same(first: Array, second: Array) -> bool:
    """Whether two arrays hold the same float32 elements in the same order, whatever their shapes."""
    if first.size != second.size:
        return False
    places = np.unique(np.linspace(0, first.size - 1, min(_SAMPLE, first.size)).astype(np.int64))
    some, others = (np.asarray(array[np.unravel_index(places, array.shape)], np.float32) for array in (first, second))
    if not np.array_equal(some, others):
        return False
    return np.array_equal(np.asarray(first, np.float32).ravel(), np.asarray(second, np.float32).ravel())


def rearrangement(
    kernel: Array, axes: Sequence[str], right: Sequence[int], port: Array, merged: bool = False
) -> str | None:
    """How an array is a rearrangement of a kernel, in words.

    Args:
        kernel: Keras's, in its own layout.
        axes: Names of its axes.
        right: The order of axes that torch wants.
        port: What the port holds.
        merged: Torch has the first two of these axes as one.

    Returns:
        None where it is none of those that ports are known for.
    """
    orders = sorted(itertools.permutations(range(kernel.ndim)), key=lambda order: _moved(order, right, kernel.shape))
    for order in orders:
        turned = kernel.transpose(order)
        if same(turned, port):
            words = _order_in_words(order, axes, right)
            plain = merged or turned.squeeze().shape == port.squeeze().shape
            if order == tuple(range(kernel.ndim)) and not plain:
                return "reshaped instead of transposed"
            return words if plain else f"{words}, then reshaped"
    wanted, names = kernel.transpose(tuple(right)), [axes[i] for i in right]
    if wanted.size != port.size:
        return None
    return _flipped(wanted, names, port) or _reordered(wanted, names, port)


def _moved(order: Sequence[int], right: Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
    """How many axes stand elsewhere, and how many of them have but one element."""
    moved = [a for a, b in zip(order, right, strict=True) if a != b]
    return len(moved), sum(shape[a] == 1 for a in moved)


def _order_in_words(order: Sequence[int], axes: Sequence[str], right: Sequence[int]) -> str:
    wrong = sorted(a for a, b in zip(order, right, strict=True) if a != b)
    if len(wrong) == 2:
        return f"{axes[wrong[0]]} and {axes[wrong[1]]} exchanged"
    return f"axes in the order ({', '.join(axes[i] for i in order)}) for ({', '.join(axes[i] for i in right)})"


def _flipped(wanted: Array, names: Sequence[str], port: Array) -> str | None:
    spatial = [i for i, name in enumerate(names) if name not in ("in", "out", "multiplier") and wanted.shape[i] > 1]
    for number in range(1, len(spatial) + 1):
        for chosen in itertools.combinations(spatial, number):
            if same(np.flip(wanted, chosen), port):
                if number == len(spatial) == 2:
                    return "rotated by 180°"
                return f"flipped along {' and '.join(names[i] for i in chosen)}"
    return None


def _reordered(wanted: Array, names: Sequence[str], port: Array) -> str | None:
    for axis, name in enumerate(names):
        if name not in ("in", "out") or wanted.shape[axis] < 2:
            continue
        order = order_along(wanted, port.reshape(wanted.shape), axis)
        if order is not None:
            backwards = order == list(range(len(order)))[::-1]
            how = "in reverse order" if backwards else f"in the order {in_brief(order)}"
            return f"{'input' if name == 'in' else 'output'} channels {how}"
    return None


def order_along(wanted: Array, port: Array, axis: int) -> list[int] | None:
    """Which slice of one array each slice of another is, along an axis; None where they are not the same slices."""
    ours, theirs = (_rows(array, axis) for array in (port, wanted))
    where: dict[bytes, list[int]] = {}
    for number, row in enumerate(theirs):
        where.setdefault(row.tobytes(), []).append(number)
    found = []
    for row in ours:
        left = where.get(row.tobytes())
        if not left:
            return None
        found.append(left.pop(0))
    return found


def _rows(array: Array, axis: int) -> npt.NDArray[np.float32]:
    moved = np.moveaxis(np.asarray(array, np.float32), axis, 0).reshape(array.shape[axis], -1)
    return np.ascontiguousarray(moved + np.float32(0))  # -0.0 becomes 0.0


def in_brief(numbers: Sequence[int]) -> str:
    """A few numbers."""
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")


def flattened_otherwise(kernel: Array, shape: Sequence[int], port: Array) -> tuple[int, ...] | None:
    """The order in which rows of a Dense kernel are read, where it is another one than that of Flatten.

    Args:
        kernel: Keras's, (in, out).
        shape: Of what Flatten takes, without the batch.
        port: What the port holds, (in, out).
    """
    if math.prod(shape) != len(kernel) or port.shape != kernel.shape:
        return None
    rows = np.arange(len(kernel)).reshape(tuple(shape))
    for order in itertools.permutations(range(len(shape))):
        for moved in _both_ways(rows, order):
            if not np.array_equal(moved, rows.ravel()) and same(kernel[moved], port):
                return order
    return None


def _both_ways(rows: npt.NDArray[np.int64], order: tuple[int, ...]) -> Iterator[npt.NDArray[np.int64]]:
    moved = rows.transpose(order).ravel()
    yield moved
    yield np.argsort(moved)


def blocks_in_order(wanted: Array, port: Array, parts: int) -> tuple[int, ...] | None:
    """Which of the equal parts along the first axis stands where; None where the parts are not the same."""
    if wanted.shape != port.shape or len(wanted) % parts:
        return None
    ours, theirs = np.split(port, parts), np.split(wanted, parts)
    if all(same(a, b) for a, b in zip(ours, theirs, strict=True)):
        return tuple(range(parts))
    orders = itertools.permutations(range(parts))
    return next((o for o in orders if all(same(ours[i], theirs[j]) for i, j in enumerate(o))), None)


def distance(first: Array, second: Array) -> npt.NDArray[np.float64]:
    """|Δ| of each element."""
    return np.abs(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def likeness(first: Array, second: Array) -> float:
    """Correlation of two arrays of one size, 0 where one of them is constant."""
    a, b = (np.asarray(array, np.float64).ravel() for array in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0


def rounded(wanted: Array, port: Array) -> str:
    """The 16-bit format that an array is a float32 one's rounding to; empty where it is none."""
    for kind, through in SIXTEEN_BITS.items():
        if np.array_equal(port, through(wanted)):
            return kind
    return ""


def _through_float16(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


def _through_bfloat16(array: Array) -> Array:
    """float32 rounded to bfloat16, to nearest even: the upper 16 bits, after adding half of what is cut off."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    cut = (bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000)
    return cut.astype(np.uint32).view(np.float32)


SIXTEEN_BITS: Mapping[str, Callable[[Array], Array]] = {"float16": _through_float16, "bfloat16": _through_bfloat16}
"""16-bit formats, and what makes float32 elements of such."""


def constant_of(array: Array) -> float | None:
    """The one value that all elements have; None where they differ."""
    flat = array.ravel()
    return float(flat[0]) if flat.size and bool(np.all(flat == flat[0])) else None
