"""Reports made by hand, of any size and with any names, for what is written from them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from pytest_kerasdiff import tally

Report = dict[str, Any]

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
"""One black pixel."""
HOSTILE = (
    "<script>window.ran=1;alert(1)</script>",
    '"onmouseover="window.ran=1;alert(1)" x="',
    "'><img src=x onerror=window.ran=1>",
    "{{7*7}}{% set x = 1 %}",
    "javascript:alert(1)",
    "</title></style></pre></svg><script>window.ran=1</script>",
)
"""Texts that would do something where they are not escaped."""
STATUSES = ("pass", "fault", "inherited", "unpaired", "declared")


def error(max_abs: float | None, limit: float = 1e-5, **more: Any) -> Report:
    """An error of a layer (4, 4, 8)."""
    numbers = {"max_abs": max_abs, "scale": 2.5, "limit": limit, "got": 1.25, "expected": 1.5, "differing": 0.25}
    passes = max_abs is not None and max_abs <= limit
    return {**numbers, "worst": [0, 1, 2, 3], "reason": "", "passes": passes, **more}


def layer(number: int, status: str = "pass", **more: Any) -> Report:
    """A convolution that takes the layer before it; ``more`` are other fields."""
    large = status in ("fault", "inherited")
    counts = [(7 * i * number) % 311 for i in range(24)]
    sides = {"keras": f"layer_{number}/kernel", "torch": f"stage.{number}.conv.weight"}
    statistics = {"shape": [3, 3, 16, 32], "min": -0.323525, "max": 0.283676, "mean": -0.00600335, "std": 0.113122}
    return {
        "name": f"conv2d_{number}",
        "class": "Conv2D",
        "torch": None if status == "unpaired" else f"stage.{number}.conv",
        "operations": [] if status == "unpaired" else ["conv2d"],
        "source": f"net/port.py:{number}",
        "matched_by": "weights",
        "status": status,
        "reason": "no torch operation was found" if status == "unpaired" else "",
        "isolated": None if status in ("unpaired", "declared") else error(2.5 if status == "fault" else 3e-16 * number),
        "isolated_from_cumulative": False,
        "cumulative": None if status in ("unpaired", "declared") else error(2.5 if large else 5e-15 * number),
        "inherits_from": None,
        "inputs": [f"conv2d_{number - 1}"] if number > 1 else [],
        "shape": [2, 4, 4, 8],
        "config": {"filters": 32, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "use_bias": True},
        "arguments": [{"op": "conv2d", "name": f"stage.{number}.conv", "stride": [2, 2], "padding": [1, 1]}],
        "weights": {side: [{"name": name, **statistics}] * 2 for side, name in sides.items()},
        "histogram": {"from": -2.5, "to": 2.25, "keras": counts, "torch": [*counts[:-1], 12]},
        "error_map": (
            {"sample": 1, "axes": ["axis 1", "axis 2"], "size": [4, 4], "rows": [[0, 1, 2.5, None]], "channels": [2.5]}
            if status == "fault"
            else None
        ),
        "not_exercised": [],
        "causes": (
            [
                {"id": "eps", "text": "Keras 0.001, port 1e-05", "confirmed": True, "before": 2.5, "after": 2e-15,
                 "patch": f"stage.{number}.bn.eps = 0.001"}
            ]
            if status == "fault"
            else []
        ),
        "pattern": "",
        **more,
    }  # fmt: skip


def checks(layers: Sequence[Report]) -> list[Report]:
    """What is checked of these layers and of the model: one fails, one warns, one is off."""
    passing = {"status": "pass", "cause": ""}
    own = [
        {"check": check, "layer": one["name"], "message": "kernel equal; bias equal, and what else there is to say"}
        for one in layers
        for check in ("weights", "hyper", "finite")
    ]
    whole: list[Report] = [
        {"check": "decisions", "layer": "model", "status": "fail", "cause": "decisions", "message": "0.3 apart"},
        {"check": "frozen", "layer": "model", "status": "pass", "cause": "frozen", "message": "2 parameters"},
        {"check": "tf32", "layer": "model", "status": "off", "cause": "", "message": "not on this machine"},
        {"check": "shapes", "layer": "model", **passing, "message": "equal"},
    ]
    return [*({**one, **passing} for one in own), *whole]


def report(layers: Sequence[Report], **more: Any) -> Report:
    """A report of these layers; ``more`` are other fields."""
    made = checks(layers)
    return {
        "schema": 1,
        "verdict": tally.verdict(layers, made),
        "keras_model": "models/net.h5",
        "torch": "package.port:build",
        "command": "python -m pytest_kerasdiff models/net.h5 --torch package.port:build --report out",
        "precision": "float64",
        "tolerance": 1e-5,
        "layers": list(layers),
        "checks": made,
        "repaired": None,
        "accuracy": None,
        "throughput": None,
        "selftest": None,
        "summary": tally.summary(layers, made),
        "coverage": {
            "layers": {"all": len(layers), "compared": len(layers), "declared": 0, "not_exercised": 0},
            "weights": {"all": 2, "compared": 2},
            "parameters": {"all": 3, "compared": 2, "declared": 0, "unused": 1},
        },
        "inputs": {"image": {"layout": "[0, 3, 1, 2]", "shape": [2, 8, 8, 3], "seed": 0, "source": "generated"}},
        "notes": ["the input was given in another layout"],
        "unused_parameters": {"stage.spare": ""},
        "environment": {"pytest_kerasdiff": "0.1.0", "keras": "3.15.1", "torch": "2.13.0"},
        "reference": {"source": "made", "path": None, "compact": False},
        "timing": {"judge_s": 0.2},
        "memory": {"judge_peak_bytes": 2**28},
        **more,
    }


def mixed() -> Report:
    """One layer of each status, a skip connection over all of them, and all that may be measured."""
    layers = [layer(i, status) for i, status in enumerate(("pass", *STATUSES, "pass"), 1)]
    layers[3]["inherits_from"] = layers[2]["name"]
    layers[6]["inputs"] = [layers[5]["name"], layers[0]["name"]]
    return report(
        layers,
        repaired={"before": 2.5, "after": 1e-15},
        accuracy=accuracy(flips=60),
        throughput=throughput(),
        selftest=selftest(),
    )


def deep(count: int) -> Report:
    """A long model in which each fourth layer takes the one three before it, too; one layer is at fault."""
    layers = [
        layer(i, "pass" if i < count // 2 else "fault" if i == count // 2 else "inherited") for i in range(1, count + 1)
    ]
    for i in range(4, count, 4):
        layers[i]["inputs"].append(layers[i - 4]["name"])
    for one in layers[count // 2 :]:
        one["inherits_from"] = layers[count // 2 - 1]["name"]
    return report(layers)


def accuracy(flips: int) -> Report:
    """Decisions of which some flipped, and a sample with its picture."""
    flip = {"at": [], "label": 0, "keras": 0, "torch": 1, "keras_margin": 0.9, "torch_margin": None, "tie": False}
    side = {"value": 0.95, "interval": [0.9, 0.97], "top_5": 1.0}
    return {
        "data": "data/test.npz",
        "shard": None,
        "classes": ["cat", "dog"],
        "samples": 100,
        "metric": "top-1",
        "keras": side,
        "torch": {**side, "value": 0.35},
        "difference": -0.6,
        "difference_interval": [-0.7, -0.5],
        "mcnemar": {"keras_only": flips, "torch_only": 0, "p": 1e-9},
        "decisions": 100,
        "flips": flips,
        "ties": 0,
        "flipped": [{"sample": i, **flip} for i in range(flips)],
        "shown": [
            {
                "sample": 3,
                "label": 0,
                "keras": [[0, 0.9], [1, 0.1]],
                "torch": [[1, 0.8], [0, None]],
                "max_abs": 0.7,
                "image": f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
            }
        ],
        "outputs": {"max_abs": 0.7, "near": 1e-5},
        "limits": {"min_accuracy": 0.9, "max_drop": None, "max_flips": None},
        "counts": {},
    }


def throughput() -> Report:
    """One device, on which Keras could not be timed."""
    timed = {"seconds": [0.1], "per_second": 80.5}
    speed = {"median": 1.25, "low": 1.0, "high": 1.5}
    one = {"device": "cpu", "batch": 8, "device_name": "a processor", "threads": 2, "torch": timed, "keras": None}
    more = {"yardstick": timed, "missing": {"keras": "a recorded reference"}, "ratio": None, "broken": ["too slow"]}
    return {
        "measured": [{**one, **more, "ratio_to_yardstick": speed, "peak_bytes": None}],
        "limits": {"min_speed": 2.0, "max_slowdown": 0.2, "baseline": None},
    }


def selftest() -> Report:
    """A fault that is caught and one that these inputs cannot show."""
    caught = {"caught": True, "by": ["output"], "blamed": ["conv2d_2"], "named": True, "confirmed": True}
    missing = {"caught": False, "by": [], "blamed": [], "named": False, "confirmed": False}
    moved = {"effect": 0.5, "limit": 1e-5, "repaired": None, "words": "what was done"}
    return {
        "faults": [
            {"id": "eps", "layer": "conv2d_2", **caught, "found": ["eps"], **moved, "status": "caught"},
            {"id": "padding", "layer": "conv2d_3", **missing, "found": [], **moved, "status": "undetectable"},
        ],
        "left_out": 2,
        "not_seeded": {"groups": "the model has none"},
    }


def hostile() -> Report:
    """A report whose every text is one of ``HOSTILE``, names of fields apart."""

    def spoilt(value: Any, key: str, number: int) -> Any:
        if isinstance(value, dict):
            foreign = key in ("config", "inputs", "unused_parameters", "environment", "not_seeded")
            return {
                (f"{name}{HOSTILE[number % 6]}" if foreign else name): spoilt(one, name, number)
                for name, one in value.items()
            }
        if isinstance(value, list):
            return [spoilt(one, key, number + i) for i, one in enumerate(value)]
        kept = ("status", "verdict", "image", "check", "inherits_from")
        return f"{HOSTILE[number % 6]}{value}" if isinstance(value, str) and key not in kept else value

    made: Report = spoilt(mixed(), "", 0)
    made["accuracy"]["shown"] *= 2
    made["accuracy"]["shown"][0] = {**made["accuracy"]["shown"][0], "image": "javascript:alert(1)"}
    made["layers"][0]["status"] = made["checks"][0]["status"] = made["selftest"]["faults"][0]["status"] = HOSTILE[1]
    return made
