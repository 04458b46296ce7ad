"""The verdict and the counts of a report, made from its layers and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]


def verdict(layers: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]]) -> str:
    """Whether something was compared and nothing fails: "pass" or "fail"."""
    states, failed = Counter(layer["status"] for layer in layers), any(c["status"] == "fail" for c in checks)
    compared = states["pass"] + states["fault"] + states["inherited"]
    failing = states["fault"] + states["inherited"] + states["unpaired"]
    return "pass" if compared and not failing and not failed else "fail"


def summary(layers: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many layers have each status, and how many checks were made, failed, and are off."""
    states, made = Counter(layer["status"] for layer in layers), Counter(check["status"] for check in checks)
    return {
        "layers": len(layers),
        "passed": states["pass"],
        "faults": states["fault"],
        "inherited": states["inherited"],
        "unpaired": states["unpaired"],
        "declared": states["declared"],
        "not_exercised": sum(bool(layer["not_exercised"]) for layer in layers),
        "checks": len(checks) - made["off"],
        "checks_failed": made["fail"],
        "checks_off": made["off"],
    }


def without(report: Report, off: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """A report as it is where checks are turned off afterwards.

    Args:
        report: What the engine gave.
        off: (layer, check) → the user's reason.
    """
    checks = [
        {**check, "status": "off", "cause": "", "message": off[check["layer"], check["check"]]}
        if (check["layer"], check["check"]) in off
        else check
        for check in report["checks"]
    ]
    layers = report["layers"]
    return {**report, "checks": checks, "verdict": verdict(layers, checks), "summary": summary(layers, checks)}
