"""Judge every port of the zoo whose faults are known, and write CATALOGUE.md's table: ``python -m tests.measure``.

It takes some ten minutes. Only Keras 3 is asked, so that each port counts once.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests import helpers
from tests.helpers import ROOT, Report
from tests.test_zoo import judge_all
from tests.zoo import faulty, make
from tests.zoo.case import RIGHT
from tests.zoo.cases import CASES
from tests.zoo.causes import CAUSES
from tests.zoo.places import PLACES, WORDS

LOADER = "keras"
DOCUMENT = ROOT / "CATALOGUE.md"
BEGIN, END = "<!-- found: made by `python -m tests.measure` -->\n", "<!-- /found -->"


@dataclasses.dataclass(frozen=True)
class Truth:
    """What a wrong port does: the layers that are wrong, and the ids of its faults."""

    layers: frozenset[str]
    ids: tuple[str, ...]


def truths() -> dict[tuple[str, str], Truth]:
    """(case, port) → what it does, of all ports whose faults are stated and that Keras 3 can make."""
    found = {}
    for name, expected in CAUSES.items():
        case, port = name.split(":")
        if LOADER in CASES[case].loaders:
            own = CASES[case].wrong[port]
            layers, ids = faulty.TRUTH.get(name, (" ".join(own.faults), expected))
            shown = frozenset(layers.split()) or frozenset(layer for layer, _ in own.checks)
            found[case, port] = Truth(shown, tuple(one.lstrip("?") for one in ids.split() if one != "-"))
    return found


@dataclasses.dataclass(frozen=True)
class Found:
    """What the comparison says of a wrong port.

    Attributes:
        detected: It fails.
        layer: Exactly the layers that are wrong are called so.
        named: Ids that were named.
        confirmed: Those that a trial has confirmed.
    """

    detected: bool
    layer: bool
    named: frozenset[str]
    confirmed: frozenset[str]


def found_in(report: Report, truth: Truth) -> Found:
    """Read a report."""
    blamed = helpers.at(report, "fault") or {layer for layer, _ in helpers.failed_checks(report)}
    causes = [cause for layer in report["layers"] for cause in layer["causes"]]
    named, confirmed = (
        frozenset(cause["id"] for cause in causes if cause["confirmed"] or not sure) for sure in (False, True)
    )
    return Found(report["verdict"] == "fail", blamed == truth.layers, named, confirmed)


def table(found: Mapping[tuple[str, str], Found], right: int, alarms: int) -> str:
    """The table, with a line above it that sums it up."""
    known = truths()
    several = sum(len(known[key].ids) > 1 for key in found)
    exact = sum(one.layer for one in found.values())
    complete = sum(set(known[key].ids) <= one.confirmed for key, one in found.items())
    others = sum(len(case.wrong) for case in CASES.values() if LOADER in case.loaders) - len(found)
    detected = sum(one.detected for one in found.values())
    lines = [
        f"{len(found)} wrong ports, {several} of them with several faults: {detected} detected, in {exact} exactly the "
        f"layers at fault are called so, in {complete} every fault is named and confirmed.",
        f"{right} right ports: {alarms} false alarms.",
        f"Not counted: {others} wrong ports of which no cause is stated; the tests want them to fail as well.",
        "",
        "| id | what is wrong | where | ports | models | detected | layer | named | confirmed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, place in PLACES.items():
        own = {key: one for key, one in found.items() if name in known[key].ids}
        counts: Iterable[int] = (
            *(len(own), len({case for case, _ in own})),
            *(sum(one.detected for one in own.values()), sum(one.layer for one in own.values())),
            *(sum(name in one.named for one in own.values()), sum(name in one.confirmed for one in own.values())),
        )
        cells = [str(count) for count in counts] if own else ["–"] * 6
        lines.append(f"| `{name}` | {WORDS[name]} | {place} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(text: str, made: str) -> str:
    """The document with another table."""
    return f"{text.partition(BEGIN)[0]}{BEGIN}{made}\n{END}{text.partition(END)[2]}"


def is_false_alarm(report: Report) -> bool:
    """Whether a report of a right port says anything against it."""
    return report.get("verdict") != "pass" or any(layer["causes"] for layer in report["layers"])


def main() -> None:
    """Judge in as many processes as there are processors."""
    known = truths()
    names = [name for name, case in CASES.items() if LOADER in case.loaders]
    parts = [names[start :: os.cpu_count() or 1] for start in range(os.cpu_count() or 1)]
    found: dict[tuple[str, str], Found] = {}
    alarms = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(len(parts)) as pool:

        def judge(number: int) -> Path:
            own = Path(folder) / str(number)
            own.mkdir()
            calls = [(name, port) for name in parts[number] for port in (RIGHT, *CASES[name].wrong)]
            errors = judge_all(LOADER, [(n, p) for n, p in calls if p == RIGHT or (n, p) in known], own)
            assert not errors, errors
            return own

        for own, part in zip(pool.map(judge, range(len(parts))), parts, strict=True):
            for name in part:
                alarms += is_false_alarm(helpers.result(make.job(CASES[name], RIGHT, own).folder))
                for port in CASES[name].wrong:
                    if (name, port) in known:
                        report = helpers.result(make.job(CASES[name], port, own).folder)
                        found[name, port] = found_in(report, known[name, port])
                        truth = known[name, port]
                        if not (found[name, port].layer and set(truth.ids) <= found[name, port].confirmed):
                            print(f"{name}:{port}: {' '.join(truth.ids)}: {found[name, port]}")
    DOCUMENT.write_text(with_table(DOCUMENT.read_text("utf-8"), table(found, len(names), alarms)), "utf-8")


if __name__ == "__main__":
    main()
