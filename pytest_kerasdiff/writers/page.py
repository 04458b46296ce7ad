"""A report as one HTML page that needs nothing else: no network, no other file, and no script to be read."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_kerasdiff import checklist, text
from pytest_kerasdiff.writers import charts, graph, rows

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")
STATUSES: Mapping[str, str] = {
    "pass": "pass",
    "fault": "at fault",
    "inherited": "inherits",
    "unpaired": "unpaired",
    "declared": "declared",
    "fail": "fail",
    "warn": "warning",
    "off": "off",
    "caught": "caught",
    "undetectable": "undetectable",
    "missed": "missed",
}
"""Status of a layer, a check or a seeded fault → its word; the style has a colour and a sign for each."""
MOST_FLIPS = 50
"""Decisions that flipped that are shown unfolded."""


def render(report: Mapping[str, Any]) -> str:
    """Write a report as a page.

    Args:
        report: Content of ``report.json``. Texts in it come from files of strangers: all are escaped, and the page
            forbids what is not its own script and style. Fields that older reports lack are left out.

    Returns:
        The HTML document.

    Raises:
        ValueError: The report is not one.
    """
    from jinja2 import TemplateError

    try:
        return _rendered(report)
    except TemplateError as error:
        raise ValueError(str(error)) from None


def _rendered(report: Mapping[str, Any]) -> str:
    found = rows.rows(report)
    script, style = (_source(name) for name in ("page.js", "page.css"))
    return _environment().get_template("page.html.j2").render(
        report=report,
        verdict=text.verdict(report),
        passes=report.get("verdict") == "pass",
        rows=found,
        faults=[row for row in found if row.layer["status"] in ("fault", "unpaired")],
        inherited=[row for row in found if row.layer["status"] == "inherited"],
        nearest=rows.nearest(found),
        depth=rows.depth(found),
        graph=graph.draw(rows.links(found)),
        checks=_checks(report.get("checks") or ()),
        script=script,
        style=style,
        policy="; ".join(
            (
                "default-src 'none'",
                f"script-src '{_digest(script)}'",
                f"style-src '{_digest(style)}'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
    )  # fmt: skip


@functools.cache
def _environment() -> Environment:
    """The templates with the functions they call. Loaded late: runs without a folder for the report need no Jinja2."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined,
    )
    made.globals.update(
        histogram=rows.histogram,
        error_map=rows.error_map,
        speed=text.times,
        statuses=STATUSES,
        marks=charts.MARKS,
        row_height=graph.ROW,
        most_flips=MOST_FLIPS,
        standing=_standing,
        told_apart=text.told_apart,
    )
    made.filters.update(
        number=_number,
        percent=lambda value: "–" if not _is_number(value) else f"{value:.3%}",
        plain=_plain,
        shape=lambda sizes: "×".join(map(str, sizes)) if isinstance(sizes, Sequence) and sizes else "–",
        short=charts.short,
        picture=lambda uri: uri if isinstance(uri, str) and _PICTURE.fullmatch(uri) else None,
        cut=_cut,
        size=lambda value: f"{value / 2**20:.0f} MiB" if _is_number(value) else "–",
        title=lambda key: str(key).replace("_", " "),
    )
    return made


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _digest(source: str) -> str:
    """What a Content-Security-Policy calls an inline script or style by.

    Source: https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any, missing: str = "∞") -> str:
    """A number in three digits; what is null in an error is not finite."""
    return text.number(value) if _is_number(value) else missing if value is None else "–"


def _plain(value: Any) -> str:
    """A setting as its framework writes it."""
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_plain, value))}{',' * (len(value) == 1)})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cut(name: Any, most: int) -> str:
    """A name that fits; the end tells names of layers apart, so the middle is left out."""
    whole = str(name)
    kept = most - 1
    return whole if len(whole) <= most else f"{whole[: kept - kept // 2]}…{whole[-(kept // 2) :]}"


def _standing(check: Mapping[str, Any]) -> str:
    """Status of a check: one that passes with a cause warns."""
    return "warn" if text.warns(check) else str(check["status"])


def _checks(checks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The checks as the page lists them; what passes of a layer stands in the layer's details.

    Returns:
        ``pending``: those that fail, then those that warn, then those that are off; ``of_model``: those of the model
        that pass; ``counts``: name of a check → standing → how many.
    """
    order = ("fail", "warn", "off")
    standings = [(_standing(check), check) for check in checks]
    counts: dict[str, Counter[str]] = {}
    for standing, check in standings:
        counts.setdefault(check["check"], Counter())[standing] += 1
    return {
        "pending": [check for wanted in order for standing, check in standings if standing == wanted],
        "of_model": [
            check for standing, check in standings if standing == "pass" and check["layer"] == checklist.MODEL
        ],
        "counts": counts,
    }
