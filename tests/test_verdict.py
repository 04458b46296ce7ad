"""The verdict: limits, shapes, elements that are not finite."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_kerasdiff import verdict

TOL = 1e-5
ROUNDINGS = 4 * 2.0**-24


@pytest.mark.parametrize(
    ("scale", "rule", "expected"),
    [
        (1.0, "float64", 1e-5),
        (0.01, "float64", 1e-7),
        (30.0, "float64", 1e-5),
        (1000.0, "float64", 1000 * ROUNDINGS),
        (0.0, "float64", 0.0),
        (0.01, "float32", 1e-5),
        (30.0, "float32", 3e-4),
    ],
)
def test_limit(scale: float, rule: str, expected: float) -> None:
    assert verdict.limit(scale, TOL, rule) == pytest.approx(expected, rel=1e-12)


def test_the_limit_of_a_large_layer_never_falls_below_the_tolerance() -> None:
    scales = np.geomspace(1, 1e6, 100)
    limits = [verdict.limit(s, TOL, "float64") for s in scales]
    assert min(limits) == TOL
    assert limits == sorted(limits)


@pytest.mark.parametrize("rule", ["float64", "float32"])
def test_a_difference_at_the_limit_passes_and_one_above_fails(rule: str) -> None:
    reference = np.array([[2.0, -8.0], [0.5, 1.0]])
    limit = verdict.limit(8.0, TOL, rule)
    for factor, passes in ((0.999, True), (1.001, False)):
        candidate = reference.copy()
        candidate[1, 0] -= factor * limit
        error = verdict.compare(candidate, reference, TOL, rule)
        assert error.passes is passes
        assert (error.worst, error.scale, error.limit) == ((1, 0), 8.0, limit)
        assert error.max_abs == pytest.approx(factor * limit, rel=1e-6)
        assert (error.got, error.expected) == (candidate[1, 0], 0.5)
        assert error.differing == (0 if passes else 0.25)


@pytest.mark.parametrize("shape", [(1, 4), (4,), (4, 1), (2, 2, 1), (3, 4), (4, 2)])
def test_shapes_are_never_broadcast(shape: tuple[int, ...]) -> None:
    error = verdict.compare(np.ones(shape), np.ones((2, 4)), TOL, "float64")
    assert not error.passes
    assert error.reason == f"shape {shape}, expected (2, 4)"
    assert error.max_abs == np.inf


def test_nothing_to_compare_does_not_pass() -> None:
    assert not verdict.compare(np.zeros((2, 0)), np.zeros((2, 0)), TOL, "float64").passes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_elements_that_are_not_finite_match_only_themselves(value: float) -> None:
    reference = np.array([1.0, value, 3.0])
    assert verdict.compare(reference.copy(), reference, TOL, "float64").passes
    for other in (0.0, np.nan, np.inf, -np.inf, 1e308):
        if not np.array_equal(other, value, equal_nan=True):
            error = verdict.compare(np.array([1.0, other, 3.0]), reference, TOL, "float64")
            assert not error.passes
            assert error.worst == (1,)
            assert "1 elements" in error.reason
    assert not verdict.compare(np.array([value, 1.0, 3.0]), reference, TOL, "float64").passes


def test_beside_elements_that_are_not_finite_the_others_count() -> None:
    reference = np.array([np.nan, np.inf, 2.0])
    error = verdict.compare(np.array([np.nan, np.inf, 2.1]), reference, TOL, "float64")
    assert not error.passes
    assert (error.worst, error.scale) == ((2,), 2.0)
    assert error.max_abs == pytest.approx(0.1)


def test_a_layer_of_zeros_must_be_zero() -> None:
    zeros = np.zeros((2, 3))
    assert verdict.compare(zeros, zeros, TOL, "float64").passes
    assert not verdict.compare(zeros + 1e-12, zeros, TOL, "float64").passes


def test_integers_and_booleans_are_compared_too() -> None:
    whole = np.array([1, 2, 3])
    assert verdict.compare(whole, whole, TOL, "float64").passes
    assert not verdict.compare(whole + 1, whole, TOL, "float64").passes
    flags = np.array([True, False])
    assert verdict.compare(flags, flags, TOL, "float64").passes
    assert not verdict.compare(~flags, flags, TOL, "float64").passes


def test_failed_never_passes() -> None:
    assert not verdict.failed("why", 1.0, np.inf).passes


def test_complex_numbers_are_not_taken_for_their_real_part() -> None:
    assert "complex" in verdict.compare(np.ones(3) * (1 + 2j), np.ones(3), 1e-5, "float64").reason


def test_nothing_finite_proves_nothing() -> None:
    nothing = np.full(3, np.nan)
    assert "prove nothing" in verdict.compare(nothing, nothing, 1e-5, "float64").reason
