"""Reports made by hand, for the forms that people read: small, and the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_kerasdiff import tally

Report = dict[str, Any]
LIMIT = 1e-5


def error(max_abs: float | None, passes: bool = False, **more: Any) -> Report:
    return {
        "max_abs": max_abs, "scale": 2.0, "limit": LIMIT, "got": -1.5, "expected": 0.873, "differing": 0.25,
        "worst": [1, 2, 15, 11], "reason": "", "passes": passes, **more,
    }  # fmt: skip


def layer(name: str, kind: str = "Conv2D", status: str = "pass", **more: Any) -> Report:
    """A layer as it is where it has this status."""
    small = error(1e-14, True)
    alone = {"fault": error(2.37), "unpaired": None, "declared": None}.get(status, small)
    whole = {"fault": error(2.37), "inherited": error(0.5), "unpaired": None, "declared": None}.get(status, small)
    has_none = status in ("unpaired", "declared") or kind == "InputLayer"
    return {
        "name": name, "class": kind, "torch": None if has_none else f"net.{name}",
        "operations": [] if has_none else ["conv2d"],
        "source": "port.py:30", "matched_by": "weights", "status": status, "reason": "", "isolated": alone,
        "isolated_from_cumulative": False, "cumulative": whole, "inherits_from": None, "not_exercised": [],
        "causes": [], "pattern": "", "inputs": [], "shape": [2, 16, 16, 32], "config": {"padding": "same"},
        "arguments": [{"op": "conv2d", "name": f"net.{name}", "padding": [1, 1]}], "weights": None,
        "histogram": None, "error_map": None, **more,
    }  # fmt: skip


def cause(one: str = "same-padding", confirmed: bool = True, **more: Any) -> Report:
    return {
        "id": one, "text": "Keras pads (0, 1), the port (1, 1) [port.py:30]", "confirmed": confirmed, "before": 2.37,
        "after": 2.7e-15 if confirmed else None, "patch": "pad with F.pad(x, (0, 1, 0, 1)), and set padding=0", **more,
    }  # fmt: skip


def check(name: str, of: str = "model", status: str = "pass", cause: str = "", message: str = "equal") -> Report:
    return {"check": name, "layer": of, "status": status, "cause": cause, "message": message}


def report(layers: Sequence[Report], checks: Sequence[Report] = (), **more: Any) -> Report:
    """A report of these layers and checks."""
    return {
        "schema": 1, "verdict": tally.verdict(layers, checks), "keras_model": "models/net.h5", "torch": "port:build",
        "command": "python -m pytest_kerasdiff models/net.h5 --torch port:build", "precision": "float64",
        "tolerance": LIMIT, "layers": list(layers), "checks": list(checks), "repaired": None, "accuracy": None,
        "throughput": None, "selftest": None, "summary": tally.summary(layers, checks),
        "coverage": {
            "layers": {"all": len(layers), "compared": len(layers), "declared": 0, "not_exercised": 0},
            "weights": {"all": 8, "compared": 8},
            "parameters": {"all": 9, "compared": 8, "declared": 1, "unused": 0},
        },
        "inputs": {"image": {"layout": "[0, 3, 1, 2]", "shape": [2, 32, 32, 3], "seed": 0, "source": "generated"}},
        "notes": [], "unused_parameters": {}, "environment": {"keras": "3.15.1", "torch": "2.13.0", "python": "3.11.7"},
        "reference": {"source": "made", "path": None, "compact": False}, "timing": {"judge_s": 0.1}, "memory": {},
        **more,
    }  # fmt: skip


def passing() -> Report:
    """A right port."""
    layers = [
        layer("image", "InputLayer", inputs=[]), layer("conv", inputs=["image"]),
        layer("bn", "BatchNormalization", cumulative=error(4e-6, True), inputs=["conv"]),
        layer("flatten", "Flatten", "declared", reason="computed together with dense", inputs=["bn"]),
        layer("dense", "Dense", inputs=["flatten"], not_exercised=["one class only is decided for"]),
    ]  # fmt: skip
    checks = [
        check("weights", "conv"), check("weights", "bn"), check("eps", "bn"), check("weights", "dense"),
        check("frozen", cause="requires-grad", message="2 parameters require a gradient; call .requires_grad_(False)"),
        check("training_notes", message="L2(0.0001) is weight_decay=0.0002 of plain SGD (conv kernel)"),
    ]  # fmt: skip
    return report(layers, checks)


def failing() -> Report:
    """Two layers at fault, three that inherit, one without a partner."""
    layers = [
        layer("image", "InputLayer"), layer("conv", inputs=["image"]),
        layer("conv_2", status="fault", inputs=["conv"], causes=[cause()]),
        layer("relu", "ReLU", "inherited", inherits_from="conv_2", inputs=["conv_2"]),
        layer("mix", "Dense", "fault", inputs=["relu"], pattern="constant along the channels",
              causes=[cause("gates", False, patch="", text="gates in torch's order")]),
        layer("add", "Add", "inherited", inherits_from="mix", inputs=["mix", "conv"]),
        layer("head", "Dense", "inherited", inherits_from="mix", inputs=["add"]),
        layer("aux", "Dense", "unpaired", inputs=["add"], reason="no torch operation was found for this layer"),
    ]  # fmt: skip
    checks = [
        check("weights", "conv"),
        check("hyper", "conv_2", "fail", "same-padding", "padding 'same': Keras (0, 1), port (1, 1)"),
        check("eps", "bn", "off", message="folded by hand"),
        check("decisions", status="fail", cause="decisions", message="0.335 apart in float32, limit 1e-05"),
    ]
    return report(layers, checks, repaired={"before": 0.335, "after": 5.8e-16})
