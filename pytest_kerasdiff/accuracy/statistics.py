"""What two models' scores on the same samples say of their difference."""

from __future__ import annotations

import math
from types import ModuleType
from typing import NamedTuple

from pytest_kerasdiff.errors import RunError

_Z = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


def scipy_stats() -> ModuleType:
    """Scipy's statistics.

    Raises:
        RunError: It is not installed.
    """
    try:
        import scipy.stats
    except ImportError:
        raise RunError("--kerasdiff-data needs scipy: pip install 'pytest-kerasdiff[accuracy]'") from None
    return scipy.stats  # type: ignore[no-any-return]


def of_share(right: int, of: int) -> Interval:
    """Wilson's interval of a share.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    found = scipy_stats().binomtest(right, of).proportion_ci(0.95, "wilson")
    return Interval(float(found.low), float(found.high))


def mcnemar(keras_only: int, torch_only: int) -> float:
    """Two-sided p of the exact test that both models are right equally often.

    Of the samples of which one alone is right, half would be Keras's.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12
    (1947); exact as the binomial test of the discordant pairs.
    """
    several = keras_only + torch_only
    return float(scipy_stats().binomtest(torch_only, several).pvalue) if several else 1.0


def of_paired_shares(keras_only: int, torch_only: int, of: int) -> Interval:
    """Interval of the difference (torch - Keras) of two shares of the same samples.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24 (2005): Wald's interval with half a pair added to each of the four cells.
    """
    one, other, n = keras_only + 0.5, torch_only + 0.5, of + 2
    low, high = _around((other - one) / n, math.sqrt((one + other) - (other - one) ** 2 / n) / n)
    return Interval(max(low, -1.0), min(high, 1.0))


def of_mean(mean: float, variance: float, of: int) -> Interval:
    """Interval of a mean, by the normal distribution.

    Args:
        mean: Of the samples.
        variance: Their mean squared distance from it.
        of: How many there are.
    """
    return _around(mean, math.sqrt(max(0.0, variance) / max(1, of - 1)))


def _around(middle: float, deviation: float) -> Interval:
    return Interval(middle - _Z * deviation, middle + _Z * deviation)
