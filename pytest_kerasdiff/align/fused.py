"""Several Keras layers in one torch kernel: a BatchNorm folded into it, parallel kernels side by side or summed."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.align import summed
from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.anchors import MAIN_KINDS, Anchor, Sides
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.trace import Array, ConstantData


def find(sides: Sides, known: set[int]) -> list[Anchor]:
    """Anchors of fused layers, read off the kernels.

    Args:
        sides: Both sides.
        known: Keras values that have an anchor.
    """
    found = [*summed.find(sides, known), *_bias_in_mean(sides)]
    for more in (_folded, _side_by_side):
        found += more(sides, known | {value for anchor in found for value in (anchor.last, *anchor.together)})
    return found


def _folded(sides: Sides, known: set[int]) -> list[Anchor]:
    """Convolutions and dense layers whose BatchNorm, after or before them, is multiplied into the torch kernel.

    The torch kernel is then the Keras kernel times one factor for each output or input channel; whether the factor is
    the right one is for the comparison to say.
    """
    reference, candidate, torch = sides.reference, sides.candidate, sides.torch
    anchors: list[Anchor] = []
    holders = {
        number: i
        for i, op in enumerate(candidate.operations)
        for number in op.constants
        if torch.nodes[i].kind in MAIN_KINDS and number not in sides.claims.matched_constants
    }
    claimed = set().union(*sides.claims.of_operation)
    for value, names in sides.weights.items():
        for pair, inward in ((_with_norm(sides, value), False), (_norm_before(sides, value), True)):
            if pair is None or pair[1].outputs[0] in known:
                continue
            node, norm = pair
            owner = reference.layers[node.owner].weight_owner
            if (owner, names[0]) in claimed:  # a bias alone, which a fold may leave as it is, tells nothing
                continue
            kernel = by_content.canonical(node.kind, node.variant, reference.weights[owner, names[0]])
            # Kernels of transposed convolutions have their input channels first, others last, depthwise ones no others.
            swapped = node.variant == "transpose" if not inward else node.variant == ""
            matches = {i for number, i in holders.items() if _is_scaled(candidate.constants[number], kernel, swapped)}
            matches = {i for i in matches if not _has_norm(torch, i, inward)}
            if len(matches) == 1:
                step = torch.nodes[matches.pop()]
                first, last = (norm.outputs[0], value) if inward else (value, norm.outputs[0])
                anchors.append(Anchor(first, last, step.outputs[0], step.operands, "weights", (first,), True))
                break
    return anchors


def _has_norm(torch: Graph, step: int, inward: bool) -> bool:
    """Whether a normalisation follows an operation, or feeds it: then none is folded there."""
    node = torch.nodes[step]
    nearby = (
        torch.producer.get(node.operands[0]) if inward else next(iter(torch.consumers.get(node.outputs[0], [])), None)
    )
    return nearby is not None and torch.nodes[nearby].kind == "norm"


def _norm_before(sides: Sides, value: int) -> tuple[Node, Node] | None:
    """A convolution or dense layer with weights, and the BatchNorm that gives its input to it alone."""
    node = sides.keras.node(value)
    if node is None or node.kind not in ("conv", "linear") or not sides.weights[value]:
        return None
    norm = sides.keras.node(node.operands[0])
    if norm is None or norm.kind != "norm" or len(sides.keras.consumers[node.operands[0]]) != 1:
        return None
    return (node, norm) if sides.reference.layers[norm.owner].class_name == "BatchNormalization" else None


def _bias_in_mean(sides: Sides) -> list[Anchor]:
    """Convolutions and dense layers whose bias is subtracted from the running mean of the BatchNorm after them."""
    reference, torch = sides.reference, sides.torch
    anchors: list[Anchor] = []
    for value, names in sides.weights.items():
        pair = _with_norm(sides, value)
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
        for i, step in enumerate(torch.nodes):
            before = torch.node(step.operands[0])
            if (
                step.kind == "norm"
                and before is not None
                and kernel in sides.claims.of_operation[before.owner]
                and any(_equals(sides.candidate.constants[c], moved) for c in sides.candidate.operations[i].constants)
            ):
                out = norm.outputs[0]
                anchors.append(Anchor(value, out, step.outputs[0], before.operands, "weights", (value,), True))
                break
    return anchors


def _with_norm(sides: Sides, value: int) -> tuple[Node, Node] | None:
    """A convolution or dense layer with weights, and the BatchNorm that alone takes what it gives."""
    node, consumers = sides.keras.node(value), sides.keras.consumers.get(value, [])
    if node is None or node.kind not in ("conv", "linear") or len(consumers) != 1 or not sides.weights[value]:
        return None
    norm = sides.keras.nodes[consumers[0]]
    batch = norm.kind == "norm" and sides.reference.layers[norm.owner].class_name == "BatchNormalization"
    return (node, norm) if batch else None


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


def _is_scaled(constant: ConstantData, kernel: np.ndarray, swapped: bool) -> bool:
    """Whether a constant is a kernel times one factor for each position of its first axis; ``swapped``: its second."""
    array = constant.array
    if array.size != kernel.size or array.ndim < 2 or array.dtype.kind != "f":
        return False
    if swapped:
        kernel = kernel.swapaxes(0, 1)
        turned = array.swapaxes(0, 1)
        return by_content.same_direction(turned, kernel) or by_content.same_direction(
            turned.reshape(turned.shape[0], -1), kernel.reshape(kernel.shape[0], -1)
        )
    if array.shape == kernel.shape and by_content.same_direction(array, kernel):
        return True
    # A 1×1 convolution written as a matrix, a matrix as a 1×1 convolution, a matrix stored transposed.
    flat, kernel_flat = array.reshape(array.shape[0], -1), kernel.reshape(kernel.shape[0], -1)
    return by_content.same_direction(flat, kernel_flat) or (
        flat.T.shape == kernel_flat.shape and by_content.same_direction(flat.T, kernel_flat)
    )
