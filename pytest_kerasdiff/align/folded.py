"""Layers with a kernel whose BatchNormalization is a part of it, found by what the torch operations hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_kerasdiff.align import products
from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.anchors import MAIN_KINDS, Anchor, Sides
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.trace import Array, ConstantData

if TYPE_CHECKING:
    from pytest_kerasdiff.align.alignment import Alignment

_ROUNDED = 2.0**-20
"""Relative difference of elements that were multiplied and rounded to float32: sixteen roundings."""
Pair = tuple[Node, Node, bool]
"""The primitive with the kernel, the normalisation, and whether that is the one before it."""


def find(sides: Sides, known: set[int]) -> list[Anchor]:
    """Convolutions and dense layers whose BatchNorm, after or before them, is multiplied into the torch kernel.

    The torch kernel is then the Keras kernel times one factor for each output or input channel; whether the factor is
    the right one is for the comparison to say. So it is where the product's elements stand in another order, or where
    only the bias is that of both layers.
    """
    torch, anchors = sides.torch, list[Anchor]()
    held = _held(sides)
    for value in sides.weights:
        for node, norm, inward in _pairs_of(sides, value):
            if norm.outputs[0] in known or _is_claimed(sides, value, node):
                continue
            steps = [i for i in held if not _has_norm(torch, i, inward)]
            much = _evidence(sides, value, (node, norm, inward))
            found = {i: much(held[i]) for i in steps}
            best = max(found.values(), default=0)
            matches = [i for i, evidence in found.items() if evidence == best]
            if best and len(matches) == 1:
                step = torch.nodes[matches[0]]
                first, last = (norm.outputs[0], value) if inward else (value, norm.outputs[0])
                anchors.append(Anchor(first, last, step.outputs[0], step.operands, "weights", (first,), True))
                break
    return anchors


def is_offset(anchor: Anchor, sides: Sides) -> bool:
    """Whether nothing but a normalisation's offset was found, as the bias of an operation with a kernel."""
    one, other = sides.keras.node(anchor.last), sides.torch.node(anchor.value)
    return one is not None and other is not None and one.kind == "norm" and other.kind in MAIN_KINDS


def join_alike(result: Alignment, sides: Sides) -> None:
    """Join what the port folds as it does elsewhere, where the kernel is so wrong that its elements do not tell.

    That is a normalisation without an operation, beside a kernel that is none of Keras's.
    """
    layers, held = sides.reference.layers, _held(sides)
    ways = {layers[position].class_name == "BatchNormalization" for position in result.folded}
    for value in sides.weights if ways else ():
        for node, norm, inward in _pairs_of(sides, value):
            own, given, main = norm.owner, layers[norm.owner].outputs[0], result.main.get(node.owner)
            if inward not in ways or given not in result.passes_on or main not in held:
                continue
            if main is None or _has_norm(sides.torch, main, inward) or not (inward or value in result.pairs):
                continue
            kernel = sides.reference.weights[layers[node.owner].weight_owner, sides.weights[value][0]]
            if not any(c.array.ndim > 1 and c.array.size == kernel.size for c in held[main]):
                continue  # several layers side by side
            first, last = (own, node.owner) if inward else (node.owner, own)
            result.passes_on.pop(given)
            if not inward:
                result.pairs[given] = result.pairs.pop(value)
                result.main[own] = result.main.pop(node.owner)
                result.methods[own] = result.methods[node.owner]
            result.computed_with[first] = result.folded[first] = last


def _pairs_of(sides: Sides, value: int) -> Iterator[Pair]:
    """A primitive with a kernel, with the BatchNorm behind it and with the one before it."""
    for pair, inward in ((with_norm(sides, value), False), (_norm_before(sides, value), True)):
        if pair is not None:
            yield *pair, inward


def _held(sides: Sides) -> dict[int, list[ConstantData]]:
    """Operations with a kernel that is none of Keras's weights → their constants that are none."""
    found = {}
    for i, operation in enumerate(sides.candidate.operations):
        numbers = [n for n in operation.constants if n not in sides.claims.matched_constants]
        constants = [c for n in numbers if (c := sides.candidate.constants[n]).array.dtype.kind == "f"]
        if sides.torch.nodes[i].kind in MAIN_KINDS and any(c.array.ndim > 1 for c in constants):
            found[i] = constants
    return found


def _is_claimed(sides: Sides, value: int, node: Node) -> bool:
    """Whether an operation holds the kernel as it is; a bias alone, which a fold may leave so, tells nothing."""
    key = sides.reference.layers[node.owner].weight_owner, sides.weights[value][0]
    return any(key in claimed for claimed in sides.claims.of_operation)


def _evidence(sides: Sides, value: int, pair: Pair) -> Callable[[Sequence[ConstantData]], int]:
    """How much says that an operation with some constants is both layers: a kernel counts for more than a bias."""
    node, norm, inward = pair
    layers, owner = sides.reference.layers, sides.reference.layers[node.owner].weight_owner
    kernel = by_content.canonical(node.kind, node.variant, sides.reference.weights[owner, sides.weights[value][0]])
    # Kernels of transposed convolutions have their input channels first, others last, depthwise ones no others.
    swapped = node.variant == "transpose" if not inward else node.variant == ""
    chain = (layers[norm.owner], layers[node.owner]) if inward else (layers[node.owner], layers[norm.owner])
    product = products.of(sides.reference, *chain)
    made = product.made() if product is not None else None

    def much(constants: Sequence[ConstantData]) -> int:
        alike = [c.array for c in constants if c.array.size == kernel.size and c.array.ndim > 1]
        found = any(_is_scaled(array, kernel, swapped) for array in alike)
        if product is None or made is None or not alike:
            return 2 * found
        found = found or any(_is_reordered(array, made[product.kernel]) for array in alike)
        return 2 * found + any(_equals(c.array, made["bias"]) for c in constants if c.array.ndim == 1)

    return much


def _equals(array: Array, other: products.Floats) -> bool:
    """Whether a vector is another one to rounding, and tells it from others."""
    if array.shape != other.shape or array.size < 2 or not np.ptp(other):
        return False
    return bool(np.abs(np.asarray(array, np.float64) - other).max() <= _ROUNDED * np.abs(other).max())


def _is_reordered(array: Array, kernel: products.Floats) -> bool:
    """Whether a constant has the elements of a kernel, to rounding, in any order."""
    if array.size != kernel.size or not np.ptp(kernel):
        return False
    have, want = np.asarray(array, np.float64).ravel(), kernel.ravel()
    if abs(np.abs(have).sum() - np.abs(want).sum()) > _ROUNDED * np.abs(want).sum():
        return False  # without sorting
    return bool(np.abs(np.sort(have) - np.sort(want)).max() <= _ROUNDED * np.abs(want).max())


def _has_norm(torch: Graph, step: int, inward: bool) -> bool:
    """Whether a normalisation follows an operation, or feeds it: then none is folded there."""
    node = torch.nodes[step]
    nearby = (
        torch.producer.get(node.operands[0]) if inward else next(iter(torch.consumers.get(node.outputs[0], [])), None)
    )
    return nearby is not None and torch.nodes[nearby].kind == "norm"


def with_norm(sides: Sides, value: int) -> tuple[Node, Node] | None:
    """A convolution or dense layer with weights, and the BatchNorm that alone takes what it gives."""
    node, consumers = sides.keras.node(value), sides.keras.consumers.get(value, [])
    if node is None or node.kind not in ("conv", "linear") or len(consumers) != 1 or not sides.weights[value]:
        return None
    norm = sides.keras.nodes[consumers[0]]
    batch = norm.kind == "norm" and sides.reference.layers[norm.owner].class_name == "BatchNormalization"
    return (node, norm) if batch else None


def _norm_before(sides: Sides, value: int) -> tuple[Node, Node] | None:
    """A convolution or dense layer with weights, and the BatchNorm that gives its input to it alone."""
    node = sides.keras.node(value)
    if node is None or node.kind not in ("conv", "linear") or not sides.weights[value]:
        return None
    norm = sides.keras.node(node.operands[0])
    if norm is None or norm.kind != "norm" or len(sides.keras.consumers[node.operands[0]]) != 1:
        return None
    return (node, norm) if sides.reference.layers[norm.owner].class_name == "BatchNormalization" else None


def _is_scaled(array: Array, kernel: Array, swapped: bool) -> bool:
    """Whether a constant is a kernel times one factor for each position of its first axis; ``swapped``: its second."""
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
