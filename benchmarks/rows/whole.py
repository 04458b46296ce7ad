"""A whole run: without a cached reference, with one, and on two workers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from benchmarks import models, paired
from benchmarks.bench import BATCH, Bench
from benchmarks.paired import Round
from benchmarks.table import Line

FIRST = {"ResNet8": 0.85, "ResNet50": 1.0}
CACHED = {"ResNet8": 1.1, "ResNet50": 1.25}
WORKERS_S = 0.1


def first(bench: Bench, name: str) -> list[Line]:
    """Against a script that imports both frameworks, loads both models and runs each once."""
    model = bench.models.get(name)
    commands = [
        bench.product(f"first {name}", model),
        bench.bare(f"first {name}", "both", model.file, model.torch, BATCH),
    ]
    rounds = paired.take_turns(commands, bench.repeats)
    return [Line("first", name, paired.ratios(rounds), "", FIRST.get(name), _times(rounds))]


def cached(bench: Bench, name: str) -> list[Line]:
    """Against a script that imports torch, loads the port and runs it once."""
    model = bench.models.get(name)
    height, width, channels = models.input_shape(model.file)
    commands = [
        bench.product(f"cached {name}", model, cached=True),
        bench.bare(f"cached {name}", "torch_only", model.file, model.torch, BATCH, channels, height, width),
    ]
    rounds = paired.take_turns(commands, bench.repeats)  # the round before them makes the reference
    return [Line("cached", name, paired.ratios(rounds), "", CACHED.get(name), _times(rounds))]


def workers(bench: Bench, name: str) -> list[Line]:
    """What ``-n 2`` adds to ``-n 0``, less what it adds to an empty run."""
    model = bench.models.get(name)
    lines = []
    for label, is_cached in (("first", False), ("cached", True)):
        own = f"workers {label} {name}"
        commands = [bench.product(f"{own} {n}", model, "-n", str(n), cached=is_cached) for n in (2, 0)]
        commands += [bench.empty(f"{own} {n}", "-n", str(n)) for n in (2, 0)]
        rounds = paired.take_turns(commands, bench.repeats)
        added = paired.figures(rounds, lambda r: (r[0].wall_s - r[1].wall_s) - (r[2].wall_s - r[3].wall_s))
        two, none, empty_two, empty_none = (paired.wall_s(rounds, number) for number in range(4))
        absolute = f"{label}: -n 2 {two:.2f} s, -n 0 {none:.2f} s; empty {empty_two:.2f} s, {empty_none:.2f} s"
        lines.append(Line("workers", name, added, "s", WORKERS_S, absolute))
    return lines


def _times(rounds: Sequence[Round]) -> str:
    """Both times, and the product's own phases."""
    reports = [json.loads(one[0].result)["timing"] for one in rounds]
    phases = {key: statistics.median(report[key] for report in reports) for key in reports[0]}
    shown = ", ".join(f"{key.removesuffix('_s')} {value:.2f}" for key, value in phases.items() if value >= 0.005)
    return f"{paired.wall_s(rounds, 0):.2f} s, bare {paired.wall_s(rounds, 1):.2f} s ({shown})"
