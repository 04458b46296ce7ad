"""Named axes: what each dimension of an array means, and rearranging arrays by meaning instead of by size.

The axes of an array are one tuple for each dimension. A dimension is made of parts, outermost first: a part
``(name, stride, size)`` runs through ``size`` positions of the named axis, ``stride`` apart. ``(("h", 1, 32),)`` is a
whole axis, ``(("h", 1, 8), ("w", 1, 8), ("c", 1, 16))`` a flattened feature map, ``()`` a dimension of size 1.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.trace import Array

Part = tuple[str, int, int]
Dimension = tuple[Part, ...]
Axes = tuple[Dimension, ...]


class AxesError(ValueError):
    """Two arrays' axes cannot be brought together."""


def whole(name: str, size: int) -> Dimension:
    """A dimension that is one axis from end to end."""
    return ((name, 1, size),) if size != 1 else ()


def resized(dimension: Dimension, size: int, fresh: Callable[[], str]) -> Dimension:
    """The dimension after a window (convolution, pooling, padding, a crop) has run along it.

    Its name stays, so that a layer that pads and one that does not agree on what the axis is, also where a single
    position is left; what was a part of an axis, or several, becomes an axis of its own with a name that both sides
    derive alike.
    """
    if not dimension:
        return whole(fresh(), size)
    return ((window_name(dimension), 1, size),)


def is_unit(dimension: Dimension) -> bool:
    """Whether a dimension has one position only."""
    return all(size == 1 for _, _, size in dimension)


def without_units(axes: Axes, other: Axes) -> Axes:
    """The axes without those of a single position that the other side does not name: a movement may have lost them."""
    known = names(other)
    return tuple(tuple(part for part in dimension if part[2] != 1 or part[0] in known) for dimension in axes)


def window_name(dimension: Dimension) -> str:
    """Name of the axis that a dimension is to a window."""
    if len(dimension) == 1 and dimension[0][1] == 1:
        return dimension[0][0]
    return "+".join(f"{name}/{stride}" for name, stride, _ in dimension)


def names(axes: Axes) -> set[str]:
    """Names that occur."""
    return {part[0] for dimension in axes for part in dimension}


def rearrange(array: Array, have: Axes, want: Axes) -> Array:
    """Bring an array whose axes are ``have`` into the shape and order of ``want``; sizes are the array's own.

    Raises:
        AxesError: The two do not speak of the same axes.
    """
    if have == want:
        return array
    have = _with_sizes(have, array.shape)
    want = _with_sizes_of(want, have)
    have, want = without_units(have, want), without_units(want, have)
    bounds = _bounds(have, want)
    from_parts = [part for dimension in have for piece in dimension for part in _split(piece, bounds)]
    sizes = {(name, stride): size for name, stride, size in from_parts}
    to_dimensions = [[part for piece in dimension for part in _split(piece, bounds)] for dimension in want]
    wanted = [(name, stride) for dimension in to_dimensions for name, stride, _ in dimension]
    given = [(name, stride) for name, stride, _ in from_parts]
    if sorted(wanted) != sorted(given) or len(set(given)) != len(given):
        raise AxesError(f"axes {describe(have)} cannot become {describe(want)}")
    spread = array.reshape([size for _, _, size in from_parts])
    moved = spread.transpose([given.index(part) for part in wanted])
    return moved.reshape(
        [int(np.prod([sizes[name, stride] for name, stride, _ in dimension], dtype=int)) for dimension in to_dimensions]
    )


def _with_sizes(axes: Axes, shape: Sequence[int]) -> Axes:
    """Axes with whole parts taking the array's own sizes, which a wrong port may have changed."""
    fixed = []
    for dimension, size in zip(axes, shape, strict=True):
        if len(dimension) == 1 and dimension[0][1] == 1:
            dimension = ((dimension[0][0], 1, size),)
        if int(np.prod([part[2] for part in dimension], dtype=int)) != size:
            raise AxesError(f"axes {describe(axes)} do not fit shape {tuple(shape)}")
        fixed.append(dimension)
    return tuple(fixed)


def _with_sizes_of(axes: Axes, other: Axes) -> Axes:
    """Axes with those that are whole on both sides taking the other's sizes."""
    counts = Counter(part[0] for dimension in (*axes, *other) for part in dimension)
    sizes = {name: size for dimension in other for name, stride, size in dimension if stride == 1 and counts[name] == 2}
    return tuple(
        tuple((name, stride, sizes.get(name, size) if stride == 1 else size) for name, stride, size in dimension)
        for dimension in axes
    )


def _bounds(*several: Axes) -> dict[str, set[int]]:
    bounds: dict[str, set[int]] = {}
    for axes in several:
        for dimension in axes:
            for name, stride, size in dimension:
                bounds.setdefault(name, set()).update((stride, stride * size))
    return bounds


def _split(part: Part, bounds: dict[str, set[int]]) -> list[Part]:
    """Cut a part where the other side's parts of the same axis begin, outermost first."""
    name, stride, size = part
    cuts = [
        b for b in sorted(bounds[name]) if stride < b < stride * size and b % stride == 0 and stride * size % b == 0
    ]
    edges = [stride, *cuts, stride * size]
    pieces = [(name, low, high // low) for low, high in itertools.pairwise(edges)]
    return pieces[::-1]


def decode(moved: npt.NDArray[np.int64], axes: Axes, fresh: Callable[[], str]) -> Axes | None:
    """Read off what a movement did, from what it made of ``arange``.

    Args:
        moved: The movement's output for an input whose elements are their own positions.
        axes: The input's axes.
        fresh: Gives a new name, for what was repeated.

    Returns:
        The output's axes; None where the output is not an arrangement of axes (a shuffle, a gather).
    """
    if not moved.size:
        return None
    base = int(moved.flat[0])
    lines = [
        moved[tuple(slice(None) if d == axis else 0 for d in range(moved.ndim))] - base for axis in range(moved.ndim)
    ]
    rebuilt: Any = base
    for axis, line in enumerate(lines):
        rebuilt = rebuilt + line.reshape([-1 if d == axis else 1 for d in range(moved.ndim)])
    if not np.array_equal(np.broadcast_to(rebuilt, moved.shape), moved):
        return None
    parts = [part for dimension in axes for part in dimension]
    total = int(np.prod([part[2] for part in parts], dtype=int))
    cropped = moved.size < total
    result: list[Dimension] = []
    for line in lines:
        dimension: list[Part] = []
        runs = _runs(line)
        if runs is None:
            return None
        for stride, count in runs:
            found = _locate(stride, count, parts, fresh)
            if found is None:
                return None
            dimension += found
        result.append(tuple(dimension))
    if cropped:
        counts = Counter(part[0] for dimension in result for part in dimension)
        result = [_maybe_cropped(d[0], axes, counts[d[0][0]] == 1) if len(d) == 1 else d for d in result]
    return _with_units(tuple(result), axes)


def _with_units(moved: Axes, axes: Axes) -> Axes:
    """The axes after a movement, with the names of those of which it shows a single position."""
    lost = [dimension for dimension in axes if not names((dimension,)) & names(moved)]
    if len(moved) != len(axes) or len(lost) != sum(not dimension for dimension in moved):
        return moved
    units = (((window_name(dimension), 1, 1),) if dimension else () for dimension in lost)
    return tuple(dimension or next(units) for dimension in moved)


def _maybe_cropped(part: Part, axes: Axes, alone: bool) -> Dimension:
    """A part as an axis of its own, where it is one that lost positions at its ends, or all but every second."""
    for dimension in axes:
        if len(dimension) == 1 and dimension[0][0] == part[0] and dimension[0][2] != part[2]:
            sampled = alone and dimension[0][1] == 1 and part[1] > 1
            if sampled or dimension[0][1] == part[1]:
                return whole(window_name(dimension), part[2])
    return (part,)


def _runs(line: npt.NDArray[np.int64]) -> list[tuple[int, int]] | None:
    """A line of offsets as nested loops (stride, count), outermost first; None where it is not such."""
    runs: list[tuple[int, int]] = []
    while line.size > 1:
        stride = int(line[1])
        expected = np.arange(line.size, dtype=np.int64) * stride
        different = np.flatnonzero(line != expected)
        count = int(different[0]) if different.size else line.size
        if line.size % count:
            return None
        blocks = line.reshape(-1, count)
        if not np.array_equal(blocks - blocks[:, :1], np.broadcast_to(expected[:count], blocks.shape)):
            return None
        runs.insert(0, (abs(stride), count))
        line = blocks[:, 0]
    return runs


def _locate(stride: int, count: int, parts: Sequence[Part], fresh: Callable[[], str]) -> list[Part] | None:
    """The parts that a run of positions in the flattened input goes through, outermost first."""
    if stride == 0:
        return list(whole(fresh(), count))
    linear = 1
    for position in range(len(parts) - 1, -1, -1):
        name, part_stride, size = parts[position]
        if stride < linear * size:
            if stride % linear:
                return None
            step = stride // linear
            if size % step and count * step > size:
                return None
            available = size // step if size % step == 0 else count
            if count <= available:
                return [(name, part_stride * step, count)]
            if count % available:
                return None
            outer = _locate(linear * size, count // available, parts, fresh)
            return None if outer is None else [*outer, (name, part_stride * step, available)]
        linear *= size
    return None


def describe(axes: Axes) -> str:
    """Axes as a reader sees them: ``(batch, h·w·c)``."""
    return "(" + ", ".join("·".join(name for name, _, _ in dimension) or "1" for dimension in axes) + ")"
