"""Checks of what activations cannot show: pure functions over the two traces, in one registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_kerasdiff.align.alignment import Alignment
from pytest_kerasdiff.trace import CandidateTrace, Layer, Operation, ReferenceTrace


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check of one layer.

    Attributes:
        check: Name of the check.
        layer: Report name of the layer.
        status: "pass" or "fail".
        cause: Id of the fault in the catalogue; empty where it passes.
        message: What was compared, with both values.
    """

    check: str
    layer: str
    status: str
    cause: str
    message: str


def concerns(check: str, class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a check has a test for a layer; asked at collection, from the file's config alone."""
    return check == "eps" and "Normalization" in class_name and "epsilon" in config


def check_eps(layer: Layer, operation: Operation | None) -> tuple[bool, str]:
    """Compare a normalisation layer's epsilon with the torch operation's.

    A wrong epsilon can move an output by as little as 5e-7, so activations are no proof.
    """
    keras = float(layer.config["epsilon"])
    if operation is None or "eps" not in operation.arguments or operation.arguments["eps"] is None:
        return True, f"Keras {keras:g}; the port has no epsilon of its own, its activations are compared"
    port = float(operation.arguments["eps"])
    # Keras may have stored the value after a trip through float32.
    equal = abs(port - keras) <= 1e-6 * keras
    if equal:
        return True, f"Keras {keras:g}, port {port:g}"
    module = operation.name.split("@")[0]
    return False, f"Keras {keras:g}, port {port:g} [{operation.source}]; set {module}.eps = {keras:g}"


CHECKS: dict[str, Callable[[Layer, Operation | None], tuple[bool, str]]] = {"eps": check_eps}


def run(reference: ReferenceTrace, candidate: CandidateTrace, alignment: Alignment) -> list[CheckResult]:
    """Run every check on every layer it concerns."""
    return list(_results(reference, candidate, alignment))


def _results(reference: ReferenceTrace, candidate: CandidateTrace, alignment: Alignment) -> Iterator[CheckResult]:
    for position, layer in enumerate(reference.layers):
        main = alignment.main.get(position)
        operation = candidate.operations[main] if main is not None else None
        for name, function in CHECKS.items():
            if concerns(name, layer.class_name, layer.config):
                passed, message = function(layer, operation)
                yield CheckResult(name, layer.name, "pass" if passed else "fail", "" if passed else name, message)
