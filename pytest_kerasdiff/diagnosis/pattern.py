"""What the error of a layer looks like, where nothing explains it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.trace import ReplayError

Floats = npt.NDArray[np.float64]
_ALIKE = 1e-6
"""Relative difference under which errors are the same number."""


def describe(case: Case) -> str:
    """What the layer's error looks like: where it is, and whether it is one number, a factor, or an order."""
    value, keras = case.value, case.layer.outputs[0]
    expected = case.reference.values[keras]
    if value is None:
        return "no torch value stands for this layer"
    try:
        given = case.judge.candidate.run([value], case.judge.feed(case.position, value))[value]
        port = case.judge.layouts.to_keras(given, value, keras)
    except (AxesError, ReplayError, ValueError) as error:
        return f"cannot be run alone: {error}"
    if port.shape != expected.shape:
        return f"shape {port.shape}, expected {expected.shape}"
    isolated = case.verdict.isolated
    limit = isolated.limit if isolated is not None else 0.0
    return "; ".join(of(np.asarray(port, np.float64), np.asarray(expected, np.float64), limit)) or "no known pattern"


def of(port: Floats, keras: Floats, limit: float) -> Iterator[str]:
    """Patterns of an error.

    Args:
        port: (N, …, C) in Keras's layout.
        keras: The same of Keras.
        limit: Largest difference that is none.
    """
    difference = port - keras
    wrong = ~(np.abs(difference) <= limit)
    if not wrong.any():
        return
    yield from _where(wrong)
    yield from _how(port, keras, difference, limit)


def _where(wrong: npt.NDArray[np.bool_]) -> Iterator[str]:
    """The part of the elements that differ."""
    names = _axes(wrong.ndim)
    if wrong.all():
        yield "every element differs"
        return
    if wrong.ndim > 2:
        inner = wrong[(slice(None), *[slice(1, -1)] * (wrong.ndim - 2))]
        if inner.size and not inner.any():
            yield "the border alone differs"
    for axis in range(wrong.ndim):
        others = tuple(a for a in range(wrong.ndim) if a != axis)
        touched = wrong.any(axis=others)
        if touched.all():
            continue
        places = np.flatnonzero(touched)
        run = places[-1] - places[0] + 1 == len(places)
        where = f"{places[0]} to {places[-1]}" if run and len(places) > 1 else ", ".join(map(str, places[:8]))
        yield f"{names[axis]} {where}{' …' * (not run and len(places) > 8)} of {wrong.shape[axis]} differ, no other"


def _axes(dimensions: int) -> list[str]:
    middle = {1: ["steps"], 2: ["rows", "columns"], 3: ["slices", "rows", "columns"]}
    inner = middle.get(dimensions - 2, [f"axis {i}" for i in range(1, dimensions - 1)])
    return ["samples", *inner, "channels"] if dimensions > 1 else ["samples"]


def _how(port: Floats, keras: Floats, difference: Floats, limit: float) -> Iterator[str]:
    """What was done to the elements that differ."""
    if not np.isfinite(port).all() or not np.isfinite(keras).all():
        yield "NaN or infinite elements are among them"
        return
    scale = max(float(np.abs(keras).max(initial=0)), 1e-300)

    def alike(first: Floats, second: Floats) -> bool:
        return bool(np.abs(first - second).max(initial=0) <= max(limit, _ALIKE * scale))

    if np.ptp(difference) <= _ALIKE * scale:
        yield f"by the same number everywhere, {difference.flat[0]:.6g}"
    elif port.ndim > 1 and all(np.ptp(d) <= _ALIKE * scale for d in np.moveaxis(difference, -1, 0)):
        yield "by one number for each channel"
    product = float(np.sum(port * keras))
    factor = product / max(float(np.sum(keras * keras)), 1e-300)
    if factor and alike(port, factor * keras):
        yield f"by the factor {factor:.6g}"
    for axis, name in enumerate(_axes(port.ndim)):
        if port.shape[axis] > 1 and alike(np.flip(port, axis), keras):
            yield f"in reverse order along {name}"
    if port.ndim == 4 and port.shape[1] == port.shape[2] and alike(port.swapaxes(1, 2), keras):
        yield "rows and columns exchanged"
    if np.array_equal(np.sort(port, None), np.sort(keras, None)) or alike(np.sort(port, None), np.sort(keras, None)):
        yield "the same elements in another order"
