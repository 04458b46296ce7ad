"""How much memory both children need at most, and what raises it: the batch, or the number of layers.

Figures are in activations of the largest layer, so that imports and weights, which are in every run, fall out.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from benchmarks import paired, process
from benchmarks.bench import BATCH, Bench
from benchmarks.models import Model
from benchmarks.process import Command, CommandError
from benchmarks.table import Line

SIDES = {"Keras": "pytest_kerasdiff.reference", "torch": "pytest_kerasdiff.candidate"}
BATCHES = (1, 2, 4)
DEPTHS = (10, 20, 40)
SIZE, CHANNELS = 128, 64
LIVE = 3.0
GROWTH = 1.0
"""Activations that all further layers together may add: room for what the allocator does, not for one each."""
_BYTES = 8
_MIB = 2**20
_MOST_REPEATS = 2
_RETURNED_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""Else glibc keeps what was freed, in blocks below 32 MiB, and the peak is not what was live."""


def batch(bench: Bench, name: str) -> list[Line]:
    """What one more sample costs; a real model also needs room inside its convolutions, so nothing is promised."""
    model = bench.models.get(name)
    asked = process.run(bench.bare(f"memory {name}", "largest", model.file))
    return _batch(bench, model, process.printed_figures(asked)["elements"] * _BYTES / _MIB, None)


def batch_of_chain(bench: Bench) -> list[Line]:
    """The same of a chain, where only activations grow."""
    model = bench.models.chain(DEPTHS[0], SIZE, CHANNELS)
    return _batch(bench, model, SIZE * SIZE * CHANNELS * _BYTES / _MIB, LIVE)


def _batch(bench: Bench, model: Model, largest_mib: float, budget: float | None) -> list[Line]:
    runs = [bench.product(f"memory batch {b}", model, f"--kerasdiff-batch={b}") for b in BATCHES]
    lines = []
    for side, peaks in _peaks(bench, runs).items():
        # A batch of one is run in fewer ways than others, so the slope is that of the others.
        live = [(own[-1] - own[-2]) / (BATCHES[-1] - BATCHES[-2]) / largest_mib for *own, _ in peaks]
        words = f"{_shown('batch', BATCHES, peaks)}; largest layer {largest_mib:.1f} MiB a sample"
        lines.append(Line("memory-batch", f"{model.name}, {side}", paired.spread(live), "layers", budget, words))
    return lines


def depth(bench: Bench) -> list[Line]:
    """What more layers of the same size add, all of them together."""
    chains = [bench.models.chain(count, SIZE, CHANNELS) for count in DEPTHS]
    largest_mib = BATCH * SIZE * SIZE * CHANNELS * _BYTES / _MIB
    lines = []
    for side, peaks in _peaks(bench, [bench.product(f"memory {chain.name}", chain) for chain in chains]).items():
        grown = [(own[-1] - own[0]) / largest_mib for *own, _ in peaks]
        words = f"{_shown('depth', DEPTHS, peaks)}; a layer {largest_mib:.1f} MiB"
        lines.append(Line("memory-depth", f"chain, {side}", paired.spread(grown), "layers", GROWTH, words))
    return lines


def _peaks(bench: Bench, runs: Sequence[Command]) -> dict[str, list[list[float]]]:
    """Side → by round, the peaks of its process in each run in MiB, and of a script that imports the framework."""
    watched = [dataclasses.replace(run, watch=SIDES, environment=_RETURNED_AT_ONCE) for run in runs]
    for module, side in (("keras", "Keras"), ("torch", "torch")):
        bare = bench.bare(f"memory {side}", "imports", module)
        watched.append(dataclasses.replace(bare, watch={side: "benchmarks.bare.imports"}))
    rounds = paired.take_turns(watched, min(bench.repeats, _MOST_REPEATS), warm_up=False)
    found: dict[str, list[list[float]]] = {}
    for side, bare_run in zip(SIDES, (-2, -1), strict=True):
        samples = [[*one[: len(runs)], one[bare_run]] for one in rounds]
        if not all(side in sample.peak_mib for one in samples for sample in one):
            raise CommandError(f"memory: no process of {side} was seen in /proc")
        found[side] = [[sample.peak_mib[side] for sample in one] for one in samples]
    return found


def _shown(what: str, numbers: Sequence[int], peaks: Sequence[Sequence[float]]) -> str:
    *own, bare = (statistics.median(column) for column in zip(*peaks, strict=True))
    pairs = ", ".join(f"{number}: {mib:.0f}" for number, mib in zip(numbers, own, strict=True))
    return f"MiB by {what} {pairs}; bare import {bare:.0f}"
