"""The one registry of checks, and running them."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_kerasdiff import curves
from pytest_kerasdiff.align import products
from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.alignment import Alignment
from pytest_kerasdiff.align.kinds import activation_name
from pytest_kerasdiff.checklist import MODEL, Switch, switch_of
from pytest_kerasdiff.checks import (
    accuracy,
    concerned,
    counts,
    decisions,
    eps,
    eval_mode,
    finite,
    frozen,
    hyper,
    loaded,
    no_grad,
    onnx,
    outputs,
    precision,
    preprocessing,
    shapes,
    throughput,
    training_notes,
    weights,
)
from pytest_kerasdiff.checks.subject import CheckResult, Outcome, Subject, Whole
from pytest_kerasdiff.judge import LayerVerdict
from pytest_kerasdiff.trace import Array, Candidate, CandidateTrace, Layer, Operation, ReferenceTrace

_SATURATED = 1e-3
"""Derivative under which a change of a weight by 1 % of a typical logit stays under the tolerance."""


_SATURATING = frozenset({"softmax", "sigmoid", "tanh"})
_RECTIFIERS = frozenset({"relu", "relu6"})

OF_A_LAYER: Mapping[str, Callable[[Subject], Outcome]] = {
    "weights": weights.check,
    "eps": eps.check,
    "hyper": hyper.check,
    "finite": finite.check,
}
OF_THE_MODEL: Mapping[str, Callable[[Whole], Outcome]] = {
    "loaded": loaded.check,
    "shapes": shapes.check,
    "counts": counts.check,
    "eval_mode": eval_mode.check,
    "frozen": frozen.check,
    "no_grad": no_grad.check,
    "preprocessing": preprocessing.check,
    "outputs": outputs.check,
    "decisions": decisions.check,
    "onnx": onnx.check,
    "accuracy": accuracy.check,
    "throughput": throughput.check,
    "precision": precision.check,
    "training_notes": training_notes.check,
}
"""What each check does; ``concerned.py`` says which are made."""


def run(
    reference: ReferenceTrace,
    candidate: Candidate,
    alignment: Alignment,
    verdicts: Sequence[LayerVerdict],
    whole: Whole | None,
    switches: Sequence[Switch] = (),
) -> list[CheckResult]:
    """Run every check on every layer it concerns, then those of the model.

    Args:
        reference: The Keras side.
        candidate: The torch side.
        alignment: Which torch operations are which layer.
        verdicts: What was found for each layer.
        whole: What the checks of the model see; None leaves them out.
        switches: What the user has turned off, or wants to fail.
    """
    results = []
    for position, layer in enumerate(reference.layers):
        names = concerned.of_layer(layer.class_name, layer.config)
        if names:
            verdict = verdicts[_holder(reference, alignment, position)]
            subject = subject_of(reference, candidate, alignment, position, verdict)
            results += [_result(name, layer.name, OF_A_LAYER[name], subject, switches) for name in names]
    if whole is not None:
        for name in concerned.of_model(whole.stated, whole.asked):
            results.append(_result(name, MODEL, OF_THE_MODEL[name], whole, switches))
    return results


def _result(
    check: str, layer: str, run_it: Callable[[Any], Outcome], seen: Any, switches: Sequence[Switch]
) -> CheckResult:
    switch = switch_of(switches, layer, check)
    if switch is not None and switch.off:
        return CheckResult(check, layer, "off", "", switch.off)
    try:
        outcome = run_it(seen)
    except Exception as error:  # a fault of this check must not take the other verdicts away
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        outcome = Outcome("internal", f"this check could not be made; please report it: {reason}")
    fails = outcome.cause and (not outcome.warns or (switch is not None and switch.fails))
    return CheckResult(check, layer, "fail" if fails else "pass", outcome.cause, outcome.message)


def subject_of(
    reference: ReferenceTrace, candidate: Candidate, alignment: Alignment, position: int, verdict: LayerVerdict
) -> Subject:
    """What the checks see of a layer."""
    layer, trace = reference.layers[position], candidate.trace
    holder = _holder(reference, alignment, position)
    main, value = alignment.main.get(holder), alignment.pairs.get(layer.outputs[0])
    steps = alignment.steps(holder, reference.layers[holder].outputs[0])
    numbers = dict.fromkeys(n for step in steps for n in trace.operations[step].constants)
    functions = curves.both(reference, candidate, alignment, position)
    last = alignment.torch.producer.get(value) if value is not None else None
    if functions is None and (stranger := curves.stranger(reference, candidate, alignment, position)) is not None:
        functions, last = stranger
    return Subject(
        layer,
        reference.weights_of(layer),
        trace.operations[main] if main is not None else None,
        {n: trace.constants[n] for n in numbers},
        bool(alignment.fold(position)),
        trace.operations[last] if last is not None else None,
        [trace.operations[step] for step in steps],
        functions,
        not verdict.is_wrong
        and any(reference.glance(v).has_more_than_zeros for v in layer.inputs)  # zeros alone prove no kernel
        and _shows_changes(reference, layer),
        _taken_as_they_are(trace, numbers),
        verdict,
        [reference.shapes[v] for v in layer.inputs],
        reference.shapes[layer.outputs[0]],
        reference.weights,
        trace.parameters,
        [reference.layers[p] for p in alignment.fold(position)],
        [reference.layers[p] for p, other in alignment.computed_with.items() if other == position],
        list(feeders(reference, layer)),
        [alignment.torch_value(v) for v in layer.inputs],
        trace.shapes,
        list(_leads(trace, alignment, steps)),
        _least(reference, layer) if "MaxPooling" in layer.class_name else 0.0,
    )


def _least(reference: ReferenceTrace, layer: Layer) -> float:
    seen = [glance for v in layer.inputs if (glance := reference.glance(v)).size]
    return min((math.nan if glance.has_nan else glance.least for glance in seen), default=0.0)


def _holder(reference: ReferenceTrace, alignment: Alignment, position: int) -> int:
    """The layer whose operations hold a layer's weights: its own, or that with which a fold ends.

    The last of a fold compares the product; where it has no weights itself (Rescaling), the one with the kernel does.
    """
    last, layer = alignment.folded.get(position, position), reference.layers[position]
    ends = reference.layers[last]
    has_kernel = any(map(products.is_kernel, layer.weights))
    return last if has_kernel and "weights" not in concerned.of_layer(ends.class_name, ends.config) else position


def feeders(reference: ReferenceTrace, layer: Layer) -> Iterator[tuple[Layer, tuple[int, ...]]]:
    """Layers that give what a layer takes, each with the shape of what itself takes first."""
    for value in layer.inputs:
        other = reference.layers[reference.giver[value]]
        if other.inputs:
            yield other, reference.shapes[other.inputs[0]]


def _leads(trace: CandidateTrace, alignment: Alignment, steps: Sequence[int]) -> Iterator[Operation]:
    """Operations before a layer's first that only move elements, nearest first."""
    value = trace.operations[steps[0]].inputs[0] if steps and trace.operations[steps[0]].inputs else None
    while value is not None and (node := alignment.torch.node(value)) is not None and node.kind in ("move", "identity"):
        operation = trace.operations[node.owner]
        yield operation
        value = operation.inputs[0] if operation.inputs else None


def _shows_changes(reference: ReferenceTrace, layer: Layer) -> bool:
    activation, output = activation_name(layer.config.get("activation")), layer.outputs[0]
    if activation in _RECTIFIERS:
        return reference.glance(output).greatest > 0
    if output in reference.sketches and output not in reference.values:  # the port has not computed it
        return False
    return activation not in _SATURATING or lets_changes_through(activation, reference.values[output])


def lets_changes_through(activation: str, output: Array) -> bool:
    """Whether the derivative of a layer's activation function is not zero everywhere on these inputs.

    Source: the derivatives y(1 - y) of softmax's diagonal and sigmoid, 1 - y² of tanh, a step for rectifiers.
    """
    values = np.asarray(output, np.float64)
    if activation in _SATURATING:
        return bool(np.any((1 - values**2 if activation == "tanh" else values * (1 - values)) > _SATURATED))
    return activation not in _RECTIFIERS or bool(np.any(values > 0))


def _taken_as_they_are(candidate: CandidateTrace, numbers: Iterable[int]) -> frozenset[str]:
    """Parameters whose elements the constants hold unchanged, in whatever order."""
    found = set()
    for constant in (candidate.constants[n] for n in numbers):
        for origin in constant.origins[:1] if len(constant.origins) == 1 else ():
            own = candidate.parameters.get(origin)
            if own is not None and by_content.same_elements(own, constant.array):
                found.add(origin)
    return frozenset(found)
