"""The check of NaN and infinities."""

from __future__ import annotations

import math

from pytest_kerasdiff.checks.subject import Outcome, Subject


def check(subject: Subject) -> Outcome:
    """Look for NaN and infinities that one side has and the other has not, in the layer alone.

    They fail the layer's output too; this check says so where they begin, and of the layer that makes them only.
    """
    isolated, cumulative = subject.verdict.isolated, subject.verdict.cumulative
    if isolated is not None and isolated.strange:
        side = "the port" if math.isfinite(isolated.expected) else "Keras"
        return Outcome(
            "not-finite",
            f"{isolated.strange} elements are NaN or infinite on one side only, first at {isolated.worst}: got "
            f"{isolated.got:g}, expected {isolated.expected:g}; {side} gives what is not finite",
        )
    if cumulative is not None and cumulative.strange:
        return Outcome(
            "", f"{cumulative.strange} elements not finite on one side only, made by a layer before this one"
        )
    if isolated is None:
        return Outcome("", "not compared: the layer has no value of its own")
    if isolated.reason:
        return Outcome("", f"not compared: {isolated.reason}")
    return Outcome("", "finite at the same places")
