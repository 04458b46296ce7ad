"""The check of the second opinion: Keras, the same model as ONNX, and the port, all in float32."""

from __future__ import annotations

from pytest_kerasdiff.checks.subject import Outcome, Whole
from pytest_kerasdiff.trace import Array
from pytest_kerasdiff.verdict import compare, limit_of, noise_of, scale_of


def check(whole: Whole) -> Outcome:
    """Say who is alone where not all three agree.

    A model that tf2onnx cannot convert, or converts into another one, is a warning: neither says anything of the port.
    """
    if whole.opinion_error:
        return Outcome("onnx", f"no second opinion: {whole.opinion_error}", warns=True)
    if not whole.deployed or not whole.opinion:
        return Outcome("onnx", "no second opinion: nothing was compared")
    words = []
    for number, ((port, keras, exact), other) in enumerate(zip(whole.deployed, whole.opinion, strict=False)):
        name = f"output {number}: " if len(whole.deployed) > 1 else ""
        limit = limit_of(scale_of(keras), noise_of(keras, exact), whole.tol)
        ports, others, between = (_apart(a, b) for a, b in ((port, keras), (other, keras), (port, other)))
        alike = [distance <= limit for distance in (ports, others, between)]
        said = f"{name}Keras and the port {ports:.3g} apart, Keras and ONNX {others:.3g}, limit {limit:.3g}"
        if sum(alike) >= 2 and alike[0]:
            words.append(said)
        elif alike[0]:
            return Outcome(
                "onnx", f"{said}: ONNX is alone; tf2onnx has converted the model into another one", warns=True
            )
        elif alike[1]:
            return Outcome("onnx", f"{said}: the port is alone")
        elif alike[2]:
            return Outcome("onnx", f"{said}: Keras is alone, the port agrees with ONNX ({between:.3g} apart)")
        else:
            return Outcome("onnx", f"{said}: no two agree")
    return Outcome("", "; ".join(words))


def _apart(one: Array, other: Array) -> float:
    error = compare(one, other, 1.0, "float32")
    return float("inf") if error.reason else error.max_abs
