"""What changed between two reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_kerasdiff import text

Report = Mapping[str, Any]

_TIMES = 2.0
"""An error that grows or shrinks by less is said nothing of."""


def lines(old: Report, new: Report) -> Iterator[str]:
    """The differences, in lines: the verdict, what was compared, layers, checks, accuracy, speed, versions."""
    changed = list(_changed(old, new))
    before, after = text.verdict(old), text.verdict(new)
    yield f"{before} → {after}" if before != after else f"{after}, as before"
    yield from changed or ["  nothing changed"]


def _changed(old: Report, new: Report) -> Iterator[str]:
    for key, words in (
        ("keras_model", "model"),
        ("torch", "port"),
        ("precision", "precision"),
        ("tolerance", "tolerance"),
    ):
        if old[key] != new[key]:
            yield f"  {words:<9} {old[key]} → {new[key]}"
    yield from _of_layers(old, new)
    yield from _of_checks(old, new)
    yield from _of_accuracy(old.get("accuracy"), new.get("accuracy"))
    yield from _of_speed(old.get("throughput"), new.get("throughput"))
    ours, theirs = old["environment"], new["environment"]
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            yield f"  {'with':<9} {name} {ours.get(name, '–')} → {theirs.get(name, '–')}"


def _of_layers(old: Report, new: Report) -> Iterator[str]:
    before, after = ({layer["name"]: layer for layer in report["layers"]} for report in (old, new))
    for name in (name for name in before if name not in after):
        yield f"  layer     {name} is no longer there"
    behind: dict[str, list[str]] = {}
    for name, layer in after.items():
        if name not in before:
            yield f"  layer     {name} is new: {layer['status']}"
            continue
        if layer["status"] == "inherited" != before[name]["status"]:
            behind.setdefault(before[name]["status"], []).append(name)
        elif layer["status"] != before[name]["status"]:
            what = f"{before[name]['status']} → {layer['status']}"
            causes = ", ".join(cause["id"] for cause in layer["causes"])
            yield f"  layer     {name}: {what}{f' ({causes})' if causes else ''}"
        elif (words := _of_errors(before[name], layer)) is not None:
            yield f"  layer     {name}: {layer['status']}, {words}"
        if layer["torch"] != before[name]["torch"]:
            yield f"  layer     {name}: {before[name]['torch'] or 'no partner'} → {layer['torch'] or 'no partner'}"
    for status, names in behind.items():
        yield f"  layers    {status} → inherited: {text.shortened(names)}"


def _of_errors(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """How a layer's errors changed, where that is more than rounding: seen only where one is near its limit."""
    for key in ("isolated", "cumulative"):
        one, other = before[key], after[key]
        if one is None or other is None:
            continue
        numbers = [error["max_abs"] for error in (one, other)]
        if None in numbers:
            if numbers[0] is not numbers[1]:
                return f"{key} {text.measure(one)} → {text.measure(other)}"
        elif max(numbers) > max(one["limit"], other["limit"]) / 100 and max(numbers) > _TIMES * min(numbers):
            return f"{key} {text.number(numbers[0])} → {text.number(numbers[1])} of limit {text.number(other['limit'])}"
    return None


def _of_checks(old: Report, new: Report) -> Iterator[str]:
    before, after = ({(c["layer"], c["check"]): c for c in report["checks"]} for report in (old, new))
    for layer, check in (key for key in before if key not in after):
        yield f"  check     {layer}: {check} is no longer made"
    for (layer, check), made in after.items():
        one = before.get((layer, check))
        if one is None:
            yield f"  check     {layer}: {check} is new: {_state(made)}"
        elif _state(one) != _state(made):
            yield f"  check     {layer}: {check}: {_state(one)} → {_state(made)}: {made['message']}"


def _state(check: Mapping[str, Any]) -> str:
    return "warns" if text.warns(check) else str(check["status"])


def _of_accuracy(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[str]:
    if old is None or new is None:
        return  # its check says so
    for side, whose in (("torch", "the port's"), ("keras", "Keras's")):
        values = [None if found[side] is None else found[side]["value"] for found in (old, new)]
        if values[0] != values[1]:
            shown = ["–" if value is None else f"{value:.5g}" for value in values]
            yield f"  accuracy  {whose} {new['metric']} {shown[0]} → {shown[1]}"
    if old["flips"] != new["flips"]:
        yield f"  accuracy  flips {old['flips']} → {new['flips']}"


def _of_speed(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[str]:
    before, after = (
        {(one["device"], one["batch"]): one for one in (found or {"measured": []})["measured"]} for found in (old, new)
    )
    for place, entry in after.items():
        for key, whose in (("ratio", "Keras"), ("ratio_to_yardstick", "the yardstick")):
            one, other = (before.get(place) or {}).get(key), entry[key]
            if one is not None and other is not None and not one["low"] <= other["median"] <= one["high"]:
                became = f"{text.times(one)} → {text.times(other)}"
                yield f"  speed     {place[0]}, batch {place[1]}: {became} as fast as {whose}"
