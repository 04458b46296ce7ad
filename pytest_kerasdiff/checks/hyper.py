"""The check of hyper-parameters: what both sides state, and what their activation functions make of any value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_kerasdiff import curves
from pytest_kerasdiff.align.kinds import activation_of
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import CURVE_AT

_OF_SEVERAL_ELEMENTS = ("softmax", "log_softmax", "sparsemax", "glu")


def check(subject: Subject) -> Outcome:
    """Compare both sides' activation functions on values that the probe inputs need not give.

    Activations that stay below 6 do not tell ReLU6 from ReLU, and near 0 a tanh is a straight line.
    """
    if subject.curves is None or subject.last is None:
        return Outcome("", "no function of single elements on both sides; the activations are compared")
    at = curves.difference(*subject.curves)
    if at is None:
        return Outcome("", "equal from -300 to 300")
    got, expected = (float(curve[at]) for curve in subject.curves)
    return Outcome(
        "activation-kind",
        f"at {CURVE_AT[at]:.6g} Keras's function gives {expected:.6g}, the port's {got:.6g} [{subject.last.source}]",
    )


def concerns(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer has an activation function of single elements."""
    return activation_of(class_name, config) not in (None, "linear", "prelu", *_OF_SEVERAL_ELEMENTS)
