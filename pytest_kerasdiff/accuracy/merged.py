"""Reports of runs that each took a part of the data, put together to the report of a run that takes all of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_kerasdiff import tally
from pytest_kerasdiff.accuracy.measure import Counts, result
from pytest_kerasdiff.accuracy.shown import MOST_FLIPS
from pytest_kerasdiff.checks import accuracy
from pytest_kerasdiff.errors import RunError

_CHECK = "accuracy"


def merge(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what was counted, and hold it against the limits.

    Layers and other checks are those of the first report in which one of them fails, else of the first.

    Args:
        reports: By the name of their files.

    Returns:
        The report of all of the data, apart from what the lists of samples leave out.

    Raises:
        RunError: One has no part of the data, they are of different runs, or a part is missing or there twice.
    """
    parts = _in_order(reports)
    tol = parts[0]["tolerance"]
    measured = [part["accuracy"] for part in parts]
    try:
        first, *others = [Counts.from_json(found["counts"]) for found in measured]
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{next(iter(reports))}: its counts are not those of this version; run the parts anew") from None
    flipped = sorted((flip for found in measured for flip in found["flipped"]), key=lambda flip: flip["sample"])
    flips = {flip["sample"] for flip in flipped if not flip["tie"]}
    unasked = sorted(flips)[:MOST_FLIPS]
    every = sorted((one for found in measured for one in found["shown"]), key=lambda one: one["sample"])
    shown = [one for one in every if one["sample"] in unasked or one["sample"] not in flips]
    found = {
        **measured[0],
        "shard": None,
        **result(first.plus(*others), flipped, tol),
        "shown": shown,
    }
    base = next((part for part in parts if _fails_otherwise(part)), parts[0])
    broken = list(accuracy.broken_limits(found))
    said = accuracy.describe(found)
    own = {
        "check": _CHECK,
        "layer": "model",
        "status": "fail" if broken else "pass",
        "cause": _CHECK if broken else "",
        "message": f"{'; '.join(broken)}. {said}" if broken else said,
    }
    is_off = any(check["check"] == _CHECK and check["status"] == "off" for check in base["checks"])
    checks = [own if check["check"] == _CHECK and not is_off else check for check in base["checks"]]
    return {
        **base,
        "command": shlex.join(["python", "-m", "pytest_kerasdiff", "merge", *reports]),
        "accuracy": found,
        "checks": checks,
        "verdict": tally.verdict(base["layers"], checks),
        "summary": tally.summary(base["layers"], checks),
        "notes": [*base["notes"], f"accuracy merged from {len(parts)} parts of the data"],
    }


def _in_order(reports: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The reports by the number of their part."""
    found: dict[int, Mapping[str, Any]] = {}
    first = next(iter(reports.values()))
    of = 0
    for name, report in reports.items():
        shard = (report.get("accuracy") or {}).get("shard")
        if shard is None:
            raise RunError(f"{name}: not the report of a part of the data (--kerasdiff-shard=K/N)")
        if other := [words for key, words in _KEYS.items() if _of(report, key) != _of(first, key)]:
            raise RunError(f"{name}: {', '.join(other)}: not of the same run as the first report")
        number, parts = (int(text) for text in shard.split("/"))
        if number in found or of not in (0, parts):
            raise RunError(
                f"{name}: part {shard} of the data: " + ("there twice" if number in found else f"not of {of}")
            )
        of, found[number] = parts, report
    if missing := sorted(set(range(1, of + 1)) - found.keys()):
        raise RunError(f"part {missing[0]}/{of} of the data is missing")
    return [found[number] for number in sorted(found)]


_KEYS: Mapping[Sequence[str], str] = {
    ("keras_model",): "another Keras model",
    ("torch",): "another port",
    ("tolerance",): "another tolerance",
    ("accuracy", "data"): "other data",
    ("accuracy", "limits"): "other limits",
    ("environment", "pytest_kerasdiff"): "another version of pytest-kerasdiff",
}


def _of(report: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = report
    for key in keys:
        value = value[key]
    return value


def _fails_otherwise(report: Mapping[str, Any]) -> bool:
    checks = [check for check in report["checks"] if check["check"] != _CHECK]
    return tally.verdict(report["layers"], checks) == "fail"
