"""The verdict: each layer judged alone, on Keras's own inputs, and in the ordinary forward pass."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.trace import Array

NOT_SHOWN = "these inputs do not show the difference, others do"
"""Reason of an activation that the port lacks, where the probe inputs happen not to need it."""
FLOAT32_ROUNDING = 2.0**-24
"""Half the distance between 1 and the next float32: the relative error of one rounding (IEEE 754 binary32)."""


_TIMES_NOISE = 16
"""How far two correct float32 computations may be apart, in units of the distance of Keras's from Keras in float64."""


@dataclasses.dataclass(frozen=True, slots=True)
class Error:
    """How far an activation is from Keras's.

    Attributes:
        max_abs: Largest absolute difference; infinite where shapes or non-finite elements differ.
        scale: Largest absolute value of the reference.
        limit: What ``max_abs`` may be.
        worst: Index of the largest difference in Keras's layout.
        got: Element of the port there.
        expected: Element of Keras there.
        differing: Share of elements whose difference is over the limit, 0 … 1.
        reason: Why there is nothing to subtract (shape, NaN, an operation that raised); empty where there is.
        strange: Number of elements that are NaN or infinite on one side only.
    """

    max_abs: float
    scale: float
    limit: float
    worst: tuple[int, ...] = ()
    got: float = 0.0
    expected: float = 0.0
    differing: float = 0.0
    reason: str = ""
    strange: int = 0

    @property
    def passes(self) -> bool:
        """Whether the activation is within its limit."""
        return not self.reason and self.max_abs <= self.limit


def limit(scale: float, tol: float, rule: str) -> float:
    """The largest difference that a layer may have.

    Args:
        scale: Largest absolute value of the layer's reference output.
        tol: The tolerance asked for.
        rule: "float64": ``max(tol · min(1, scale), 4 · 2⁻²⁴ · scale)``; the second term is four float32 roundings
            of the layer's scale, because weights and some Keras constants are float32 whatever the arithmetic.
            "float32": ``tol · max(1, scale)``.
    """
    if rule == "float32":
        return tol * max(1.0, scale)
    return max(tol * min(1.0, scale), 4 * FLOAT32_ROUNDING * scale)


def compare(candidate: Array, reference: Array, tol: float, rule: str, scale: float | None = None) -> Error:
    """Compare one activation with Keras's; both in Keras's layout.

    NaN and infinities match only themselves at the same place. Shapes must be equal; nothing is broadcast.

    Args:
        candidate: The activation.
        reference: Keras's.
        tol: The tolerance asked for.
        rule: See ``limit``.
        scale: Largest absolute value of the reference, where it is known.
    """
    scale = scale_of(reference) if scale is None else scale
    allowed = limit(scale, tol, rule)
    if candidate.shape != reference.shape:
        return failed(f"shape {candidate.shape}, expected {reference.shape}", scale, allowed)
    if candidate.size == 0:
        return failed("empty: nothing to compare", scale, allowed)
    if candidate.dtype.kind == "c" and reference.dtype.kind != "c":
        return failed("complex numbers, expected real ones", scale, allowed)
    got, expected = candidate.astype(np.float64, copy=False), reference.astype(np.float64, copy=False)
    difference = _difference(got, expected)
    if not np.isfinite(difference.max()):  # else every element is finite on both sides
        if reference.dtype.kind == "f" and not np.isfinite(reference).any():
            return failed("Keras gives no finite element: these inputs prove nothing, choose others ([inputs] range)")
        strange = ~(np.isfinite(got) & np.isfinite(expected))
        same = (np.isnan(got) & np.isnan(expected)) | (got == expected)
        if not same[strange].all():
            at = np.unravel_index(int(np.argmax(strange & ~same)), got.shape)
            number = int((strange & ~same).sum())
            return dataclasses.replace(
                failed(f"not finite at the same places: {number} elements", scale, allowed),
                strange=number,
                worst=tuple(int(i) for i in at),
                got=float(got[at]),
                expected=float(expected[at]),
            )
        got, expected = np.where(strange, 0.0, got), np.where(strange, 0.0, expected)
        difference = _difference(got, expected)
    at = np.unravel_index(int(np.argmax(difference)), difference.shape)
    largest = float(difference[at])
    return Error(
        largest,
        scale,
        allowed,
        tuple(int(i) for i in at),
        float(got[at]),
        float(expected[at]),
        float(np.mean(difference > allowed)) if largest > allowed else 0.0,
    )


def _difference(got: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Absolute differences, element by element, in one array; infinite or NaN where an element is."""
    with np.errstate(invalid="ignore"):  # two infinities
        difference: npt.NDArray[np.float64] = np.asarray(np.subtract(got, expected, order="C"))
    np.abs(difference, out=difference)
    return difference


def failed(reason: str, scale: float = 0.0, allowed: float = 0.0) -> Error:
    """An error without numbers."""
    return Error(float("inf"), scale, allowed, reason=reason, differing=1.0)


def scale_of(reference: Array) -> float:
    """Largest absolute value of a layer's finite elements; 0 where there is none."""
    if reference.dtype.kind != "f":
        return float(np.abs(reference).max(initial=0))
    least, greatest = (float(reference.min()), float(reference.max())) if reference.size else (0.0, 0.0)
    if np.isfinite(least) and np.isfinite(greatest):
        return max(0.0, -least, greatest)
    return float(np.abs(reference[np.isfinite(reference)]).max(initial=0))


def noise_of(keras: Array, exact: Array) -> float:
    """How far Keras in float32 is from Keras in float64; 0 where that is no number."""
    noise = compare(keras, exact, 1.0, "float32")
    return 0.0 if noise.reason else noise.max_abs


def limit_of(scale: float, noise: float, tol: float) -> float:
    """How far two correct float32 computations of an output may be apart: ``max(tol · max(1, scale), 16 · noise)``.

    Args:
        scale: Largest magnitude of Keras's output.
        noise: See ``noise_of``.
        tol: The tolerance asked for.
    """
    return max(tol * max(1.0, scale), _TIMES_NOISE * noise)
