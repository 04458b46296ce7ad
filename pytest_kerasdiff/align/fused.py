"""Several Keras layers in one torch kernel: a BatchNorm folded into it, parallel kernels side by side or summed."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.align import summed
from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.anchors import MAIN_KINDS, Anchor, Sides
from pytest_kerasdiff.trace import ConstantData


def find(sides: Sides, known: set[int]) -> list[Anchor]:
    """Anchors of fused layers, read off the kernels.

    Args:
        sides: Both sides.
        known: Keras values that have an anchor.
    """
    found = summed.find(sides, known)
    for more in (_folded, _side_by_side):
        found += more(sides, known | {value for anchor in found for value in (anchor.last, *anchor.together)})
    return found


def _folded(sides: Sides, known: set[int]) -> list[Anchor]:
    """Convolutions and dense layers whose BatchNorm is multiplied into the torch kernel.

    The torch kernel is then the Keras kernel times one factor for each output channel; whether the factor is the right
    one is for the comparison to say.
    """
    reference, candidate, keras, torch = sides.reference, sides.candidate, sides.keras, sides.torch
    anchors: list[Anchor] = []
    holders = {
        number: i
        for i, op in enumerate(candidate.operations)
        for number in op.constants
        if torch.nodes[i].kind in MAIN_KINDS and number not in sides.claims.matched_constants
    }
    for value, names in sides.weights.items():
        node = keras.nodes[keras.producer[value]]
        consumers = keras.consumers.get(value, [])
        if node.kind not in ("conv", "linear") or value in known or len(consumers) != 1 or not names:
            continue
        norm = keras.nodes[consumers[0]]
        if (
            norm.kind != "norm"
            or reference.layers[norm.owner].class_name != "BatchNormalization"
            or norm.outputs[0] in known
        ):
            continue
        owner = reference.layers[node.owner].weight_owner
        kernel = by_content.canonical(node.kind, node.variant, reference.weights[owner, names[0]])
        matches = [i for number, i in holders.items() if _is_scaled(candidate.constants[number], kernel, node.variant)]
        if len(set(matches)) == 1:
            step = matches[0]
            anchors.append(
                Anchor(
                    value,
                    norm.outputs[0],
                    torch.nodes[step].outputs[0],
                    torch.nodes[step].operands,
                    "weights",
                    (value,),
                    True,
                )
            )
    return anchors


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


def _is_scaled(constant: ConstantData, kernel: np.ndarray, variant: str) -> bool:
    array = constant.array
    if array.size != kernel.size or array.ndim < 2 or array.dtype.kind != "f":
        return False
    if variant == "transpose":  # output channels are the second axis
        return array.shape == kernel.shape and by_content.same_direction(array.swapaxes(0, 1), kernel.swapaxes(0, 1))
    if array.shape == kernel.shape and by_content.same_direction(array, kernel):
        return True
    # A 1×1 convolution written as a matrix, a matrix as a 1×1 convolution, a matrix stored transposed.
    flat, kernel_flat = array.reshape(array.shape[0], -1), kernel.reshape(kernel.shape[0], -1)
    return by_content.same_direction(flat, kernel_flat) or (
        flat.T.shape == kernel_flat.shape and by_content.same_direction(flat.T, kernel_flat)
    )
