"""The check of epsilons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import Operation


def check(subject: Subject) -> Outcome:
    """Compare a normalisation layer's epsilon with the torch operation's.

    A wrong epsilon can move an output by as little as 5e-7, so activations are no proof.
    """
    keras = float(inside(subject.layer.class_name, subject.layer.config)[1]["epsilon"])
    operation = subject.operation
    stated = operation.arguments.get("eps") if operation is not None else None
    written = _written_epsilon(subject.steps)
    if stated is not None and operation is not None:
        port, source = float(stated), operation.source
        remedy = f"set {operation.name.partition('@')[0]}.eps = {keras:g}"
    elif written is not None:
        port, source = written
        remedy = f"add {keras:g} there"
    else:
        return Outcome("", f"Keras {keras:g}; the port has no epsilon of its own, its activations are compared")
    # Keras may have stored the value after a trip through float32.
    if abs(port - keras) <= 1e-6 * keras:
        return Outcome("", f"Keras {keras:g}, port {port:g}")
    return Outcome("eps", f"Keras {keras:g}, port {port:g} [{source}]; {remedy}")


def _written_epsilon(steps: Sequence[Operation]) -> tuple[float, str] | None:
    """(number added directly before a root is taken, where) in a normalisation written by hand."""
    producers = {value: step for step in steps for value in step.outputs}
    for root in steps:
        if root.op not in ("sqrt", "rsqrt") and root.arguments.get("exponent") not in (0.5, -0.5):
            continue
        added = producers.get(root.inputs[0])
        number = added.arguments.get("other") if added is not None and added.op == "add" else None
        if added is not None and isinstance(number, int | float):
            return float(number), added.source
    return None


def concerns(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer has an epsilon."""
    class_name, config = inside(class_name, config)
    return "Normalization" in class_name and "epsilon" in config
