"""All activations of a model: as the product records them, and as a user would get them by hand."""

from __future__ import annotations

import statistics

from benchmarks import paired, process
from benchmarks.bench import BATCH, Bench
from benchmarks.table import Line

_MOST_REPEATS = 3
_MOST_LAYERS = 30
"""By hand a large model takes minutes: so many layers are timed, and stand for all."""


def eager(bench: Bench, name: str) -> list[Line]:
    """One eager pass, against one sub-model for each layer; loading is in neither time."""
    file = bench.models.get(name).file
    commands = [
        bench.bare(f"eager {name}", "recorded", file, BATCH, bench.case(f"eager {name}")),
        bench.bare(f"eager {name}", "by_hand", file, BATCH, _MOST_LAYERS),
    ]
    rounds = paired.take_turns(commands, min(bench.repeats, _MOST_REPEATS), warm_up=False)
    found = [[process.printed_figures(sample) for sample in one] for one in rounds]
    value = paired.spread([recorded["pass_s"] / by_hand["pass_s"] for recorded, by_hand in found])
    recorded_s, by_hand_s = (statistics.median(one[number]["pass_s"] for one in found) for number in (0, 1))
    share = "{timed} of {layers} layers timed".format(**found[0][1])
    absolute = f"{recorded_s:.2f} s in float64, by hand {by_hand_s:.1f} s ({share})"
    return [Line("eager", name, value, "", None, absolute)]
