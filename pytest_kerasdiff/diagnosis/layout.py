"""Keras's axes and elements in the layout of a torch value, for steps that a diagnosis adds to a program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.diagnosis.case import Case

Floats = npt.NDArray[np.float64]


def spread(case: Case, array: npt.ArrayLike, keras_value: int, torch_value: int) -> Floats | None:
    """Elements that broadcast against a Keras value, such as a vector of its channels, in the torch value's layout.

    Returns:
        An array of the value's size, or one element where it is one everywhere; None where the layouts do not meet.
    """
    elements = np.asarray(array, np.float64)
    if elements.size == 1:
        return elements.reshape(())
    try:
        full = np.broadcast_to(elements, case.reference.shapes[keras_value])
        return np.asarray(case.judge.layouts.to_torch(full, keras_value, torch_value), np.float64)
    except (AxesError, ValueError):
        return None


def dims(case: Case, axes: Sequence[int], keras_value: int, torch_value: int) -> list[int] | None:
    """The dimensions of a torch value that are axes of a Keras value; None where they are a part of one, or gone."""
    shape = case.reference.shapes[keras_value]
    found = []
    for axis in (a % len(shape) for a in axes):
        if shape[axis] == 1:
            continue
        places = np.arange(shape[axis]).reshape([-1 if d == axis else 1 for d in range(len(shape))])
        try:
            moved = case.judge.layouts.to_torch(np.broadcast_to(places, shape), keras_value, torch_value)
        except (AxesError, ValueError):
            return None
        varies = [d for d in range(moved.ndim) if np.any(np.diff(moved, axis=d))]
        if len(varies) != 1 or moved.shape[varies[0]] != shape[axis]:
            return None
        found += varies
    return found


def along(array: npt.ArrayLike, axes: Sequence[int], shape: Sequence[int]) -> Floats:
    """A weight with one element for every position of some axes, so that it broadcasts against ``shape``."""
    kept = {axis % len(shape) for axis in axes}
    return np.asarray(array, np.float64).reshape([n if d in kept else 1 for d, n in enumerate(shape)])
