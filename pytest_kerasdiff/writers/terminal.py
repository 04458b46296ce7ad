"""The report on a terminal: the verdict, faults first, then how much was compared, and what to type next."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pytest_kerasdiff import text
from pytest_kerasdiff.errors import one_line

Report = Mapping[str, Any]
Layer = Mapping[str, Any]
Style = Literal["", "good", "bad", "warn", "faint"]
Face = Literal["pytest", "program"]

_NAMED = 4
"""Layers that inherit that are named."""
_WORST, _WORST_VERBOSE = 3, 10
"""Passing layers that are named, those nearest to their limit first."""
_SELECTABLE = re.compile(r"[\w.]+")
"""Names that ``-k`` takes as they are."""
_LABEL = re.compile(r" *(?:\S+ {2,})?")


class Line(NamedTuple):
    """A line, and how it is shown where there are colours."""

    words: str
    style: Style = ""


def summary(report: Report, face: Face, verbosity: int = 0) -> Iterator[Line]:
    """A run in lines: the verdict, layers at fault first, what they caused folded.

    Args:
        report: The report.
        face: Who shows it. pytest has already shown each failing layer's block.
        verbosity: -1 and less: what fails, and what was measured; 1 and more: every check, more layers.
    """
    failing = [layer for layer in report["layers"] if layer["status"] in ("fault", "unpaired")]
    passes = report["verdict"] == "pass"
    yield Line(f"{text.verdict(report)}: {', '.join(text.counts(report))}", "good" if passes else "bad")
    blocks = face == "program"
    for layer in failing:
        if blocks:
            yield from _block(layer)
        else:
            yield Line(f"  {layer['status']:<9} {text.title(layer)}  {text.in_short(layer)}", "bad")
            yield from (Line(f"    {words}") for words in text.remedies(layer))
    if blocks and failing:
        yield Line("")
    yield from _inherited(report["layers"])
    yield from _checks(report["checks"], verbosity)
    yield from _measured(report)
    if verbosity < 0:
        return
    yield from (Line(words) for words in _table(report["checks"], verbosity))
    yield from _compared(report, verbosity)
    yield from (Line(f"  next      {words}") for words in _next(report, face, failing))


def _block(layer: Layer) -> Iterator[Line]:
    yield Line("")
    for number, words in enumerate(text.layer_block(layer).splitlines()):
        yield Line(words, "bad" if number == 0 or words.endswith("✗ at fault") else "")


def _inherited(layers: Sequence[Layer]) -> Iterator[Line]:
    own = [layer for layer in layers if layer["status"] == "inherited"]
    if own:
        origins = list(dict.fromkeys(layer["inherits_from"] for layer in own if layer["inherits_from"]))
        behind = f", from {text.shortened(origins)}" if origins else ""
        names = ", ".join(layer["name"] for layer in own[:_NAMED]) + " …" * (len(own) > _NAMED)
        yield Line(f"  inherited {text.count(len(own), 'layer')}{behind}: {names}", "warn")


def _checks(checks: Sequence[Mapping[str, Any]], verbosity: int) -> Iterator[Line]:
    """Checks that fail, then those that warn, then those that are off."""
    for check in checks:
        if check["status"] == "fail":
            yield Line(f"  {check['check']:<9} {check['layer']}: {check['message']}", "bad")
    for check in checks if verbosity >= 0 else ():
        if check["status"] == "pass" and check["cause"]:
            yield Line(f"  {'warning':<9} {check['layer']}: {check['check']}: {check['message']}", "warn")
    for check in checks if verbosity >= 0 else ():
        if check["status"] == "off":
            yield Line(f"  {'off':<9} {check['check']} of {check['layer']}: {check['message']}", "warn")


def _measured(report: Report) -> Iterator[Line]:
    """Accuracy, speed, the self-test, and what all repairs together come to."""
    for check in report["checks"]:
        if (check["check"], check["status"]) == ("accuracy", "pass"):
            yield Line(f"  accuracy  {check['message']}")
    for entry in report["throughput"]["measured"] if report["throughput"] is not None else ():
        yield Line(f"  speed     {text.speed(entry)}")
    if report["selftest"] is not None:
        yield from (Line(words) for words in _selftest(report))
    repaired = report["repaired"]
    if repaired is not None and (repaired["before"] is None or repaired["before"] != repaired["after"]):
        before, after = (text.number(repaired[key]) for key in ("before", "after"))
        yield Line(f"  repaired  the model's output with all confirmed causes undone: {before} → {after}", "good")


def _selftest(report: Report) -> Iterator[str]:
    """What became of the seeded faults, in a line for each id of the catalogue; what was not caught, fault by fault."""
    yield from (f"  selftest  {check['message']}" for check in report["checks"] if check["check"] == "selftest")
    faults = report["selftest"]["faults"]
    for one in dict.fromkeys(fault["id"] for fault in faults):
        own = [fault for fault in faults if fault["id"] == one]
        caught, named, confirmed = (sum(fault[key] for fault in own) for key in ("caught", "named", "confirmed"))
        yield f"    {one:<24} {len(own):>3} seeded, {caught} caught, {named} named, {confirmed} confirmed"
    for fault in faults:
        if not fault["caught"]:
            moved = f"moves {text.number(fault['effect'])} of limit {text.number(fault['limit'])}"
            yield f"    {fault['status']:<13} {fault['id']} in {fault['layer']}: {fault['words']}; its output {moved}"
    left_out = report["selftest"]["not_seeded"]
    for reason in dict.fromkeys(left_out.values()):
        yield f"    not seeded, {reason}: {', '.join(one for one, own in left_out.items() if own == reason)}"


def _table(checks: Sequence[Mapping[str, Any]], verbosity: int) -> Iterator[str]:
    """How often each check was made, and what came of it; those without a finding in one row."""
    rows: dict[str, list[int]] = {}
    for check in checks:
        found = [check["status"] != "off", check["status"] == "fail", text.warns(check), check["status"] == "off"]
        rows[check["check"]] = [a + b for a, b in zip(rows.get(check["check"], [0] * 4), found, strict=True)]
    quiet = [name for name, row in rows.items() if not any(row[1:])] if verbosity < 1 else []
    if len(quiet) > 1:
        others = [rows.pop(name) for name in quiet]
        rows["others" if rows else "all"] = [sum(column) for column in zip(*others, strict=True)]
    if rows:
        width = max(len("check"), *map(len, rows))
        yield f"  {'check':<{width}}  made  failed  warned  off"
        for name, (made, failed, warned, off) in rows.items():
            yield f"  {name:<{width}}  {made:>4}  {failed:>6}  {warned:>6}  {off:>3}"


def _compared(report: Report, verbosity: int) -> Iterator[Line]:
    """How much of all there is was compared, what came nearest to its limit, what was left out."""
    yield Line(f"  compared  {', '.join(text.coverage(report))}")
    worst = text.worst(report["layers"], _WORST_VERBOSE if verbosity > 0 else _WORST)
    if worst:
        near = ", ".join(
            f"{la['name']} ({text.number(la['cumulative']['max_abs'])} of limit "
            f"{text.number(la['cumulative']['limit'])})"
            for la in worst
        )
        yield Line(f"  worst     passing {'layer' if len(worst) == 1 else 'layers'}: {near}")
    yield from (Line(words, "faint") for words in _left_out(report["layers"]))
    undeclared = [name for name, reason in report["unused_parameters"].items() if not reason]
    if undeclared:
        yield Line(f"  torch parameters no operation used: {text.shortened(undeclared, 6)}", "warn")


def _left_out(layers: Sequence[Layer]) -> Iterator[str]:
    """What the probe inputs did not exercise: a fault there would not show in the activations."""
    found = [(layer["name"], words) for layer in layers for words in layer["not_exercised"]]
    if found:
        several = "; ".join(f"{name}: {words}" for name, words in found[:3])
        number = sum(bool(layer["not_exercised"]) for layer in layers)
        yield f"  not exercised by these inputs: {text.count(number, 'layer')} ({several}{' …' * (len(found) > 3)})"


def _next(report: Report, face: Face, failing: Sequence[Layer]) -> Iterator[str]:
    """What to do and to type where something fails."""
    if report["verdict"] == "pass":
        return
    first = failing[0] if failing else None
    if first is not None:
        confirmed = any(cause["confirmed"] for cause in first["causes"])
        do = "apply the patch of" if confirmed else "repair" if first["status"] == "fault" else "name the partner of"
        yield f"{do} {first['name']}; layers that inherit pass when it does"
    if face == "program":
        yield report["command"]
    elif first is not None and _SELECTABLE.fullmatch(first["name"]):
        yield f"pytest --lf -k {shlex.quote(first['name'])}, then pytest --lf"
    else:
        yield "pytest --lf"


def fold(words: str, width: int | None) -> Iterator[str]:
    """A line as so many of a terminal's width as it takes, indented behind its label; as it is where there is none.

    What would be a command to the terminal is written out.
    """
    words = one_line(words)
    if width is None or len(words) <= width:
        yield words
        return
    label = _LABEL.match(words)
    indent = len(label.group()) if label is not None and label.end() <= width // 3 else 4
    yield from textwrap.wrap(
        words, width, subsequent_indent=" " * indent, break_on_hyphens=False, drop_whitespace=True
    )  # fmt: skip
