"""The alignment: for each Keras layer the torch value that is its output, and how that was found."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_kerasdiff.align import anchors as known
from pytest_kerasdiff.align import folded, fused
from pytest_kerasdiff.align.anchors import Anchor
from pytest_kerasdiff.align.graph import Graph
from pytest_kerasdiff.align.operations import torch_graph
from pytest_kerasdiff.align.primitives import keras_graph
from pytest_kerasdiff.align.walk import Tie, Walk
from pytest_kerasdiff.align.weights import Claims
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.trace import CandidateTrace, Layer, ReferenceTrace


class Pairs(dict[int, int]):
    """Keras value → torch value, with the way back."""

    def __init__(self, pairs: Mapping[int, int]) -> None:
        """Begin with these pairs."""
        super().__init__()
        self.of_torch: dict[int, dict[int, None]] = {}
        """Torch value → the Keras values that it is, the latest last."""
        for keras_value, torch_value in pairs.items():
            self[keras_value] = torch_value

    def __setitem__(self, keras_value: int, torch_value: int) -> None:
        """Pair the two, whatever the Keras value was paired with."""
        self._part(keras_value)
        super().__setitem__(keras_value, torch_value)
        self.of_torch.setdefault(torch_value, {})[keras_value] = None

    def __delitem__(self, keras_value: int) -> None:
        """Forget a pair."""
        self._part(keras_value)
        super().__delitem__(keras_value)

    def pop(self, keras_value: int, *default: Any) -> Any:
        """Forget a pair and give its torch value, as a dict does."""
        self._part(keras_value)
        return super().pop(keras_value, *default)

    def _part(self, keras_value: int) -> None:
        if keras_value in self:
            others = self.of_torch[self[keras_value]]
            others.pop(keras_value, None)
            if not others:
                del self.of_torch[self[keras_value]]


@dataclasses.dataclass(slots=True)
class Alignment:
    """Which torch value each Keras layer's output is.

    Attributes:
        pairs: Keras value → torch value.
        passes_on: Keras value of a layer without a torch operation → the Keras value it passes on unchanged.
        computed_with: Position of a layer that has no value of its own → position of the layer it is computed with.
        methods: Position of a layer → "manifest", "weights" or "graph".
        main: Position of a layer → torch operation that stands for it in reports.
        folded: Layers whose weights are multiplied into another layer's, with that layer: the last of several.
        inside: Keras value inside a layer (a convolution before its activation) → torch value.
        partial: Layers whose last primitives (an activation) have no torch operation.
        keras: The Keras side as a graph.
        torch: The torch side as a graph.
        ties: What neither weights nor graphs decide, with the pairs that were made.
        elsewhere: Output of the Keras model → what it is, where the port returns that as another one of its outputs.
    """

    pairs: Pairs
    passes_on: dict[int, int]
    computed_with: dict[int, int]
    methods: dict[int, str]
    main: dict[int, int]
    folded: dict[int, int]
    inside: dict[int, int]
    partial: set[int]
    keras: Graph
    torch: Graph
    ties: list[Tie]
    elsewhere: dict[int, int] = dataclasses.field(default_factory=dict)

    def torch_value(self, keras_value: int) -> int | None:
        """The torch value that a Keras value is, through layers that pass it on."""
        seen: set[int] = set()
        while keras_value not in self.pairs:
            if keras_value in seen or keras_value not in self.passes_on:
                return None
            seen.add(keras_value)
            keras_value = self.passes_on[keras_value]
        return self.pairs[keras_value]

    def fold(self, position: int) -> list[int]:
        """The layers whose weights are multiplied into each other in the port, this one among them, in order.

        What several layers take is a part of each of them, and ``folded`` says so of one.
        """
        last = self.folded.get(position, position)
        if not self.folded or (last == position and position in self.computed_with):
            return []
        own = {last, *(p for p, partner in self.folded.items() if partner == last)}
        reached, pending = set(own), list(own)
        while pending:
            taken = {value for node in self.keras.of_owner.get(pending.pop(), ()) for value in node.operands}
            before = {node.owner for value in taken if (node := self.keras.node(value)) is not None} - reached
            new = {p for p in before if p in self.folded or p in self.computed_with}
            reached |= new
            pending += new
        own |= reached & self.folded.keys()
        return sorted(own) if len(own) > 1 else []

    def span(self, torch_value: int) -> list[int]:
        """Operations between a torch value and the paired values it is computed from, in order."""
        inside = self.torch.between(self.pairs.of_torch, torch_value)
        return sorted({self.torch.producer[v] for v in inside if v in self.torch.producer})

    def steps(self, position: int, keras_value: int) -> list[int]:
        """Operations of a layer in order: those that lead to one of its outputs, and the one that stands for it."""
        value, main = self.pairs.get(keras_value), self.main.get(position)
        return sorted({*(self.span(value) if value is not None else ()), *(() if main is None else (main,))})


def align(
    reference: ReferenceTrace,
    candidate: CandidateTrace,
    manifest: Manifest,
    chosen: Mapping[int, int] | None = None,
) -> Alignment:
    """Align two traces: by the manifest, by weights, then by the graph.

    Args:
        reference: The Keras side.
        candidate: The torch side.
        manifest: What the user says.
        chosen: Keras value → torch value, where a tie was settled, or the order of the model's outputs.

    Raises:
        RunError: The manifest names a layer or an operation that is not there, or the port gives too few outputs.
    """
    keras, chains, prim_weights = keras_graph(reference)
    torch = torch_graph(candidate)
    if len(reference.inputs) != len(candidate.inputs):
        raise RunError(
            f"the Keras model has {len(reference.inputs)} inputs, the torch model was given {len(candidate.inputs)}"
        )
    given, chosen = _outputs(reference, candidate), chosen or {}
    outputs = [(u, chosen.get(u, v)) for u, v in given]
    walk = Walk(keras, torch, chosen)
    for keras_value, torch_value in zip(reference.inputs, candidate.inputs, strict=True):
        walk.commit(keras_value, torch_value, "graph")
    stated = _from_manifest(reference, candidate, chains, torch, manifest)
    said = {value for anchor in stated for value in (anchor.last, anchor.value)}
    sides = known.Sides(reference, candidate, keras, torch, prim_weights, Claims(reference, candidate))
    found = known.from_weights(sides)
    together = fused.find(sides, {a.last for a in found if not folded.is_offset(a, sides)})
    inside = {value for anchor in together for value in (*anchor.together, anchor.last)}
    found = [*(a for a in found if a.last not in inside), *together]
    found += known.recurrent_by_place(sides, found)
    by_weights = [a for a in found if a.last not in said and a.value not in said]
    walk.hints = {a.last: a.value for a in by_weights}
    by_weights = known.consistent(known.before_outputs(by_weights, outputs, sides), keras, torch)
    all_anchors = sorted([*stated, *by_weights], key=lambda a: keras.order(a.last))
    for anchor in all_anchors:
        if anchor.seats:
            walk.leave_open(anchor.last, anchor.value, anchor.core, anchor.seats)
        else:
            walk.commit(anchor.last, anchor.value, anchor.method)
    for anchor in all_anchors:
        node = keras.node(anchor.first)
        if node is not None:
            walk.align(node.operands, anchor.sources)
    for keras_value, torch_value in outputs:
        if walk.pairs.get(keras_value) != torch_value:
            walk.align([keras_value], [torch_value])
    for anchor in all_anchors:
        if anchor.last not in walk.pairs:  # nothing that was found takes its output
            walk.commit(anchor.last, anchor.value, anchor.method)
    result = _result(reference, keras, torch, chains, walk, all_anchors, outputs)
    folded.join_alike(result, sides)
    _absorb_paddings(result, reference, candidate)
    result.elsewhere = {u: v for (u, v), (_, own) in zip(outputs, given, strict=True) if v != own}
    return result


def _outputs(reference: ReferenceTrace, candidate: CandidateTrace) -> list[tuple[int, int]]:
    given = outputs_in_order(reference, candidate)
    if all(value is None for value in given):
        raise RunError("the torch model's output does not depend on its input: nothing can be compared")
    if len(given) < len(reference.outputs):
        raise RunError(f"the Keras model has {len(reference.outputs)} outputs, the torch model gives {len(given)}")
    return [(u, v) for u, v in zip(reference.outputs, given, strict=False) if v is not None]


def outputs_in_order(reference: ReferenceTrace, candidate: CandidateTrace) -> list[int | None]:
    """The port's outputs in the order of Keras's."""
    return [candidate.outputs[i] for i in order_of_outputs(reference, candidate)]


def order_of_outputs(reference: ReferenceTrace, candidate: CandidateTrace) -> list[int]:
    """Positions of the port's outputs in the order of Keras's.

    By name where the port gives a dict whose keys are those of Keras's dict, or the names of the layers that give the
    model's outputs; else as given.
    """
    given = json.loads(candidate.environment.get("output_names", "[]"))
    layers = [la.name for value in reference.outputs for la in reference.layers if value in la.outputs]
    for names in (json.loads(reference.environment.get("output_names", "[]")), layers):
        if names and sorted(names) == sorted(given) and len(given) == len(candidate.outputs):
            return [given.index(name) for name in names]
    return list(range(len(candidate.outputs)))


def _from_manifest(
    reference: ReferenceTrace,
    candidate: CandidateTrace,
    chains: list[list[int]],
    torch: Graph,
    manifest: Manifest,
) -> list[Anchor]:
    positions = {layer.name: i for i, layer in enumerate(reference.layers)}
    found = []
    for name, (first, last) in manifest.layers.items():
        where = f"{manifest.path}: [layers] {name}"
        if name not in positions:
            raise RunError(f"{where}: the Keras model has no such layer{_near(name, positions)}")
        chain = chains[positions[name]]
        if not chain:
            raise RunError(f"{where}: an input needs no partner; see [inputs]")
        begin, end = _operations(first, candidate, where)[0], _operations(last, candidate, where)[-1]
        if begin > end:
            raise RunError(f"{where}: {first!r} runs after {last!r}; write the span as [from, to] in execution order")
        result = torch.nodes[end].outputs[0]
        steps = {
            i
            for i in range(begin, end + 1)
            if i in (begin, end) or torch.is_ancestor(torch.nodes[i].outputs[0], result)
        }
        found.append(Anchor(chain[0], chain[-1], result, known.sources(torch, steps), "manifest"))
    return found


def _operations(name: str, candidate: CandidateTrace, where: str) -> list[int]:
    """Positions of the operations that a name of the manifest stands for: one operation, or all of a module."""
    exact = [i for i, op in enumerate(candidate.operations) if op.name == name]
    found = exact or [
        i for i, op in enumerate(candidate.operations) if op.module == name or op.module.startswith(name + ".")
    ]
    if not found:
        names = {op.name: 0 for op in candidate.operations} | {op.module: 0 for op in candidate.operations if op.module}
        raise RunError(f"{where}: the torch model ran no module or operation {name!r}{_near(name, names)}")
    return found


def _near(name: str, known_names: Mapping[str, int]) -> str:
    close = difflib.get_close_matches(name, known_names, 3)
    return f"; did you mean {', '.join(close)}?" if close else ""


def _result(
    reference: ReferenceTrace,
    keras: Graph,
    torch: Graph,
    chains: list[list[int]],
    walk: Walk,
    used: list[Anchor],
    outputs: list[tuple[int, int]],
) -> Alignment:
    values = {v for layer in reference.layers for v in layer.outputs}
    masks = reference.masks - set(reference.inputs)
    pairs = Pairs({u: v for u, v in walk.pairs.items() if u in values and u not in masks})
    inside = {u: v for u, v in walk.pairs.items() if u not in values}
    ties = [tie for tie in walk.ties if values.issuperset(tie.keras)]
    result = Alignment(pairs, {}, {}, {}, {}, {}, inside, set(), keras, torch, ties)
    together = {value: anchor for anchor in used for value in anchor.together}
    holders = {anchor.last: anchor.value for anchor in used if anchor.seats}
    for position, (layer, chain) in enumerate(zip(reference.layers, chains, strict=True)):
        value = layer.outputs[0]
        result.methods[position] = _method(walk, chain)
        paired = [u for u in chain if u in walk.pairs]
        if paired:
            heavy = next(
                (u for u in paired if (n := torch.node(walk.pairs[u])) and n.kind in known.MAIN_KINDS | {"norm"}),
                paired[0],
            )
            producer = torch.producer.get(holders.get(heavy, walk.pairs[heavy]))
            if producer is not None:
                result.main[position] = producer
        if not chain or value in pairs:
            continue
        joined = [u for u in chain if u in together]
        if paired and value not in together:
            pairs[value] = walk.pairs[paired[-1]]  # judged without its last primitives
            result.partial.add(position)
        elif joined:
            anchor = together[joined[-1]]
            partner = keras.nodes[keras.producer[anchor.last]].owner
            result.computed_with[position] = partner
            if anchor.rounded and keras.nodes[keras.producer[value]].kind not in ("identity", "pad", "move"):
                result.folded[position] = partner
        elif value not in reference.masks:
            result.passes_on[value] = _passed_on(walk, chain, layer.inputs)
    _join_between(result, reference)
    _give_back(result, reference, chains, walk)
    for keras_value, torch_value in outputs:
        _extend_to_output(result, keras_value, torch_value)
    return result


def _give_back(result: Alignment, reference: ReferenceTrace, chains: list[list[int]], walk: Walk) -> None:
    """Where the port lacks a layer with a kernel, what stands for its activation is that of the layer before."""
    owner = {v: i for i, layer in enumerate(reference.layers) for v in layer.outputs}
    for position, (layer, chain) in enumerate(zip(reference.layers, chains, strict=True)):
        value, source = layer.outputs[0], layer.inputs[0] if len(layer.inputs) == 1 else -1
        if len(chain) < 2 or value not in result.pairs or owner.get(source) not in result.partial:
            continue
        ends = [result.keras.node(v) for v in (chain[-1], chains[owner[source]][-1])]
        heavy, kinds = result.keras.node(chain[0]), {(n.kind, n.variant) for n in ends if n is not None}
        lacks = heavy is not None and heavy.kind in known.MAIN_KINDS and chain[0] not in walk.pairs
        if lacks and len(kinds) == 1 and next(iter(kinds))[0] == "act":
            result.pairs[source] = result.pairs.pop(value)
            result.partial.discard(owner[source])
            result.main.pop(position, None)
            result.passes_on[value] = source


def _join_between(result: Alignment, reference: ReferenceTrace) -> None:
    """A layer that only passes on what another one computes together with a third is computed with it too."""
    owner = {v: i for i, layer in enumerate(reference.layers) for v in layer.outputs}
    for position, layer in enumerate(reference.layers):
        source = result.passes_on.get(layer.outputs[0])
        if source is not None and owner[source] in result.computed_with and result.torch_value(source) is None:
            del result.passes_on[layer.outputs[0]]
            result.computed_with[position] = result.computed_with[owner[source]]


def _absorb_paddings(result: Alignment, reference: ReferenceTrace, candidate: CandidateTrace) -> None:
    """A padding layer without an operation is computed with its consumers, if theirs pad where their layers do not."""

    def pads(position: int) -> bool:
        main = result.main.get(result.computed_with.get(position, position))
        if main is None or reference.layers[position].config.get("padding") != "valid":
            return False
        padding = candidate.operations[main].arguments.get("padding")
        return padding not in ("valid", None) and (isinstance(padding, str) or bool(np.any(padding)))

    for position, layer in enumerate(reference.layers):
        value = layer.outputs[0]
        consumers = reference.takers.get(value, ())
        absorbed = bool(consumers) and all(map(pads, consumers)) and value not in reference.outputs
        if layer.class_name.startswith("ZeroPadding") and absorbed and _adds_nothing(result, layer, candidate):
            result.passes_on.pop(value, None)
            result.pairs.pop(value, None)
            result.main.pop(position, None)
            result.computed_with[position] = result.computed_with.get(consumers[0], consumers[0])


def _adds_nothing(result: Alignment, layer: Layer, candidate: CandidateTrace) -> bool:
    """Whether what stands for a padding has the size of what it takes: the port scales its input there."""
    if layer.outputs[0] in result.passes_on:
        return True
    have, source = result.pairs.get(layer.outputs[0]), result.torch_value(layer.inputs[0])
    return have is not None and source is not None and candidate.shapes.get(have) == candidate.shapes.get(source)


def _method(walk: Walk, chain: list[int]) -> str:
    methods = [walk.methods[u] for u in chain if u in walk.methods]
    return next((m for m in ("manifest", "weights") if m in methods), "graph")


def _passed_on(walk: Walk, chain: list[int], inputs: tuple[int, ...]) -> int:
    for u in reversed(chain):
        if u in walk.aliases and walk.aliases[u] in inputs:
            return walk.aliases[u]
    return inputs[0] if inputs else chain[0]


def _extend_to_output(result: Alignment, keras_value: int, torch_value: int) -> None:
    """The model's output is the last layer's, whatever else was found: operations after its own belong to it."""
    if result.torch_value(keras_value) != torch_value:
        result.pairs[keras_value] = torch_value
        result.passes_on.pop(keras_value, None)
