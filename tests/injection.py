"""Inject the catalogue's faults into right ports, alone and in pairs: ``python -m tests.injection JOB…``.

Leaves ``injected.json`` in each job's folder: what ``selftest`` says of every fault, and of pairs of two faults.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_kerasdiff import child, engine
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.selftest import run
from pytest_kerasdiff.selftest.run import Part, SelfTest, Sown
from pytest_kerasdiff.trace import ReferenceTrace, ReplayError

RESULT = "injected.json"
_PAIRS_SHOWN = 12
"""Pairs of each sort: in one layer, in two layers."""


def pairs(parts: Sequence[Part]) -> Iterator[tuple[Part, Part]]:
    """Pairs of different faults, some in one layer and some in two, drawn once for all."""
    draw = np.random.default_rng(0)
    several = [(a, b) for a, b in itertools.combinations(parts, 2) if a[1].id != b[1].id]
    for alike in (True, False):
        own = [pair for pair in several if (pair[0][0] == pair[1][0]) == alike]
        yield from (own[i] for i in draw.permutation(len(own))[:_PAIRS_SHOWN])


def inject(reference: ReferenceTrace, judge: Judge, again: Callable[..., Judge]) -> dict[str, list[dict[str, Any]]]:
    """Every kind of fault in a few layers, then pairs of them."""
    parts = list(run._spread(run.seeds(reference, judge)))

    def sown(several: Sequence[Sequence[Part]]) -> Iterator[Sown]:
        for one in several:
            try:
                yield run.sow(reference, judge, one, again)
            except (ReplayError, ValueError):
                continue

    return {
        "alone": [dataclasses.asdict(s) for s in sown([[part] for part in parts])],
        "pairs": [dataclasses.asdict(s) for s in sown(list(pairs(parts)))],
    }


def main() -> None:
    """Inject into the ports of all jobs, in one process that imports torch once."""
    warnings.simplefilter("ignore")
    from pytest_kerasdiff.candidate.loader import Port

    for name in sys.argv[1:]:
        job = child.Job.read(Path(name))

        def injected(reference: ReferenceTrace, judge: Judge, again: Any, folder: Path = job.folder) -> SelfTest:
            (folder / RESULT).write_text(json.dumps(inject(reference, judge, again)), "utf-8")
            return SelfTest(())

        engine.selftest.run = injected  # type: ignore[attr-defined]
        engine.work(dataclasses.replace(job, settings=dataclasses.replace(job.settings, selftest=True)), Port)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
