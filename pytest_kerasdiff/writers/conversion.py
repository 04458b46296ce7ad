"""The conversion report as Markdown: which torch operations are which Keras layer, and what training would need."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_kerasdiff import text
from pytest_kerasdiff.writers.markdown import code, plain, table

Report = Mapping[str, Any]


def render(report: Report) -> str:
    """The layer map with shapes and weights, notes for training, and what a reader must know."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {code(os.path.basename(report['keras_model']))} → {code(report['torch'])}"
    yield ""
    yield f"{text.verdict(report)}: {', '.join(text.counts(report))}."
    yield ""
    given = [
        (code(name), code(str(tuple(own["shape"]))), code(own["layout"])) for name, own in report["inputs"].items()
    ]
    yield from table(("input", "shape in Keras", "how the port takes it"), given)
    yield ""
    yield "## Layers"
    yield ""
    yield from table(
        ("Keras layer", "class", "output", "torch", "operations", "weights, Keras → torch", "matched by", "status"),
        (_row(layer) for layer in report["layers"]),
    )
    notes = [check["message"] for check in report["checks"] if check["check"] == "training_notes"]
    yield from _list("Training", [note for message in notes for note in message.split("; ")])
    yield from _list("Warnings", [f"{c['layer']}: {c['message']}" for c in report["checks"] if text.warns(c)])
    unused = [f"{name}: {reason or 'not declared'}" for name, reason in report["unused_parameters"].items()]
    yield from _list("Torch parameters that no operation used", unused)
    yield from _list("Notes", report["notes"])


def _row(layer: Mapping[str, Any]) -> tuple[str, ...]:
    source = f" at {code(layer['source'])}" if layer["source"] and layer["torch"] else ""
    status = plain(layer["status"] + (f": {layer['reason']}" if layer["reason"] else ""))
    return (
        code(layer["name"]),
        plain(layer["class"]),
        code(str(tuple(layer["shape"]))),
        (code(layer["torch"]) if layer["torch"] else "–") + source,
        ", ".join(map(code, layer["operations"])) or "–",
        _weights(layer["weights"]),
        plain(layer["matched_by"]) if layer["torch"] else "–",
        status,
    )


def _weights(weights: Mapping[str, Any] | None) -> str:
    sides = [
        ", ".join(code(f"{one['name']} {tuple(one['shape'])}") for one in (weights or {}).get(side, ()))
        for side in ("keras", "torch")
    ]
    return " → ".join(side or "–" for side in sides) if any(sides) else "–"


def _list(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield f"## {title}"
        yield ""
        yield from (f"* {plain(line)}" for line in lines)
