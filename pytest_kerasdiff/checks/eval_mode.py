"""The check that the port is in inference mode, and answers alike whenever and with whatever it is asked."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.checks.subject import Outcome, Whole
from pytest_kerasdiff.text import shortened
from pytest_kerasdiff.trace import Array, Operation
from pytest_kerasdiff.verdict import scale_of

_SAME = {"float64": 1e-9, "float32": 1e-4}
"""Difference allowed between two runs of the port, relative to the output's scale where that is over 1: other kernels
for another batch size round in another order."""
_AS_KERAS = 1e-5
_DROPOUTS = frozenset(
    {"dropout", "dropout1d", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"}
)


def check(whole: Whole) -> Outcome:
    """Fail where something is in training mode, two runs differ, or an answer depends on its batch."""
    facts = whole.facts
    if facts.training:
        return Outcome("train-mode", f"in training mode: {shortened(facts.training)}; call .eval() on the port")
    for operation in whole.candidate.operations:
        if operation.op in _DROPOUTS and _rate(operation) and operation.arguments.get("train"):
            return Outcome(
                "train-mode",
                f"{operation.name}{operation.place} drops elements at random; pass training=self.training",
            )
    if not facts.again:
        return Outcome("nondeterministic", f"no second run to compare with: {facts.deployed_error}")
    environment = whole.candidate.environment
    # What the port converts to float32 itself was kept in float64 while it was recorded, and is not when it runs again.
    reduced = "float32" in (facts.ran_in, *map(environment.get, ("candidate_precision", "converts_to")))
    tolerance = _SAME["float32" if reduced else "float64"]
    for number, (before, after) in enumerate(zip(whole.first, facts.again, strict=False)):
        if before is not None and (much := _difference(after, before, tolerance)):
            return Outcome("nondeterministic", f"two runs on the same input differ in output {number} by {much}")
    found = _others(whole, tolerance)
    return _of_the_batch(whole, proved=not found.cause and bool(whole.others)) or found


def _of_the_batch(whole: Whole, proved: bool) -> Outcome | None:
    """A normalisation with the statistics of its input, unless samples alone prove that it takes each sample apart.

    A group normalisation can be written as a batch normalisation of the groups.
    """
    right = not any(verdict.is_wrong for verdict in whole.verdicts)
    for operation in whole.candidate.operations:
        if operation.op.endswith("batch_norm") and operation.arguments.get("training") and not (proved and right):
            return Outcome(
                "train-mode",
                f"{operation.name}{operation.place} normalises with the statistics of the batch; call .eval(), and "
                "keep running statistics",
            )
    return None


def _rate(operation: Operation) -> bool:
    return bool(operation.arguments.get("p", 1))


def _others(whole: Whole, tolerance: float) -> Outcome:
    """Compare each answer in a batch of its own with that in the batch; where they differ, Keras's may, too."""
    facts, everything = whole.facts, "nothing is in training mode, two runs are equal"
    if facts.others_error:
        if facts.takes_other_batches and not whole.fixed_batch:
            return Outcome("batch-dependent", f"the port cannot run a batch of another size: {facts.others_error}")
        return Outcome("", f"{everything}; batches of another size are not meant to run")
    for number, other, together, keras in whole.others:
        much = _difference(other, together, tolerance)
        if much and (keras is None or _difference(other, keras, _AS_KERAS)):
            return Outcome(
                "batch-dependent",
                f"output {number} of a sample in another batch (alone, or with one more) differs by {much}: the answer "
                "depends on what else is in the batch",
            )
    return Outcome(
        "", f"{everything}, a sample gives the same in batches of other sizes" if whole.others else everything
    )


def _difference(got: Array, expected: Array, tolerance: float) -> str:
    """How much two arrays differ, in words; empty where they do not."""
    if got.shape != expected.shape:
        return f"shape ({got.shape}, before {expected.shape})"
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.subtract(got, expected, dtype=np.result_type(got, expected, np.float64)))
    same = (got == expected) | ((got != got) & (expected != expected))
    wrong = ~same & ~(distance <= tolerance * max(1.0, scale_of(expected)))
    return f"{float(np.max(np.nan_to_num(distance[wrong]))):.3g}" if wrong.any() else ""
