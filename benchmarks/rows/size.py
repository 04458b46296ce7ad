"""Whether large models go through, and whether what they cost grows with their size and no faster."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from benchmarks import paired
from benchmarks.bench import Bench
from benchmarks.models import Model
from benchmarks.process import CommandError
from benchmarks.rows.memory import SIDES
from benchmarks.table import Line

LAYERS = (250, 500, 1000)
LINEAR = 1.3
"""A further layer may cost this many times an earlier one: what is quadratic costs three times as much here."""
WIDE_LAYERS, WIDE_UNITS = 8, 7906
"""500 million parameters."""
_BYTES = 8
_MIB = 2**20
_MOST_REPEATS = 1


def layers(bench: Bench) -> list[Line]:
    """Time of whole runs on small layers, right ports."""
    chains = [bench.models.blocks(count) for count in LAYERS]
    commands = [bench.product(f"layers {count}", chain) for count, chain in zip(LAYERS, chains, strict=True)]
    rounds = paired.take_turns(commands, min(bench.repeats, _MOST_REPEATS), warm_up=False)
    _right(chains[-1], json.loads(rounds[0][-1].result))

    def steepness(one: paired.Round) -> float:
        first, second, third = (sample.wall_s for sample in one)
        return (third - second) / (LAYERS[2] - LAYERS[1]) / ((second - first) / (LAYERS[1] - LAYERS[0]))

    words = ", ".join(f"{count} layers {paired.wall_s(rounds, i):.0f} s" for i, count in enumerate(LAYERS))
    return [Line("layers", "chain", paired.figures(rounds, steepness), "", LINEAR, words)]


def parameters(bench: Bench) -> list[Line]:
    """Peak memory of whole runs, right ports; nothing is promised but that they end."""
    model = bench.models.wide(WIDE_LAYERS, WIDE_UNITS)
    command = dataclasses.replace(bench.product("parameters", model), watch=SIDES)
    rounds = paired.take_turns([command], min(bench.repeats, _MOST_REPEATS), warm_up=False)
    model.file.unlink()
    _right(model, json.loads(rounds[0][0].result))
    size_mib = WIDE_LAYERS * WIDE_UNITS * (WIDE_UNITS + 1) * _BYTES / _MIB
    found = []
    for side in SIDES:
        peaks = [one[0].peak_mib[side] for one in rounds]
        words = f"{paired.wall_s(rounds, 0):.0f} s; {peaks[0]:.0f} MiB, the parameters {size_mib:.0f} MiB"
        value = paired.spread([peak / size_mib for peak in peaks])
        found.append(Line("parameters", f"{model.name}, {side}", value, "times", None, words))
    return found


def _right(model: Model, report: Mapping[str, object]) -> None:
    if report["verdict"] != "pass":
        raise CommandError(f"{model.name}: a right port does not pass")
