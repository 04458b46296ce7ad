"""Training mode: normalisations with the statistics of the batch, dropout that drops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pytest_kerasdiff.align.kinds import IDENTITIES
from pytest_kerasdiff.change import Change, Edit, removed
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way, arguments_with
from pytest_kerasdiff.trace import Operation

_DROPOUTS = frozenset(
    {"dropout", "dropout1d", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"}
)
_RANDOM = frozenset({"bernoulli", "rand_like", "randn_like", "rand", "randn", "normal", "uniform"})


def concerns(case: Case) -> bool:
    """Whether the layer has operations and is wrong."""
    return bool(case.layer.inputs) and case.verdict.status == "fault"


def suspect(case: Case) -> Iterator[Suspicion]:
    """Each operation in training mode, in inference mode."""
    for step in _steps(case):
        operation = case.trace.operations[step]
        if operation.op in _DROPOUTS and operation.arguments.get("train", operation.arguments.get("training")):
            yield _awake(case, step, operation)
        elif operation.op.endswith("batch_norm") and _of_the_batch(operation):
            yield from _statistics(case, step, operation)


def _steps(case: Case) -> list[int]:
    """The layer's operations; of a layer that is nothing in inference, what gives its value."""
    steps = list(case.steps)
    if case.layer.class_name in IDENTITIES and not steps and case.value is not None:
        steps += [p for p in [case.alignment.torch.producer.get(case.value)] if p is not None]
    return steps


def _of_the_batch(operation: Operation) -> bool:
    return bool(operation.arguments.get("training")) or bool(operation.arguments.get("use_input_stats"))


def _awake(case: Case, step: int, operation: Operation) -> Suspicion:
    rate = operation.arguments.get("p")
    words = f"the port drops elements at random{f' (p={rate:g})' if isinstance(rate, int | float) else ''}"
    taken = next(iter(arguments_with(operation, operation.inputs[0])))
    return Suspicion(
        "train-mode",
        f"{words}{operation.place}, Keras does nothing in inference",
        "call .eval() on the port, and pass training=self.training",
        [Way(Change(edits={step: removed(taken)}))],
    )


def _statistics(case: Case, step: int, operation: Operation) -> Iterator[Suspicion]:
    weights = {name.rpartition("/")[2]: array for name, array in case.subject.weights.items()}
    mean, variance = weights.get("moving_mean"), weights.get("moving_variance")
    if mean is None or variance is None:
        return
    off: dict[str, Any] = {"training": False}
    ways = []
    if operation.arguments.get("running_mean") is not None and operation.arguments.get("running_var") is not None:
        ways.append(Way(Change(edits={step: Edit(arguments=off)})))
    own = {**off, "running_mean": np.asarray(mean, np.float64), "running_var": np.asarray(variance, np.float64)}
    ways.append(Way(Change(edits={step: Edit(arguments=own)})))
    yield Suspicion(
        "train-mode",
        f"Keras normalises with the moving statistics, the port with those of the batch{operation.place}",
        "call .eval() on the port, and keep running statistics",
        ways,
    )
