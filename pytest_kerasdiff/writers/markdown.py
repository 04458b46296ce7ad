"""The report as Markdown, for a pull request or a CI summary: short where all is well."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_kerasdiff import text
from pytest_kerasdiff.errors import printable

Report = Mapping[str, Any]
Layer = Mapping[str, Any]

_NAMED = 20
_MARKS = re.compile(r"([\\`*_\[\]<>|~#&])")
_BAR = re.compile(r"(?<!\\)\|")
_BACKTICKS = re.compile(r"`+")


def render(report: Report) -> str:
    """The verdict; where something fails, faults with their causes and patches, and the checks that fail."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    name = os.path.basename(report["keras_model"])
    yield f"### {plain(text.verdict(report))}: {code(name)} → {code(report['torch'])}"
    yield ""
    yield f"{', '.join(text.counts(report))}. Compared: {', '.join(text.coverage(report))}."
    failing = [layer for layer in report["layers"] if layer["status"] in ("fault", "unpaired")]
    for layer in failing:
        yield ""
        yield from _fault(layer)
    yield from _inherited(report["layers"])
    yield from _checks(report["checks"])
    yield from _measured(report)
    if report["verdict"] != "pass":
        yield ""
        yield f"Once more: {code(report['command'])}"


def _fault(layer: Layer) -> Iterator[str]:
    where = f" at {code(layer['source'])}" if layer["source"] else ""
    partner = code(layer["torch"]) if layer["torch"] else "no torch operation"
    yield f"#### {code(layer['name'])} ({plain(layer['class'])}) → {partner}{where}"
    yield ""
    yield f"{plain(layer['status'])}: {plain(text.in_short(layer))}"
    for cause in layer["causes"]:
        state = "confirmed" if cause["confirmed"] else "not tried" if cause["after"] is None else "not confirmed"
        became = (
            f", {text.number(cause['before'])} → {text.number(cause['after'])}" if cause["after"] is not None else ""
        )
        yield ""
        yield f"* **{plain(cause['id'])}** ({state}{became}): {plain(cause['text'])}"
        if cause["patch"]:
            yield ""
            yield from (f"  {line}" for line in block(cause["patch"]))
    if layer["pattern"] and not layer["causes"]:
        yield ""
        yield f"* **unexplained**: {plain(layer['pattern'])}"


def _inherited(layers: Sequence[Layer]) -> Iterator[str]:
    names = [layer["name"] for layer in layers if layer["status"] == "inherited"]
    if names:
        yield ""
        inherit = "inherits" if len(names) == 1 else "inherit"
        yield f"{text.count(len(names), 'layer')} behind {inherit}: {several(names)}."


def _checks(checks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    failed = [check for check in checks if check["status"] == "fail"]
    if failed:
        rows = [(code(c["check"]), code(c["layer"]), plain(c["message"])) for c in failed]
        yield ""
        yield from table(("check that fails", "layer", "what it found"), rows)
    for title, found in (
        ("Warnings", [c for c in checks if text.warns(c)]),
        ("Turned off", [c for c in checks if c["status"] == "off"]),
    ):
        if found:
            yield ""
            yield f"{title}:"
            yield ""
            yield from (f"* {code(c['check'])} of {code(c['layer'])}: {plain(c['message'])}" for c in found)


def _measured(report: Report) -> Iterator[str]:
    """What is to be seen in numbers: the nearest to its limit, accuracy, speed, the repairs together."""
    lines = []
    for layer in text.worst(report["layers"], 1):
        near, limit = (text.number(layer["cumulative"][key]) for key in ("max_abs", "limit"))
        lines.append(f"* nearest to its limit of those that pass: {code(layer['name'])}, {near} of {limit}")
    for check in report["checks"]:
        if (check["check"], check["status"]) == ("accuracy", "pass"):
            lines.append(f"* accuracy: {plain(check['message'])}")
    if report["throughput"] is not None:
        lines += [f"* speed: {plain(text.speed(entry))}" for entry in report["throughput"]["measured"]]
    if (repaired := report["repaired"]) is not None:
        before, after = (text.number(repaired[key]) for key in ("before", "after"))
        lines.append(f"* the model's output with all confirmed causes undone: {before} → {after}")
    lines += [f"* note: {plain(note)}" for note in report["notes"]]
    if lines:
        yield ""
        yield from lines


# -- Markdown --------------------------------------------------------------------------------------------------------


def plain(words: str) -> str:
    """Words as they are, whatever marks they hold; a name after @ calls nobody."""
    return _MARKS.sub(r"\\\1", printable(" ".join(words.split()))).replace("@", "@\u200b")


def code(words: str) -> str:
    """Words as code, in more backticks than they hold. Source: CommonMark 0.31, section 6.1."""
    own = printable(" ".join(words.split())) or " "
    ticks = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(own)), default=0))
    space = " " if own[0] in "` " or own[-1] in "` " else ""
    return f"{ticks}{space}{own}{space}{ticks}"


def block(words: str) -> Iterator[str]:
    """Lines of code as they are."""
    ticks = "`" * max(3, 1 + max((len(run) for run in _BACKTICKS.findall(words)), default=0))
    yield f"{ticks}text"
    yield from (printable(line) for line in words.splitlines())
    yield ticks


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of cells that are Markdown already.

    Source: GitHub Flavored Markdown, "Tables": a cell ends at every | that has no backslash, in code too.
    """
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for row in rows:
        cells = " | ".join(_BAR.sub(r"\\|", cell) for cell in row)
        yield f"| {cells} |"


def several(names: Sequence[str]) -> str:
    """Names as code in a row; of many the first, and how many there are."""
    more = f" … ({len(names)} in all)" if len(names) > _NAMED else ""
    return ", ".join(map(code, names[:_NAMED])) + more
