"""Several Keras layers in one torch kernel: factors folded into it, parallel kernels side by side or summed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_kerasdiff.align import chains, folded, summed
from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.anchors import MAIN_KINDS, Anchor, Sides
from pytest_kerasdiff.align.weights import Key
from pytest_kerasdiff.trace import Array, ConstantData


def find(sides: Sides, known: set[int]) -> list[Anchor]:
    """Anchors of fused layers, read off the kernels.

    Args:
        sides: Both sides.
        known: Keras values that have an anchor.
    """
    found = [*summed.find(sides, known), *_bias_in_mean(sides)]
    found += chains.find(sides, known, _inside(found))
    taken = _inside(found)
    for more in (folded.find, _side_by_side):
        found += [a for a in more(sides, known | _inside(found)) if not taken & {a.first, a.last}]
    return found


def _inside(found: Sequence[Anchor]) -> set[int]:
    return {value for anchor in found for value in (anchor.last, *anchor.together)}


def _bias_in_mean(sides: Sides) -> list[Anchor]:
    """Convolutions and dense layers whose bias is subtracted from the running mean of the BatchNorm after them."""
    reference, torch = sides.reference, sides.torch
    anchors: list[Anchor] = []
    behind: dict[Key, list[int]] = {}
    for i, step in enumerate(torch.nodes):
        before = torch.node(step.operands[0]) if step.kind == "norm" else None
        for key in sides.claims.of_operation[before.owner] if before is not None else ():
            behind.setdefault(key, []).append(i)
    for value, names in sides.weights.items():
        pair = folded.with_norm(sides, value)
        if pair is None:
            continue
        node, norm = pair
        layer, after = reference.layers[node.owner], reference.layers[norm.owner]
        bias = next((reference.weights[layer.weight_owner, n] for n in names if n.rpartition("/")[2] == "bias"), None)
        mean = next(
            (reference.weights[after.weight_owner, n] for n in after.weights if n.endswith("moving_mean")), None
        )
        if bias is None or mean is None or not np.any(bias) or bias.shape != mean.shape:
            continue
        kernel = (layer.weight_owner, names[0])
        moved = np.asarray(mean, np.float64) - np.asarray(bias, np.float64)
        for i in behind.get(kernel, ()):
            step, before = torch.nodes[i], torch.node(torch.nodes[i].operands[0])
            if before is not None and any(
                _equals(sides.candidate.constants[c], moved) for c in sides.candidate.operations[i].constants
            ):
                out = norm.outputs[0]
                anchors.append(Anchor(value, out, step.outputs[0], before.operands, "weights", (value,), True))
                break
    return anchors


def _equals(constant: ConstantData, array: Array) -> bool:
    """Whether a constant is an array but for float32's rounding."""
    if constant.array.shape != array.shape or constant.array.dtype.kind != "f":
        return False
    have, want = np.asarray(constant.array, np.float64), np.asarray(array, np.float64)
    return bool(np.all(np.abs(have - want) <= 2.0**-22 * np.abs(want).max()))


def _side_by_side(sides: Sides, known: set[int]) -> list[Anchor]:
    """Parallel convolutions or dense layers that the port computes as one, their kernels one after the other."""
    reference, candidate, keras, torch = sides.reference, sides.candidate, sides.keras, sides.torch
    anchors = []
    for join in keras.nodes:
        branches = [keras.node(value) for value in join.operands]
        if join.kind != "concat" or not all(b and b.kind in ("conv", "linear") and b.outputs[0] not in known
                                            and sides.weights[b.outputs[0]] for b in branches):  # fmt: skip
            continue
        kernels = [
            by_content.canonical(b.kind, b.variant, reference.weights[reference.layers[b.owner].weight_owner, name])
            for b in branches
            if b is not None
            for name in sides.weights[b.outputs[0]][:1]
        ]
        if len({k.shape[1:] for k in kernels}) != 1:
            continue
        together = np.concatenate(kernels)
        for i, operation in enumerate(candidate.operations):
            if torch.nodes[i].kind in MAIN_KINDS and any(
                np.array_equal(candidate.constants[c].array.astype(np.float32), together) for c in operation.constants
            ):
                value, inputs = torch.nodes[i].outputs[0], torch.nodes[i].operands
                anchors.append(Anchor(join.operands[0], join.outputs[0], value, inputs, "weights", join.operands))
                break
    return anchors
