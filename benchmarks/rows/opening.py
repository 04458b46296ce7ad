"""How long a reader waits for the page of a large model's report."""

from __future__ import annotations

import importlib.util
import statistics

from benchmarks import paired, process
from benchmarks.bench import Bench
from benchmarks.table import Line
from tests import helpers

LAYERS = 1000
OPENED_S = 2.0


def opening(bench: Bench) -> list[Line]:
    """The page of a report, against an empty page in the same browser."""
    name = f"{LAYERS} layers"
    browser = helpers.chromium()
    if browser is None or importlib.util.find_spec("playwright") is None:
        return [Line("opening", name, None, "s", OPENED_S, "there is no Chromium, or no playwright")]
    command = bench.bare("opening", "opening", LAYERS, browser, bench.case("opening"))
    rounds = paired.take_turns([command], bench.repeats)
    found = [process.printed_figures(sample) for (sample,) in rounds]
    value = paired.spread([one["page_s"] - one["empty_s"] for one in found])
    page_s, empty_s = (statistics.median(one[key] for one in found) for key in ("page_s", "empty_s"))
    return [
        Line(
            "opening",
            name,
            value,
            "s",
            OPENED_S,
            f"{page_s:.2f} s, empty {empty_s:.2f} s; {found[0]['size_mb']:.1f} MB",
        )
    ]
