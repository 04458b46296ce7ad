"""What the diagnosis of a wrong port adds to a run."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

from benchmarks import paired
from benchmarks.bench import Bench
from benchmarks.table import Line

MODEL = "MobileNetV1"
ONE_S = 2.0
ALL_S = 60.0
PORTS = {"one_epsilon": ONE_S, "one_padding": ONE_S, "all_once": ALL_S, "all_twice": ALL_S}
_MOST_REPEATS = 3


def diagnosis(bench: Bench, name: str) -> list[Line]:
    """The time that the report states: of ports with one fault, and of ports wrong in every layer once or twice."""
    model = bench.models.get(name)
    lines = []
    for port, budget_s in PORTS.items():
        wrong = dataclasses.replace(model, torch=f"benchmarks.ports:{port}")
        command = bench.product(f"diagnosis {port}", wrong, cached=True)
        command = dataclasses.replace(command, statuses=(1,))
        rounds = paired.take_turns([command], min(bench.repeats, _MOST_REPEATS), warm_up=False)
        reports = [json.loads(one[0].result) for one in rounds]
        value = paired.spread([report["timing"]["diagnose_s"] for report in reports])
        counted = Counter(layer["status"] for layer in reports[0]["layers"])
        confirmed = sum(any(c["confirmed"] for c in layer["causes"]) for layer in reports[0]["layers"])
        statuses = ", ".join(f"{count} {status}" for status, count in counted.most_common())
        absolute = f"{port}: run {paired.wall_s(rounds, 0):.1f} s; {statuses}; a cause confirmed in {confirmed}"
        lines.append(Line("diagnosis", name, value, "s", budget_s, absolute))
    return lines
