"""Solve for the epsilon of a BatchNormalization that is a part of a constant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.checks import folding
from pytest_kerasdiff.checks.held import held
from pytest_kerasdiff.checks.subject import Subject

_ROUNDINGS = 8 * 2.0**-24
"""Relative error that a constant computed in float32 may have: eight roundings, of which a formula makes three."""
_APART = 0.01
"""Relative difference of variances under which a factor in the constant looks like an epsilon."""
_LARGEST = 0.5
"""Largest number that is taken for an epsilon."""
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Solved:
    """An epsilon that explains every channel of a constant.

    Attributes:
        low: Each channel's lower bound.
        high: Each channel's upper bound; both allow for float32's rounding.
        where: Name of the parameter, or of those that the constant was computed from.
        form: What the constant is.
    """

    low: Floats
    high: Floats
    where: str
    form: str

    @property
    def range(self) -> tuple[float, float]:
        """Bounds that all channels agree on."""
        return float(self.low.max()), float(self.high.min())

    @property
    def value(self) -> float:
        """The number with the fewest digits that all channels agree on."""
        low, high = self.range
        shortest = (float(f"{(low + high) / 2:.{digits}g}") for digits in range(1, 5))
        return next((number for number in shortest if low <= number <= high), (low + high) / 2)

    def holds(self, epsilon: float) -> bool:
        """Whether the constant may have been computed with this epsilon."""
        low, high = self.range
        return low - 1e-6 * epsilon <= epsilon <= high + 1e-6 * epsilon

    def may_hold(self, epsilon: float) -> bool:
        """The same, with twice the tolerance."""
        low, high = self.range
        more = (high - low) / 2 + float((self.high - self.low).min()) / 2 + 1e-6 * epsilon
        return low - more <= epsilon <= high + more


def solve(subject: Subject) -> list[Solved]:
    """Epsilons that explain the constants of a BatchNormalization, or the kernel it is folded into.

    A constant of no known form gives a different epsilon in every channel, and is left out. So are layers whose
    variances are all alike: there any factor looks like an epsilon.
    """
    if subject.folded:
        return list(_from_kernels(subject))
    own = {name.rpartition("/")[2]: array.astype(np.float64).ravel() for name, array in subject.weights.items()}
    variance = own.get("moving_variance")
    if variance is None or not _differ(variance):
        return []
    gamma = own.get("gamma", np.ones_like(variance))
    found = []
    for holder in held(subject):
        constant = holder.array.astype(np.float64).ravel()
        if constant.size == variance.size:
            for form, sums in _forms(constant, gamma):
                solved = _solve(sums, variance, holder.where, form)
                if solved is not None:
                    found.append(solved)
    return found


def _differ(variance: Floats) -> bool:
    return variance.size > 1 and bool(np.all(variance >= 0)) and float(np.ptp(variance)) > _APART * variance.max()


def _forms(constant: Floats, gamma: Floats) -> Iterator[tuple[str, Floats]]:
    """What variance + epsilon would be, were a constant of each of the known forms; NaN where it says nothing."""
    with np.errstate(all="ignore"):
        ratio = gamma / constant
        yield "gamma / sqrt(variance + eps)", np.where((gamma != 0) & (ratio > 0), ratio**2, np.nan)
        yield "1 / sqrt(variance + eps)", np.where(constant > 0, constant**-2.0, np.nan)
        yield "sqrt(variance + eps)", np.where(constant > 0, constant**2, np.nan)


def outside(subject: Subject) -> Solved | None:
    """An epsilon that was added to the root of the running variance, in a constant; None where there is none."""
    own = {name.rpartition("/")[2]: array.astype(np.float64).ravel() for name, array in subject.weights.items()}
    variance = own.get("moving_variance")
    if variance is None or subject.folded or not _differ(variance):
        return None
    gamma, root = own.get("gamma", np.ones_like(variance)), np.sqrt(variance)
    for holder in held(subject):
        constant = holder.array.astype(np.float64).ravel()
        if constant.size != variance.size:
            continue
        with np.errstate(all="ignore"):
            ratio = gamma / constant
            forms = {
                "sqrt(variance) + eps": np.where(constant > 0, constant, np.nan),
                "gamma / (sqrt(variance) + eps)": np.where((gamma != 0) & (ratio > 0), ratio, np.nan),
                "1 / (sqrt(variance) + eps)": np.where(constant > 0, 1 / constant, np.nan),
            }
        for form, sums in forms.items():
            known = np.isfinite(sums)
            if np.count_nonzero(known) < 2 or not _differ(variance[known]):
                continue
            epsilon, error = sums[known] - root[known], _ROUNDINGS * sums[known]
            low, high = epsilon - error, epsilon + error
            if low.max() <= high.min() and low.max() > 0 and high.min() <= _LARGEST:
                return Solved(low, high, holder.where, form)
    return None


def _solve(sums: Floats, variance: Floats, where: str, form: str) -> Solved | None:
    """Bounds of each channel's epsilon; None where the channels do not agree on one.

    The root of a sum has half its relative error, so the sum has twice that of the constant.
    """
    known = np.isfinite(sums)
    if np.count_nonzero(known) < 2 or not _differ(variance[known]):
        return None
    epsilon, error = sums[known] - variance[known], 2 * _ROUNDINGS * sums[known]
    low, high = epsilon - error, epsilon + error
    solved = Solved(low, high, where, form)
    if low.max() > high.min() or high.min() < 0 or low.max() > _LARGEST:
        return None
    return solved


def _from_kernels(subject: Subject) -> Iterator[Solved]:
    """From the factors by which a folded kernel is Keras's."""
    parts = folding.parts_of(subject)
    if parts is None:
        return
    kernel, gamma, variance, _, axis = parts
    if not _differ(variance):
        return
    rows = np.moveaxis(kernel, axis, 0).reshape(variance.size, -1)
    for holder in held(subject):
        if holder.array.size != kernel.size:
            continue
        for port in _shaped(holder.array.astype(np.float64), kernel.shape):
            theirs = np.moveaxis(port, axis, 0).reshape(variance.size, -1)
            norms = (rows**2).sum(1)
            with np.errstate(all="ignore"):
                factors = (theirs * rows).sum(1) / norms
            good = np.isfinite(factors)
            if not good.any() or np.abs(theirs - factors[:, None] * rows)[good].max() > (
                2 * _ROUNDINGS * np.abs(theirs[good]).max()
            ):
                continue
            for form, sums in _forms(np.where(good, factors, np.nan), gamma):
                solved = _solve(sums, variance, holder.where, f"kernel · {form}") if form[0] == "g" else None
                if solved is not None:
                    yield solved


def _shaped(array: Floats, shape: tuple[int, ...]) -> Iterator[Floats]:
    if array.squeeze().shape == tuple(n for n in shape if n != 1):
        yield array.reshape(shape)
    if array.ndim == 2 and array.T.squeeze().shape == tuple(n for n in shape if n != 1):
        yield array.T.reshape(shape)
