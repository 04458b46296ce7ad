"""The check of preprocessing: both of the user's functions on the same raw samples."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.checks import input_fit
from pytest_kerasdiff.checks.subject import Outcome, Preprocessed, Whole
from pytest_kerasdiff.manifest import Preprocess
from pytest_kerasdiff.verdict import Error, compare


def check(whole: Whole) -> Outcome:
    """Fail where the two functions give different tensors for the same raw samples, and say what differs."""
    assert whole.stated.preprocess is not None
    assert whole.preprocessed is not None
    return judge(whole.preprocessed, whole.stated.preprocess, whole.tol)


def judge(pair: Preprocessed, stated: Preprocess, tol: float) -> Outcome:
    """Compare two tensors by the float32 rule, in which both are deployed, and explain a difference.

    Args:
        pair: What the functions gave.
        stated: The functions.
        tol: The tolerance asked for.
    """
    error = compare(pair.port, pair.keras, tol, "float32")
    if error.passes:
        return Outcome(
            "",
            f"equal tensors for {len(pair.keras)} raw samples, {pair.keras.shape[1:]} each: {error.max_abs:.3g} apart, "
            f"limit {error.limit:.3g}",
        )
    where = f"in {stated.torch}"
    if not (np.isfinite(pair.port).all() and np.isfinite(pair.keras).all()):
        return Outcome("not-finite", f"NaN or infinite after preprocessing: {_much(pair, error)}; look {where}")
    found = input_fit.explain(pair, tol)
    if found is not None:
        return Outcome(found.cause, f"{found.words}; {_much(pair, error)}; {where}: {found.remedy}")
    if input_fit.is_of_single_elements(pair, tol):
        return Outcome(
            "input-scale",
            f"{_much(pair, error)}; what the port has for a value depends on that value alone, but is no scale and "
            f"offset of it; look {where} for clipping, rounding to uint8, or a gamma",
        )
    resize = "resize or crop" if error.reason else "interpolation, antialiasing, crop or rounding of a resize"
    return Outcome(
        "input-resize",
        f"{_much(pair, error)}; no scale, offset, order of channels or layout explains it; compare the {resize}, or "
        f"what else is done to the pixels, {where} with {stated.keras}",
    )


def _much(pair: Preprocessed, error: Error) -> str:
    """How far apart the tensors are; shapes are told as the port's function gives them."""
    if pair.port.shape != pair.keras.shape:
        given, expected = pair.port, pair.keras
        if given.ndim == expected.ndim and pair.order:
            given, expected = given.transpose(pair.order), expected.transpose(pair.order)
        layout = " in the port's layout" if pair.order and given.ndim == expected.ndim else ""
        return f"a sample has shape {given.shape[1:]}, expected {expected.shape[1:]}{layout}"
    if error.reason:
        return error.reason
    return (
        f"{error.max_abs:.3g} apart, limit {error.limit:.3g}, {100 * error.differing:.1f}% of elements differ, most at "
        f"{error.worst}: got {error.got:.6g}, expected {error.expected:.6g}"
    )
