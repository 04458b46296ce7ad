"""What one more test of a layer costs: it looks a verdict up."""

from __future__ import annotations

import dataclasses
import json
import statistics

from benchmarks import paired
from benchmarks.bench import Bench
from benchmarks.process import Command
from benchmarks.table import Line

LAYERS = (60, 240)
BUDGET_MS = 1.0


def per_test(bench: Bench) -> list[Line]:
    """Slope of the test phase between two models of many layers."""
    commands = []
    for layers in LAYERS:
        command = bench.product(f"per-test {layers}", bench.models.blocks(layers), "-p", "benchmarks.bare.phase")
        commands.append(_timed(command))
    plain = _timed(bench.empty("per-test", "-p", "benchmarks.bare.phase"))
    count = 400
    source = f"import pytest\n\n\n@pytest.mark.parametrize('n', range({count}))\ndef test_nothing(n):\n    pass\n"
    (plain.folder / "test_nothing.py").write_text(source, "utf-8")
    rounds = paired.take_turns([*commands, plain], bench.repeats)
    phases = [[json.loads(sample.result) for sample in one] for one in rounds]
    slopes = [(b["tests_s"] - a["tests_s"]) / (b["tests"] - a["tests"]) * 1000 for a, b, _ in phases]
    few, many, _ = phases[0]
    plain_ms = statistics.median(p["tests_s"] for *_, p in phases) / count * 1000
    absolute = f"{few['tests']} and {many['tests']} tests; a plain test that does nothing {plain_ms:.2f} ms"
    models = f"{LAYERS[0]} and {LAYERS[1]} layers"
    return [Line("per-test", models, paired.spread(slopes), "ms", BUDGET_MS, absolute)]


def _timed(command: Command) -> Command:
    path = command.folder / "phase.json"
    return dataclasses.replace(command, environment={"BENCHMARKS_PHASE": str(path)}, result=path)
