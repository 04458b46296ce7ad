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
    """Slope of the test phase between two models of many layers; beside it tests that do nothing."""
    commands = []
    for layers in LAYERS:
        command = bench.product(f"per-test {layers}", bench.models.blocks(layers), "-p", "benchmarks.bare.phase")
        commands.append(_timed(command))
    plain = _timed(bench.empty("per-test", "-p", "benchmarks.bare.phase"))
    source = "import pytest\n\n\n@pytest.mark.parametrize('n', range(400))\ndef test_nothing(n):\n    pass\n"
    (plain.folder / "test_nothing.py").write_text(source, "utf-8")
    rounds = paired.take_turns([*commands, plain], bench.repeats)
    phases = [[json.loads(sample.result) for sample in one] for one in rounds]
    slopes_ms = [(b["tests_s"] - a["tests_s"]) / (b["tests"] - a["tests"]) * 1000 for a, b, _ in phases]
    plain_ms = [bare["tests_s"] / bare["tests"] * 1000 for *_, bare in phases]
    few, many, _ = phases[0]
    absolute = f"{few['tests']} and {many['tests']} tests"
    shown = (
        f"{statistics.median(slopes_ms):.2f} ms, a plain test that does nothing {statistics.median(plain_ms):.2f} ms"
    )
    ratio = paired.spread([own / plain for own, plain in zip(slopes_ms, plain_ms, strict=True)])
    models = f"{LAYERS[0]} and {LAYERS[1]} layers"
    return [
        Line("per-test", models, paired.spread(slopes_ms), "ms", BUDGET_MS, absolute),
        Line("per-test", models, ratio, "", None, shown),
    ]


def _timed(command: Command) -> Command:
    path = command.folder / "phase.json"
    return dataclasses.replace(command, environment={"BENCHMARKS_PHASE": str(path)}, result=path)
