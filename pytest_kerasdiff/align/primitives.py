"""The Keras side as a graph: every layer expanded into what it is made of."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_kerasdiff.align import kinds, stated
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.trace import ReferenceTrace


def keras_graph(trace: ReferenceTrace) -> tuple[Graph, list[list[int]], dict[int, tuple[str, ...]]]:
    """Expand every layer of a trace.

    Returns:
        The graph, whose values are the trace's values plus new numbers for results inside a layer; for each layer the
        values of its primitives in order (empty where it depends on no other layer); for each such value the weights
        of its primitive.
    """
    fresh = max(trace.values, default=-1) + 1
    nodes: list[Node] = []
    chains: list[list[int]] = []
    weights: dict[int, tuple[str, ...]] = {}
    for position, layer in enumerate(trace.layers):
        chain: list[int] = []
        if layer.inputs:
            # A mask is no operand of what it masks, but of what makes another mask or numbers of it.
            operands = tuple(v for v in layer.inputs if v not in trace.masks) or layer.inputs
            parts = kinds.parts(layer)
            for i, (kind, variant, names) in enumerate(parts):
                if kind in kinds.MERGES and len(operands) < 2:
                    # The other operands are constants: clipping, or scale and offset.
                    kind, variant = ("act", "relu") if kind in ("maximum", "minimum") else ("affine", variant)
                outputs: Sequence[int] = layer.outputs
                if i + 1 < len(parts):
                    outputs, fresh = (fresh,), fresh + 1
                says = stated.of_layer(layer, kind)
                nodes.append(Node(kind, variant, tuple(operands), position, tuple(outputs), says))
                chain.append(outputs[0])
                weights[outputs[0]] = names
                operands = tuple(outputs[:1])
        chains.append(chain)
    return Graph(nodes, trace.inputs, trace.outputs), chains, weights
