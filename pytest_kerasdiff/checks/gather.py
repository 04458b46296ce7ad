"""Put together what the checks of the model see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any

import numpy as np

from pytest_kerasdiff import preprocess
from pytest_kerasdiff.align.alignment import order_of_outputs
from pytest_kerasdiff.checks.subject import Preprocessed, Whole
from pytest_kerasdiff.facts import PortFacts
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.trace import Array, FurtherRuns, ReferenceTrace

_LARGER = 1
"""Position of the batch of one more among ``probes.other_batches``."""


def whole(
    reference: ReferenceTrace, further: FurtherRuns, judge: Judge, facts: PortFacts, stated: Manifest, tol: float,
    fixed_batch: bool, prepared: preprocess.Prepared | None = None,
    asked: Set[str] = frozenset(), measured: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    unmeasured: Mapping[str, str] = MappingProxyType({}),
) -> Whole:  # fmt: skip
    """What the checks of the model see of a judged port.

    Args:
        reference: The Keras side.
        further: What Keras gave beside it.
        judge: The verdicts, with the port.
        facts: What was observed of the port.
        stated: The manifest.
        tol: The tolerance asked for.
        fixed_batch: The Keras model takes batches of one size only.
        prepared: What the port's preprocessing makes of the raw samples; None where the manifest names none.
        asked: Checks that options ask for.
        measured: What was measured beside the comparison, by the check that looks at it.
        unmeasured: Why something was not, likewise.
    """
    trace, recorded = judge.candidate.trace, judge.candidate.recorded
    first = [recorded.get(value) if value is not None else None for value in trace.outputs]
    order = order_of_outputs(reference, trace)[: len(reference.outputs)]
    keras = [reference.values[value] for value in reference.outputs]
    outputs = [
        (None if (port := first[i]) is None else as_keras(port, expected), expected)
        for i, expected in zip(order, keras, strict=False)
    ]
    deployed = [
        (as_keras(facts.deployed[i], single), single, double)
        for i, single, double in zip(order, further.deployed, keras, strict=False)
        if i < len(facts.deployed)
    ]
    return Whole(
        reference, trace, judge.alignment, judge.verdicts, facts, stated, tol, outputs, deployed,
        facts.first or first, list(_others(further, facts, facts.first or first, order)), fixed_batch,
        _preprocessed(further, judge, prepared), asked, further.opinion, further.opinion_error, measured, unmeasured,
    )  # fmt: skip


def _preprocessed(further: FurtherRuns, judge: Judge, prepared: preprocess.Prepared | None) -> Preprocessed | None:
    if prepared is None or further.preprocessed is None:
        return None
    (layout,) = judge.layouts_used.values()
    if layout.function:
        return Preprocessed(prepared, np.asarray(layout.apply(further.preprocessed), np.float64))
    order = preprocess.of_samples(layout.permutation)
    return Preprocessed(preprocess.in_keras_layout(prepared, order), further.preprocessed, order)


def _others(
    further: FurtherRuns, facts: PortFacts, first: Sequence[Array | None], order: Sequence[int]
) -> Iterator[tuple[int, Array, Array, Array | None]]:
    if len(facts.others) <= _LARGER:
        return
    keras_alone, keras_larger = further.others if further.others else (None, None)
    alone, larger = facts.others[0], facts.others[_LARGER]
    for number, i in enumerate(order):
        together = first[i] if i < len(first) else None
        if together is None or i >= min(len(alone), len(larger)) or together.ndim == 0:
            continue
        samples = len(together)
        keras = keras_larger[number][:samples] if keras_larger is not None else None
        yield number, *_like(keras, larger[i][:samples], together), keras
        # Of a sample alone all there is: a batch axis may be lost.
        keras = keras_alone[number] if keras_alone is not None else None
        yield number, *_like(keras, alone[i], larger[i][samples:]), keras


def _like(keras: Array | None, one: Array, other: Array) -> tuple[Array, Array]:
    return (one, other) if keras is None else (as_keras(one, keras), as_keras(other, keras))


def as_keras(port: Array, keras: Array) -> Array:
    """An output of the port in Keras's layout: as it is, or with channels last, whichever is nearer."""
    moved = np.moveaxis(port, 1, -1) if port.ndim > 2 else port
    if port.shape == keras.shape and moved.shape == keras.shape:

        def distance(array: Array) -> float:
            return float(np.abs(np.nan_to_num(np.subtract(array, keras, dtype=np.float64))).max(initial=0))

        return min(port, moved, key=distance)
    return moved if moved.shape == keras.shape else port
