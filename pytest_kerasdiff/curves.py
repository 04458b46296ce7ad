"""Activation functions as tables of values: what both sides make of the same values, wherever the probes lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.alignment import Alignment
from pytest_kerasdiff.align.operations import ELEMENTWISE
from pytest_kerasdiff.trace import CURVE_AT, Array, Candidate, Layer, ReferenceTrace, ReplayError

SAME = 1e-5
"""Difference of two functions, relative to Keras's where that is over 1, that is none."""
_NEAR = 30
"""Largest value at which functions are compared in float32, where exp overflows at 89."""


def both(
    reference: ReferenceTrace, candidate: Candidate, alignment: Alignment, position: int
) -> tuple[Array, Array] | None:
    """What the port's and Keras's activation functions of a layer make of ``CURVE_AT``.

    Returns:
        (port, Keras); None where one of the two is no function of one element, or begins with no value of its own.
    """
    layer = reference.layers[position]
    node, value = alignment.keras.node(layer.outputs[0]), alignment.pairs.get(layer.outputs[0])
    if layer.name not in reference.curves or node is None or value is None:
        return None
    if node.kind == "act":
        source = alignment.inside.get(node.operands[0], alignment.torch_value(node.operands[0]))
    else:
        source = _before_activation(candidate, alignment, position, value) if node.kind in _PRODUCTS else None
    port = None if source is None else _curve(candidate, alignment, source, value)
    return None if port is None else (port, reference.curves[layer.name])


def _before_activation(candidate: Candidate, alignment: Alignment, position: int, value: int) -> int | None:
    """What the port's product gives, where activations alone follow it; Keras has none there."""
    main = alignment.main.get(position)
    source = candidate.trace.operations[main].outputs[0] if main is not None else None
    if source is None or not alignment.torch.is_ancestor(source, value):
        return None
    after = [n for v in alignment.torch.between([source], value) if (n := alignment.torch.node(v)) is not None]
    return source if after and {node.kind for node in after} <= {"act", "identity"} else None


def _curve(candidate: Candidate, alignment: Alignment, source: int, value: int) -> Array | None:
    trace = candidate.trace
    inside = alignment.torch.between([source], value)
    steps = {alignment.torch.producer[v] for v in inside if v in alignment.torch.producer}
    operands = {v for step in steps for v in trace.operations[step].inputs}
    numbers = {number for step in steps for number in trace.operations[step].constants}
    if not steps or not operands <= inside | {source} or any(trace.constants[n].origins for n in numbers):
        return None  # nothing to compare, or parameters take part
    shape = trace.shapes[source]
    found = _run(candidate, source, value, CURVE_AT.reshape(-1, *(1 for _ in shape[1:])))
    if found is None and {alignment.torch.nodes[step].kind for step in steps} <= ELEMENTWISE:
        # Sizes are written into the operations (a tensor of zeros): in arrays of these sizes.
        arrays = np.resize(CURVE_AT, (-(-CURVE_AT.size // math.prod(shape)), *shape))
        parts = [_run(candidate, source, value, array) for array in arrays]
        found = None if any(p is None for p in parts) else np.concatenate([p for p in parts if p is not None])
    return None if found is None else found[: CURVE_AT.size]


def _run(candidate: Candidate, source: int, value: int, array: Array) -> Array | None:
    """The elements that a value has where another one is ``array``; None where that cannot be."""
    try:
        found = candidate.run([value], {source: array})[value]
    except (ReplayError, ValueError):
        return None
    return found.ravel() if found.size == array.size else None


_PRODUCTS = frozenset({"conv", "linear"})
_PLAIN = frozenset({"relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "softplus", "hardswish"})
_CLIPS = frozenset({"hardtanh", "clamp", "clamp_min", "clamp_max", "clip", "hardsigmoid"})
_ARITHMETIC = frozenset({"affine", "add", "sub", "mul", "div"})


def stranger(
    reference: ReferenceTrace, candidate: Candidate, alignment: Alignment, position: int
) -> tuple[tuple[Array, Array], int] | None:
    """An activation in the operations of a layer that has no value of its own, which is none of its group's.

    A ReLU6 behind a maximum over all steps shows only where that maximum is over 6.

    Returns:
        ((port, Keras), position of the torch operation); None where all are known, or where arithmetic on either side
        may make of several what is one activation.
    """
    partner = alignment.computed_with.get(position)
    layers = reference.layers
    if partner is None or layers[position].name not in reference.curves:
        return None
    value = alignment.pairs.get(layers[partner].outputs[0])
    if value is None:
        return None
    group = [p for p, other in alignment.computed_with.items() if other == partner] + [partner]
    known = [reference.curves[layers[p].name] for p in group if layers[p].name in reference.curves]
    inside = alignment.torch.between(_entries(alignment, layers, group), value)
    steps = sorted({alignment.torch.producer[v] for v in inside if v in alignment.torch.producer})
    nodes = [*(alignment.torch.nodes[step] for step in steps), *(n for n in alignment.keras.nodes if n.owner in group)]
    if any(node.kind in _ARITHMETIC for node in nodes):
        return None
    for step in steps:
        operation = candidate.trace.operations[step]
        if operation.op in _PLAIN | _CLIPS and len(operation.inputs) == 1:
            curve = _curve(candidate, alignment, operation.inputs[0], operation.outputs[0])
            if curve is not None and all(difference(curve, keras) is not None for keras in known):
                return (curve, reference.curves[layers[position].name]), step
    return None


def _entries(alignment: Alignment, layers: Sequence[Layer], group: Sequence[int]) -> set[int]:
    """Torch values that layers outside a group give to it."""
    own = {value for p in group for value in layers[p].outputs}
    taken = {value for p in group for value in layers[p].inputs} - own
    return {v for value in taken if (v := alignment.torch_value(value)) is not None}


def difference(port: Array, keras: Array) -> int | None:
    """Position in ``CURVE_AT`` of the value nearest to 0 at which two functions differ; None where they are equal."""
    in_float32 = np.float32 in (port.dtype, keras.dtype)
    limit = (1e-4 if in_float32 else SAME) * np.maximum(1, np.abs(keras))
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.subtract(port, keras, dtype=np.float64))
        same = (port == keras) | (distance <= limit) | (np.isnan(port) & np.isnan(keras))
    wrong = np.flatnonzero(~same & ((np.abs(CURVE_AT) <= _NEAR) | (not in_float32)))
    return int(wrong[np.argmin(np.abs(CURVE_AT[wrong]))]) if wrong.size else None


def distance(port: Array, keras: Array) -> npt.NDArray[np.float64]:
    """How far two functions are apart at each of ``CURVE_AT``, relative to Keras's where that is over 1."""
    with np.errstate(invalid="ignore"):
        found = np.abs(np.subtract(port, keras, dtype=np.float64)) / np.maximum(1, np.abs(keras))
    found = np.where((port == keras) | (np.isnan(port) & np.isnan(keras)), 0.0, found)
    if np.float32 in (port.dtype, keras.dtype):
        found = np.where(np.abs(CURVE_AT) <= _NEAR, found, 0.0)
    return np.nan_to_num(found, nan=np.inf)
