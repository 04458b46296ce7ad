"""Families of activation functions that differ by a number, recognised by a table of their values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.trace import CURVE_AT, Array

Floats = npt.NDArray[np.float64]
_ALIKE = 1e-5
"""Difference, relative to values over 1, that is none."""


def is_of(name: str, curve: Array) -> bool:
    """Whether a function is Keras's of this name but for its numbers.

    Args:
        name: Keras's name of the function.
        curve: What the port's function makes of ``CURVE_AT``.
    """
    port = np.asarray(curve, np.float64)
    if not np.isfinite(port).all():
        return False
    last = float(port[0])
    if name in ("relu", "leaky_relu"):
        return _is_rectifier(port, flat=name == "relu")
    if name in ("elu", "celu") and last < 0:
        below = np.minimum(CURVE_AT, 0)
        return _equal(port, np.maximum(CURVE_AT, 0) - last * np.expm1(below / (-last if name == "celu" else 1.0)))
    if name in ("soft_shrink", "hard_shrink") and 0 <= (width := _width(port, name)) < 5:
        inside = np.abs(CURVE_AT) <= width
        moved = CURVE_AT - (np.sign(CURVE_AT) * width if name == "soft_shrink" else 0)
        return _equal(port, np.where(inside, 0, moved))
    if name == "squareplus":
        return _equal(port, (CURVE_AT + np.sqrt(CURVE_AT**2 + 4 * float(port[CURVE_AT == 0][0]) ** 2)) / 2)
    return False


def _is_rectifier(port: Floats, *, flat: bool) -> bool:
    """X between a threshold and a greatest value, a line below, no more above; ``flat``: the line may be level."""
    slope = float((port[1] - port[0]) / (CURVE_AT[1] - CURVE_AT[0]))
    if abs(slope - 1) < _ALIKE or (abs(slope) < _ALIKE and not flat):
        return False
    greatest = float(port[-1])
    threshold = -float(port[0]) / slope + float(CURVE_AT[0]) if abs(slope) > _ALIKE else 0.0
    upper = np.minimum(CURVE_AT, greatest)
    kept = np.abs(port - upper) <= _ALIKE * np.maximum(1, np.abs(upper))
    if abs(slope) <= _ALIKE and kept.any():
        threshold = float(CURVE_AT[kept & (CURVE_AT > 0)].min(initial=np.inf))
    return _equal(port, np.where(threshold <= CURVE_AT, upper, slope * (CURVE_AT - threshold)))


def _width(port: Floats, name: str) -> float:
    """Half the width of the part that a shrinkage takes to 0."""
    if name == "soft_shrink":
        return float(CURVE_AT[-1] - port[-1])
    zero = np.abs(CURVE_AT[np.abs(port) <= _ALIKE])
    return float(zero.max(initial=0.0))


def _equal(port: Floats, other: Floats) -> bool:
    return bool(np.all(np.abs(port - other) <= _ALIKE * np.maximum(1, np.abs(other))))
