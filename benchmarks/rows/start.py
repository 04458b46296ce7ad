"""What comes before any test: the plugin that nobody uses, and the collection of a large model."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Iterable

from benchmarks import paired, process
from benchmarks.bare import modules
from benchmarks.bench import Bench
from benchmarks.process import Sample
from benchmarks.table import Line

UNUSED_MS = 10.0
COLLECTION_S = 0.5
LAYERS = 1000
MORE = 5
"""So many rounds more, because what is measured is smaller than what a machine varies by."""
_PYTEST = {"pytest", "_pytest", "pluggy", "iniconfig", "pytest_kerasdiff", "benchmarks"}


def unused(bench: Bench) -> list[Line]:
    """The installed plugin without an option, against pytest without the plugin; and what it imports."""
    commands = [bench.empty("unused"), bench.empty("unused", "-p", "no:kerasdiff")]
    rounds = paired.take_turns(commands, bench.repeats * MORE)
    wall = paired.figures(rounds, lambda r: (r[0].wall_s - r[1].wall_s) * 1000)
    cpu = paired.figures(rounds, lambda r: (r[0].cpu_s - r[1].cpu_s) * 1000)
    walls = f"{paired.wall_s(rounds, 0):.3f} s, without the plugin {paired.wall_s(rounds, 1):.3f} s"
    cpus = [statistics.median(one[number].cpu_s for one in rounds) for number in (0, 1)]
    processor = f"processor time {cpus[0]:.3f} s, without the plugin {cpus[1]:.3f} s"
    watching = [dataclasses.replace(c, arguments=(*c.arguments, "-p", "benchmarks.bare.modules")) for c in commands]
    found = foreign(*(imported(process.run(command)) for command in watching))
    named = f"modules that are neither pytest's nor of the standard library: {', '.join(found) or 'none'}"
    return [
        Line("unused", "empty run", wall, "ms", UNUSED_MS, walls),
        Line("unused", "empty run", cpu, "ms", UNUSED_MS, processor),
        Line("unused", "empty run", paired.spread([len(found)]), "imports", 0, named),
    ]


def imported(sample: Sample) -> set[str]:
    """The modules that a run has imported."""
    (line,) = [line for line in sample.printed.splitlines() if line.startswith(modules.HEAD)]
    return set(json.loads(line.removeprefix(modules.HEAD)))


def foreign(with_plugin: Iterable[str], without: Iterable[str]) -> list[str]:
    """Packages that only the plugin brings, and that are neither pytest's nor of the standard library."""
    tops = {name.partition(".")[0] for name in set(with_plugin) - set(without)}
    return sorted(tops - _PYTEST - sys.stdlib_module_names)


def collection(bench: Bench) -> list[Line]:
    """``--collect-only`` of a model of many layers, against an empty run."""
    model = bench.models.blocks(LAYERS)
    product = dataclasses.replace(bench.product("collection", model, "--collect-only"), result=None)
    rounds = paired.take_turns([product, bench.empty("collection", "--collect-only")], bench.repeats)
    added = paired.figures(rounds, lambda r: r[0].wall_s - r[1].wall_s)
    tests = sum(line.endswith("::output") for line in rounds[0][0].printed.splitlines())
    times = f"{paired.wall_s(rounds, 0):.2f} s, empty {paired.wall_s(rounds, 1):.2f} s; {tests} output tests"
    return [Line("collection", model.name, added, "s", COLLECTION_S, times)]
