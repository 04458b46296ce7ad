"""Fault or noise: whether rounding alone explains a difference in float32."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.trace import Array, ReplayError

_ALIKE = 4.0
"""How many times the port's own rounding Keras's may be: both add the same terms, in another order."""


def describe(case: Case) -> str:
    """The evidence that a layer's difference is rounding; empty where it is none, or where nothing was run in float32.

    The port's operations run on Keras's input in float64 and in float32. What float32 makes of them is the port's own
    rounding. Where Keras's float32 output is as near to the port in float64 as that, nothing but rounding lies between.
    """
    value, keras = case.value, case.layer.outputs[0]
    if case.judge.precision != "float32" or value is None or case.verdict.isolated is None:
        return ""
    try:
        given = case.judge.feed(case.position, value)
        exact, rounded = (_output(case, precision, value, given) for precision in ("float64", "float32"))
    except (AxesError, ReplayError, ValueError):
        return ""
    expected = np.asarray(case.reference.values[keras], np.float64)
    if exact.shape != expected.shape or not np.isfinite([exact, rounded, expected]).all():
        return ""
    own, apart = float(np.abs(rounded - exact).max(initial=0)), float(np.abs(expected - exact).max(initial=0))
    if not own or apart > _ALIKE * own:
        return ""
    return (
        f"rounding alone: in float64 the port's layer is {apart:.2g} from Keras's float32 and {own:.2g} from its own; "
        "no fault is seen, float64 shows it within its limit (--kerasdiff-precision=float64, or a [tolerance])"
    )


def _output(
    case: Case, precision: str, value: int, given: dict[int, Array]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    array = case.judge.candidate.in_precision(precision).run([value], given)[value]
    return np.asarray(case.judge.layouts.to_keras(array, value, case.layer.outputs[0]), np.float64)
