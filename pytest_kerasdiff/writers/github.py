"""What GitHub shows at the lines of a pull request: an annotation for each layer at fault and each check that fails."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_kerasdiff import text
from pytest_kerasdiff.errors import printable


def lines(report: Mapping[str, Any], environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Commands that GitHub's runner reads in what a step prints; none where it does not run this.

    Args:
        report: The report.
        environment: Of the process.
        folder: That the report's source lines refer to.

    Source: GitHub Actions, "Workflow commands": ``::error file=…,line=…,title=…::message``. In a message %, CR and LF
    are %25, %0D and %0A; in a property also : and , are %3A and %2C.
    """
    if environment.get("GITHUB_ACTIONS") != "true":
        return
    root = Path(environment.get("GITHUB_WORKSPACE") or folder)
    for layer in report["layers"]:
        if layer["status"] in ("fault", "unpaired"):
            causes = [f"{cause['id']}: {cause['text']}; {cause['patch']}" for cause in layer["causes"]]
            message = "\n".join([text.in_short(layer), *causes, *[layer["pattern"]] * bool(layer["pattern"])])
            yield _command("error", f"{layer['name']} ({layer['class']})", message, layer["source"], folder, root)
    told = {(la["name"], cause["id"]) for la in report["layers"] for cause in la["causes"]}
    for check in report["checks"]:
        if check["status"] == "fail" and (check["layer"], check["cause"]) not in told:
            source = next((la["source"] for la in report["layers"] if la["name"] == check["layer"]), None)
            title = f"{check['layer']}: {check['check']}"
            yield _command("error", title, check["message"], _stated(check["message"]) or source, folder, root)
        elif text.warns(check):
            title = f"{check['layer']}: {check['check']}"
            yield _command("warning", title, check["message"], _stated(check["message"]), folder, root)


def _stated(message: str) -> str | None:
    """The line of the port that a message names, ``[file:line]``."""
    found = re.search(r"\[([^\[\]]+:\d+)\]", message)
    return found[1] if found else None


def _command(kind: str, title: str, message: str, source: str | None, folder: Path, root: Path) -> str:
    file, _, line = (source or "").rpartition(":")
    where = ""
    if file and line.isdecimal():
        path = os.path.relpath(folder / file, root)
        where = f"file={_property(path)},line={line},"
    return f"::{kind} {where}title={_property(title)}::{_data(message)}"


def _data(words: str) -> str:
    return printable(words).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")
