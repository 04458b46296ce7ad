"""Compact references: of each activation random projections and a few elements, in place of the activation.

Equal projections prove two activations equal, in all but one of very many draws; unequal ones prove them different, but
do not say where. So where the port has computed what Keras has, the port's own array stands for Keras's, and each layer
behind it can be judged alone; where it has not, the layers behind are not judged.
"""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
import weakref
from collections.abc import Iterator, Mapping

import h5py
import numpy as np
import numpy.typing as npt

from pytest_kerasdiff import verdict
from pytest_kerasdiff.trace import Array, Glance, Sketch
from pytest_kerasdiff.verdict import Error

PROJECTIONS = 4
"""Projections of each channel. One sees a difference of a single element wholly, and misses one of several elements
where they cancel out: with random signs half of the time for two, rarely for many, independently of the others."""
SAMPLES = 64
"""Elements that are kept as they are, so that a difference can be shown."""
CANNOT_SAY = (
    "the reference is compact: it says whether the port is right and where it is wrong first; layers behind are not "
    "judged alone, and no cause is tried: record it without --kerasdiff-compact for that"
)


NOT_JUDGED = "not judged alone: what it takes is not Keras's, and a compact reference does not hold what Keras took"


class UnknownError(ValueError):
    """An activation that a compact reference does not hold, and that the port has not computed as Keras did."""


def sketch(array: Array) -> Sketch | None:
    """The sketch of an activation; None where that would not be much smaller, or cannot be: keep the array then."""
    channels = array.shape[-1] if array.ndim > 1 else 1
    if array.dtype != np.float64 or array.size < 2 * (PROJECTIONS * channels + SAMPLES):
        return None
    glance, exact = Glance.of(array), np.asarray(array, np.float64)
    if not glance.is_finite:
        return None
    return Sketch(array.shape, glance, _projected(exact), exact.ravel()[_places(array.size)])


class Values(Mapping[int, Array]):
    """Keras's activations: those that are kept, and those that the port has been found to compute alike.

    The latter are in a file without a name, for nothing holds all activations of a model.
    """

    def __init__(self, stored: Mapping[int, Array], sketches: Mapping[int, Sketch]) -> None:
        """Know what is kept; nothing is proven yet."""
        self._stored, self._sketches = stored, sketches
        with contextlib.ExitStack() as opened:
            unnamed = opened.enter_context(tempfile.TemporaryFile())
            self._proven = opened.enter_context(h5py.File(unnamed, "w"))
            weakref.finalize(self, opened.pop_all().close)

    def compare(self, number: int, array: Array, tol: float, rule: str) -> Error:
        """Compare an activation of the port, in Keras's layout, with the sketch of one that is not known.

        Where they are equal, the port's stands for Keras's from now on.
        """
        error = compare(array, self._sketches[number], tol, rule)
        if error.passes:
            self._proven.create_dataset(str(number), data=array)
        return error

    def __getitem__(self, key: int) -> Array:  # noqa: D105
        if key in self._stored:
            return self._stored[key]
        if key not in self:
            raise UnknownError(f"value {key} is not in the compact reference")
        return np.asarray(self._proven[str(key)][()])

    def __contains__(self, key: object) -> bool:  # noqa: D105
        return key in self._stored or str(key) in self._proven

    def __iter__(self) -> Iterator[int]:  # noqa: D105
        return iter({**dict.fromkeys(self._stored), **self._sketches})

    def __len__(self) -> int:  # noqa: D105
        return len(self._stored) + len(self._sketches)


def compare(array: Array, kept: Sketch, tol: float, rule: str) -> Error:
    """Compare an activation of the port, in Keras's layout, with a sketch of Keras's.

    In float64 both sides are equal to rounding, so a projection is off by no more than one wrong element is, and is
    held to the limit of one element. By the float32 rule all elements are rounded, whose sum grows with the root of
    their number, and so does what is allowed.
    """
    scale = kept.glance.largest
    allowed = verdict.limit(scale, tol, rule)
    if array.shape != kept.shape:
        return verdict.failed(f"shape {array.shape}, expected {kept.shape}", scale, allowed)
    if array.dtype.kind == "c" or not np.isfinite(array).all():
        return verdict.failed("elements that are not finite real numbers; all of Keras's are", scale, allowed)
    own = np.asarray(array, np.float64)
    rows = own.size // kept.projections.shape[1]
    apart = float(np.abs(_projected(own) - kept.projections).max())
    places = _places(own.size)
    samples = np.abs(own.ravel()[places] - kept.samples)
    worst = int(np.argmax(samples))
    at = int(places[worst])
    estimate = max(apart / (math.sqrt(rows) if rule == "float32" else 1.0), float(samples[worst]))
    least = max(apart / rows, float(samples[worst]))  # a sum of so many differences
    return Error(
        estimate,
        scale,
        allowed,
        tuple(int(i) for i in np.unravel_index(at, own.shape)),
        float(own.ravel()[at]),
        float(kept.samples[worst]),
        float(np.mean(samples > allowed)),
        "" if estimate <= allowed else f"differs from Keras's in some element by {least:.3g} or more",
    )


def _projected(array: Array) -> npt.NDArray[np.float64]:
    """(PROJECTIONS, channels): sums over all other axes with random signs, the same for every channel."""
    rows = np.asarray(array, np.float64).reshape(-1, array.shape[-1] if array.ndim > 1 else 1)
    return np.asarray(_signs(len(rows)) @ rows)


@functools.lru_cache(4)
def _signs(rows: int) -> npt.NDArray[np.float64]:
    """(PROJECTIONS, rows) of 1 and -1.

    Source: the raw numbers of a bit generator are the same in every version of numpy (its policy, NEP 19).
    """
    bits = np.unpackbits(_raw(rows, -(-PROJECTIONS * rows // 64)).astype("<u8").view(np.uint8))
    return bits[: PROJECTIONS * rows].reshape(PROJECTIONS, rows).astype(np.float64) * 2 - 1


@functools.lru_cache(16)
def _places(size: int) -> npt.NDArray[np.uint64]:
    return np.asarray(_raw(size, SAMPLES) % np.uint64(size))


def _raw(seed: int, count: int) -> npt.NDArray[np.uint64]:
    return np.asarray(np.random.PCG64(seed).random_raw(count))
