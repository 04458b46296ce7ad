"""Sequences that the port has step by step only: each step of a layer is handed to the next layer within one loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pytest_kerasdiff.align import anchors
from pytest_kerasdiff.align.graph import Graph
from pytest_kerasdiff.align.operations import torch_graph
from pytest_kerasdiff.align.primitives import keras_graph
from pytest_kerasdiff.align.weights import Claims
from pytest_kerasdiff.trace import CandidateTrace, ReferenceTrace

_JOINING = frozenset({"concat", "pad"})
"""Kinds of operations that join a step with the next layer's state, which is zeros in the first."""


def find(reference: ReferenceTrace, candidate: CandidateTrace) -> list[tuple[int, ...]]:
    """The steps of each such sequence, in order.

    They are values of a recurrent layer, each computed from the one before, that operations with the weights of another
    layer take one by one.
    """
    keras, _, names = keras_graph(reference)
    if not any(node.kind == "rnn" for node in keras.nodes):
        return []
    sides = anchors.Sides(reference, candidate, keras, torch_graph(candidate), names, Claims(reference, candidate))
    found: dict[tuple[int, ...], None] = {}
    for anchor in anchors.from_weights(sides):
        node = keras.node(anchor.last)
        if node is not None and node.kind == "rnn":
            shape = reference.shapes[anchor.last]
            found.update({s: None for s in _handed_on(anchor, sides) if len(s) > 1 and len(s) == shape[1]})
    return list(found)


def _handed_on(anchor: anchors.Anchor, sides: anchors.Sides) -> list[tuple[int, ...]]:
    """Chains of values of a layer that the operations of another layer take."""
    torch, taken_by = sides.torch, dict[frozenset[tuple[str, str]], list[int]]()
    node = sides.keras.node(anchor.last)
    assert node is not None
    owner = sides.reference.layers[node.owner].weight_owner
    for value in sorted(anchor.seats, key=torch.order):
        if (made_by := torch.node(value)) is not None and made_by.kind in _JOINING:
            continue
        takers = {frozenset(sides.claims.of_operation[i]) for i in _takers(torch, value)}
        for keys in takers:
            if keys and all(layer != owner for layer, _ in keys):
                taken_by.setdefault(keys, []).append(value)
    shapes = sides.candidate.shapes
    return [
        tuple(values)
        for values in taken_by.values()
        if all(torch.is_ancestor(a, b) and shapes[a] == shapes[b] for a, b in itertools.pairwise(values))
    ]


def _takers(torch: Graph, value: int) -> Iterator[int]:
    """The operations that take a value, also where it is first joined with the other layer's state."""
    for i in torch.consumers.get(value, []):
        joined = torch.nodes[i].kind in _JOINING
        yield from torch.consumers.get(torch.nodes[i].outputs[0], []) if joined else [i]
