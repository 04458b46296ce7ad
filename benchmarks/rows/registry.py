"""All rows, in the order of the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from benchmarks import models
from benchmarks.bench import Bench
from benchmarks.rows import diagnosis, eager, memory, opening, per_test, size, start, whole
from benchmarks.table import Line


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        name: What ``--rows`` calls it; two entries of one name belong together.
        words: What is measured, against what.
        of_model: Measures it on a model; None where the row makes models of its own.
        alone: Measures it on models of its own.
        models: The models it is meant for.
    """

    name: str
    words: str
    of_model: Callable[[Bench, str], list[Line]] | None = None
    alone: Callable[[Bench], list[Line]] | None = None
    models: tuple[str, ...] = models.NAMES


ROWS = (
    Row("first", "pytest without a cached reference / script: both frameworks, both models, one run each", whole.first),
    Row("cached", "pytest with a cached reference / script: torch, the port, one run", whole.cached),
    Row("workers", "what -n 2 adds to -n 0, less what it adds to an empty run", whole.workers),
    Row("per-test", "time of one more test of a layer", alone=per_test.per_test),
    Row("collection", "--collect-only of 1,000 layers, less an empty run", alone=start.collection),
    Row("unused", "pytest with the plugin that nobody uses, less pytest without it", alone=start.unused),
    Row("memory-batch", "peak memory of each child: one more sample, in largest layers", memory.batch),
    Row("memory-batch", "the same of a chain of equal layers", alone=memory.batch_of_chain),
    Row("memory-depth", "peak memory of each child: 30 more layers of a chain, in layers", alone=memory.depth),
    Row("layers", "a whole run: seconds of one of 500 further layers / of one of 250 before", alone=size.layers),
    Row(
        "parameters",
        "peak memory of each child with 500 million parameters / their size in float64",
        alone=size.parameters,
    ),
    Row("eager", "one recorded pass / a Keras sub-model and predict for each layer", eager.eager),
    Row("opening", "a report's page of 1,000 layers in a browser, less an empty page", alone=opening.opening),
    Row("diagnosis", "time that the diagnosis takes", diagnosis.diagnosis, models=(diagnosis.MODEL,)),
)
NAMES = tuple(dict.fromkeys(row.name for row in ROWS))
