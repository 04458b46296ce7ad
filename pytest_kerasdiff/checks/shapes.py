"""The check of output shapes, layer by layer."""

from __future__ import annotations

from pytest_kerasdiff.checks.subject import Outcome, Whole


def check(whole: Whole) -> Outcome:
    """Fail where a layer's own operations give another shape than Keras's layer."""
    wrong, compared = [], 0
    for layer, verdict in zip(whole.reference.layers, whole.verdicts, strict=True):
        if verdict.isolated is None:
            continue
        compared += 1
        if verdict.isolated.reason.startswith("shape "):
            wrong.append(f"{layer.name}: {verdict.isolated.reason.removeprefix('shape ')}")
    if wrong:
        return Outcome("shapes", f"{len(wrong)} of {compared} layers give another shape: {'; '.join(wrong[:5])}")
    return Outcome("", f"equal in all {compared} layers that were compared")
