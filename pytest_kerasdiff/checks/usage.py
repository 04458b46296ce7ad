"""Which torch parameters the operations of each Keras layer use."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.checks.subject import Whole
from pytest_kerasdiff.trace import Array, CandidateTrace


def parameters_of(whole: Whole, position: int) -> frozenset[str]:
    """Parameters and buffers that the operations of a layer take, directly or in constants computed from them."""
    trace = whole.candidate
    steps = whole.alignment.steps(position, whole.reference.layers[position].outputs[0])
    return frozenset(
        origin
        for step in steps
        for number in trace.operations[step].constants
        for origin in trace.constants[number].origins
        if origin in trace.parameters
    )


def layers_of(whole: Whole) -> dict[str, set[str]]:
    """Owners of weights (layers without call numbers) that use each parameter."""
    found: dict[str, set[str]] = {name: set() for name in whole.candidate.parameters}
    for position, layer in enumerate(whole.reference.layers):
        for name in parameters_of(whole, position):
            found[name].add(layer.weight_owner)
    return found


def unused(trace: CandidateTrace) -> list[str]:
    """Parameters and buffers that no operation took; counters of BatchNorm aside, which inference has no use for."""
    used = {o for op in trace.operations for number in op.constants for o in trace.constants[number].origins}
    return [n for n in trace.parameters if n not in used and not n.endswith("num_batches_tracked")]


def is_second_bias(name: str, array: Array) -> bool:
    """Whether it is the second bias of a recurrent module, filled with zeros as it should be where Keras has one."""
    return "bias_hh" in name and not np.any(array)
