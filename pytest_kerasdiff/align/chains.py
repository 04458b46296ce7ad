"""Rescaling, Normalization and BatchNormalization, several in a row, multiplied into one kernel or table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pytest_kerasdiff.align import folded, products
from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.anchors import Anchor, Sides
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.align.products import AFFINE, Floats
from pytest_kerasdiff.trace import Array, ConstantData

_MOSTLY = 0.5
"""Share of elements that are the product's, in their places, from which the others are taken for changed."""
_FEW = 3
"""Rows of a table from which columns that are the same but for a factor and an offset are no chance."""
_SAME = 1e-9
"""What the cosine of two such columns, rounded to float32, may be less than 1."""
_BETWEEN, _FLAT = ("identity", "pad"), ("move", "flatten")
"""What may stand between a kernel and what leads to it."""
_OWN = frozenset({"affine", "norm"})
"""Kinds of torch operations that are a factor or an offset of their own."""
_KERNEL, _ROWS, _BIAS = 4, 2, 1
"""How much says that an operation is a chain: its kernel, a kernel but for one factor of each channel, its bias."""


class Chain(NamedTuple):
    """Layers in a row, of which one has a kernel or a table, and the others are factors and offsets.

    Attributes:
        owners: Positions of those layers in order.
        inside: All primitives but the last, as the values they give.
        first: The first primitive.
        last: The last one.
        whole: No such layer stands beside it.
    """

    owners: tuple[int, ...]
    inside: tuple[int, ...]
    first: int
    last: int
    whole: bool


def find(sides: Sides, known: set[int], taken: set[int]) -> list[Anchor]:
    """Anchors of kernels and tables that are the product of Keras's with what stands before and behind them.

    A single BatchNormalization is ``folded``'s. The values say whether what is not recognised is right. What several
    layers take is a part of each of them or of none.

    Args:
        sides: Both sides.
        known: Keras values that have an anchor; that of a layer whose bias alone was found is of no weight.
        taken: Those that are a part of other fused layers.
    """
    alone: set[int] = set()
    while True:
        anchors = _find(sides, known, taken, alone)
        owners = {v: i for i, anchor in enumerate(anchors) for v in (*anchor.together, anchor.last)}
        left = {
            value
            for anchor in anchors
            for value in anchor.together
            for step in sides.keras.consumers[value]
            if (out := sides.keras.nodes[step].outputs[0]) not in owners or value not in anchors[owners[out]].together
        }
        if not left:
            return anchors
        alone |= left


def _find(sides: Sides, known: set[int], taken: set[int], alone: set[int]) -> list[Anchor]:
    """Anchors of chains that have none of the values ``alone`` inside."""
    anchors: list[Anchor] = []
    held, shared = folded.held(sides), {v for v, takers in sides.keras.consumers.items() if len(takers) > 1}
    for value in sides.weights if held else ():
        node = sides.keras.node(value)
        if node is None or node.kind not in ("conv", "linear", "embedding") or not sides.weights[value]:
            continue
        if value in taken or folded.is_claimed(sides, value, node):
            continue
        found = {
            (much, len(chain.owners), i): chain
            for chain in _chains(sides, value)
            if not ((known - {value}) | taken | alone).intersection((*chain.inside, chain.last))
            for i, much in _evidence(sides, value, node, chain, held)
        }
        best = max(found, default=None)
        if best is None or sum(much == best[0] and i != best[2] for much, _, i in found):
            continue  # two operations hold as much of it
        chain, step = found[best], sides.torch.nodes[best[2]]
        if not _is_single(sides, chain):
            anchors.append(
                Anchor(chain.first, chain.last, step.outputs[0], step.operands, "weights", chain.inside, True)
            )
            # What leads to a value that several layers take is shared as well.
            reach = max((chain.inside.index(v) for v in shared.intersection(chain.inside)), default=-1)
            taken = {*taken, *chain.inside[reach + 1 :], chain.last}
    return anchors


def _is_single(sides: Sides, chain: Chain) -> bool:
    """Whether it is a kernel and one BatchNormalization."""
    classes = [inside(la.class_name, la.config)[0] for la in (sides.reference.layers[i] for i in chain.owners)]
    return len(classes) == 2 and "BatchNormalization" in classes and "Embedding" not in classes


def _chains(sides: Sides, value: int) -> Iterator[Chain]:
    """All chains around a primitive with a kernel."""
    before, behind = list(_before(sides, value)), list(_behind(sides, value))
    # A reach of n layers is n of them with all that stands between.
    for back, on in itertools.product(range(len(before) + 1), range(len(behind) + 1)):
        front, rest = before[:back][::-1], behind[:on]
        nodes = [*itertools.chain(*front), sides.keras.nodes[sides.keras.producer[value]], *itertools.chain(*rest)]
        if back or on:
            owners = dict.fromkeys(n.owner for n in nodes if n.kind not in (*_BETWEEN, "move"))
            values = [n.outputs[0] for n in nodes]
            whole = back == len(before) and on == len(behind)
            yield Chain(tuple(owners), tuple(values[:-1]), values[0], values[-1], whole)


def _before(sides: Sides, value: int) -> Iterator[list[Node]]:
    """Factors and offsets that lead to a primitive, nearest first, each with what stands between, in order."""
    keras, reference = sides.keras, sides.reference
    layer, padded, nodes = reference.layers[keras.nodes[keras.producer[value]].owner], False, list[Node]()
    at = keras.nodes[keras.producer[value]].operands
    while len(at) == 1 and at[0] not in reference.outputs:
        node = keras.node(at[0])
        if node is None:
            return
        nodes, padded, at = [node, *nodes], padded or node.kind == "pad", node.operands
        own = reference.layers[node.owner]
        if node.kind not in _BETWEEN and (node.kind, node.variant) != _FLAT and not _is_affine(sides, node):
            return
        first = not at or (earlier := keras.node(at[0])) is None or earlier.owner != node.owner
        if _is_affine(sides, node) and first:
            numbers = products.numbers_of(reference.weights, own, layer, True)
            # What is added before a padding is not added to the padding.
            if numbers is None or (padded and bool(np.any(numbers.shift))):
                return
            yield nodes
            nodes = []


def _behind(sides: Sides, value: int) -> Iterator[list[Node]]:
    """Factors and offsets that follow a primitive, nearest first, each with what stands between, in order."""
    keras, reference, nodes = sides.keras, sides.reference, list[Node]()
    layer, at = reference.layers[keras.nodes[keras.producer[value]].owner], value
    while len(keras.consumers.get(at, [])) == 1 and at not in reference.outputs:
        node = keras.nodes[keras.consumers[at][0]]
        if node.operands != (at,) or not (node.kind == "identity" or _is_affine(sides, node)):
            return
        nodes, at = [*nodes, node], node.outputs[0]
        if _is_affine(sides, node) and at in reference.layers[node.owner].outputs:
            if products.numbers_of(reference.weights, reference.layers[node.owner], layer, False) is None:
                return
            yield nodes
            nodes = []


def _is_affine(sides: Sides, node: Node) -> bool:
    layer = sides.reference.layers[node.owner]
    return inside(layer.class_name, layer.config)[0] in AFFINE and node.kind in _OWN


def _evidence(
    sides: Sides, value: int, node: Node, chain: Chain, held: Mapping[int, Sequence[ConstantData]]
) -> Iterator[tuple[int, int]]:
    """Operations that may be a chain, each with how much says so."""
    product = products.of(sides.reference.weights, [sides.reference.layers[i] for i in chain.owners])
    made = product.made() if product is not None else None
    if product is None or made is None or product.kernel not in sides.weights[value]:
        return
    kernel = _canonical(node, made[product.kernel])
    for i, constants in held.items():
        if (sides.torch.nodes[i].kind == "embedding") != (node.kind == "embedding"):
            continue
        alike = [c.array for c in constants if c.array.size == kernel.size and c.array.ndim > 1]
        biases = [c.array for c in constants if c.array.ndim == 1]
        much = max((_is_kernel(array, kernel, node) for array in alike), default=0)
        if alike and "bias" in made and any(folded.equals(array, made["bias"]) for array in biases):
            much += _BIAS
        # A part of the evidence is none where the port has a factor or an offset of its own beside the kernel.
        if much >= _KERNEL or (much and chain.whole and not _has_own(sides.torch, i)):
            yield i, much


def _canonical(node: Node, kernel: Floats) -> Floats:
    if node.kind == "embedding":
        return kernel
    return np.asarray(by_content.canonical(node.kind, node.variant, kernel), np.float64)


def _is_kernel(array: Array, kernel: Floats, node: Node) -> int:
    """How much a constant is a kernel: its elements in any order, most of them in their places, or its directions."""
    if folded.is_reordered(array, kernel):
        return _KERNEL
    have, want = np.asarray(array, np.float64).squeeze(), kernel.squeeze()
    for way in (want, want.T) if want.ndim == 2 else (want,):
        said = way != 0
        near = np.abs(have - way) <= folded.ROUNDED * np.abs(way) if have.shape == way.shape else None
        if near is not None and said.any() and near[said].mean() >= _MOSTLY:
            return _KERNEL
    if node.kind == "embedding":  # of each channel a factor and an offset
        if array.shape != kernel.shape or len(kernel) <= _FEW:
            return 0
        return _ROWS * by_content.same_direction((array - array.mean(0)).T, (kernel - kernel.mean(0)).T, _SAME)
    swapped = node.variant == "transpose"
    return _ROWS * any(folded.is_scaled(array, kernel, way) for way in (swapped, not swapped))


def _has_own(torch: Graph, step: int) -> bool:
    """Whether a factor or an offset feeds an operation, or follows it."""
    node = torch.nodes[step]
    before = [torch.node(value) for value in node.operands]
    behind = [torch.nodes[i] for i in torch.consumers.get(node.outputs[0], [])]
    return any(n is not None and n.kind in _OWN for n in (*before, *behind))
