"""Anchors: pairs that are known before the graphs are walked, from the manifest and from weights."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.graph import Graph
from pytest_kerasdiff.trace import CandidateTrace, ReferenceTrace

MAIN_KINDS = frozenset({"conv", "linear", "matmul", "embedding"})
"""Operations that hold a kernel or a table."""
_JOINING = frozenset({"move", "identity", "concat", "add", "mul", "affine", "maximum", "opaque"})
_HEAVY = MAIN_KINDS | {"rnn", "attention"}
_ALIKE = MAIN_KINDS | {"norm", "act", "rnn", "pool"}
_RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
"""Operations of torch that are a recurrent layer, or several."""
_REGION_KINDS = frozenset({"rnn", "attention", "opaque"})
_APART = MAIN_KINDS | {"rnn", "attention", "norm", "upsample"}
"""Kinds that are no last part of a layer whose end is open: what follows it begins with them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Anchor:
    """Keras primitives that are known to be torch operations.

    Attributes:
        first: First Keras primitive, as the value it gives; its operands feed the operations.
        last: Last Keras primitive; it gives what ``value`` is.
        value: Torch value.
        sources: Torch values that feed the operations, in order.
        method: "manifest", "weights" or "graph".
        together: Keras primitives that are computed with the last and have no value of their own.
        rounded: Their weights are multiplied into the last one's, so that the product is rounded to float32.
        core: Torch values that are certainly inside, where ``value`` is one of several that may be the layer's output.
        seats: Those that may be: what takes the layer's output in both graphs decides which one is.
    """

    first: int
    last: int
    value: int
    sources: tuple[int, ...]
    method: str
    together: tuple[int, ...] = ()
    rounded: bool = False
    core: frozenset[int] = frozenset()
    seats: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of an alignment, as what finds anchors sees them.

    Attributes:
        reference: The Keras side.
        candidate: The torch side.
        keras: The Keras side as a graph.
        torch: The torch side as a graph.
        weights: Keras value of each primitive → its weights.
        claims: What every torch operation holds.
    """

    reference: ReferenceTrace
    candidate: CandidateTrace
    keras: Graph
    torch: Graph
    weights: Mapping[int, tuple[str, ...]]
    claims: by_content.Claims


def from_weights(sides: Sides) -> list[Anchor]:
    """Anchors from the content of weights; some may contradict others, see ``consistent``."""
    reference, keras, torch, claims = sides.reference, sides.keras, sides.torch, sides.claims
    found: list[tuple[int, set[int]]] = []
    holding: dict[by_content.Key, list[int]] = {}
    for i, claimed in enumerate(claims.of_operation):
        for key in claimed:
            holding.setdefault(key, []).append(i)
    calls_of: dict[tuple[tuple[str, ...], str, str], list[int]] = {}
    for value, names in sides.weights.items():
        kind = keras.nodes[keras.producer[value]].kind
        calls_of.setdefault((names, _owner(reference, keras, value), kind), []).append(value)
    for value, names in sides.weights.items():
        node = keras.nodes[keras.producer[value]]
        if not names:
            continue
        layer = reference.layers[node.owner]
        keys = {(layer.weight_owner, name) for name in names}
        steps = sorted({i for key in keys for i in holding.get(key, ())})
        calls = calls_of[names, layer.weight_owner, node.kind]
        if len(calls) > 1:
            main = [i for i in steps if torch.nodes[i].kind in MAIN_KINDS | {"norm", "rnn", node.kind}]
            region = _same_call(value, calls, main, keras, torch)
        else:
            sizes = {key: reference.weights[key].size for key in keys}
            region = _region(node.kind, steps, claims, sizes, torch, sides.candidate)
        if region and not (node.kind == "act" and torch.nodes[max(region)].kind != "act"):
            found.append((value, region))  # a product with slopes is a part of a PReLU by hand: the graph has the rest
    return [_seated(a, sides) for a in _merge_claims(found, keras, torch)]


def recurrent_by_place(sides: Sides, known: Sequence[Anchor]) -> list[Anchor]:
    """Anchors of recurrent layers whose weights the port does not hold: one after the other, where both have as many.

    Of torch's own operations alone; what such a layer gives is open as it is where the weights are known.
    """
    taken = {step for a in known for step in (sides.torch.producer.get(v) for v in (a.value, *a.core))}
    anchored = {a.last for a in known}
    keras = sorted((v for v in sides.weights if v not in anchored and _is_rnn(sides.keras, v)), key=sides.keras.order)
    torch = [
        i
        for i, operation in enumerate(sides.candidate.operations)
        if operation.op in _RECURRENT and i not in taken and not sides.claims.of_operation[i]
    ]
    if len(keras) != len(torch):
        return []
    pairs = zip(keras, torch, strict=True)
    return [
        _seated(Anchor(u, u, sides.torch.nodes[i].outputs[0], sources(sides.torch, {i}), "graph"), sides)
        for u, i in pairs
    ]


def _is_rnn(keras: Graph, value: int) -> bool:
    node = keras.node(value)
    return node is not None and node.kind == "rnn"


def _same_call(value: int, calls: Sequence[int], steps: Sequence[int], keras: Graph, torch: Graph) -> set[int]:
    """The step that is the same call of a shared layer.

    It is fed by the same inputs of the model; among those it comes after the same operations, where that tells the
    calls apart on both sides, else the calls are in the same order.
    """
    if len(calls) != len(steps):
        return set()
    mine = [i for i, v in enumerate(keras.inputs) if keras.is_ancestor(v, value)]
    alike = [v for v in calls if [i for i, x in enumerate(keras.inputs) if keras.is_ancestor(x, v)] == mine]
    theirs = [
        s
        for s in steps
        if [i for i, x in enumerate(torch.inputs) if torch.is_ancestor(x, torch.nodes[s].outputs[0])] == mine
    ]
    if len(alike) != len(theirs):
        return set()
    before = {v: _before(keras, v) for v in alike}
    theirs_before = {s: _before(torch, torch.nodes[s].outputs[0]) for s in theirs}
    if sorted(before.values()) == sorted(theirs_before.values()):
        alike.sort(key=lambda v: before[v])
        theirs.sort(key=lambda s: theirs_before[s])
    return {theirs[alike.index(value)]}


def _before(graph: Graph, value: int) -> list[tuple[str, int]]:
    """How many operations of each kind that both sides write alike a value is computed from."""
    nodes = {graph.producer[v] for v in graph.ancestors(value) if v in graph.producer}
    return sorted(Counter(graph.nodes[i].kind for i in nodes if graph.nodes[i].kind in _ALIKE).items())


def _owner(reference: ReferenceTrace, keras: Graph, value: int) -> str:
    return reference.layers[keras.nodes[keras.producer[value]].owner].weight_owner


def _region(
    kind: str,
    steps: Sequence[int],
    claims: by_content.Claims,
    sizes: Mapping[by_content.Key, int],
    torch: Graph,
    candidate: CandidateTrace,
) -> set[int]:
    """Operations that together hold the weights of one primitive; empty where that is not clear.

    Args:
        kind: Kind of the primitive.
        steps: Operations that hold any of its weights.
        claims: What every operation holds.
        sizes: Number of elements of each of its weights.
        torch: The torch side as a graph.
        candidate: The torch side.
    """
    keys = set(sizes)
    bias = {key: size for key, size in sizes.items() if "bias" in key[1]}
    if not steps:
        return set()
    if kind in ("norm", "attention") and all(sum(key in claims.of_operation[s] for s in steps) > 1 for key in keys):
        return set()  # held twice, where Keras has it once: another layer was given these weights
    if kind in _REGION_KINDS or kind in ("norm", "affine", "act"):
        whole = _with_sink(steps, torch, join=kind in _REGION_KINDS)
        if whole:
            return whole

    def strength(step: int) -> tuple[int, bool]:
        held = sum(sizes[key] for key in claims.of_operation[step] & keys)
        return held, torch.nodes[step].kind in MAIN_KINDS | {kind}

    best = max(strength(step) for step in steps)
    strongest = [step for step in steps if strength(step) == best]
    if len(strongest) > 1:
        return _joined_steps(strongest, torch)
    region = {strongest[0]}
    if claims.of_operation[strongest[0]] & set(bias):
        return region
    # A bias added by an operation of its own, directly after.
    value = torch.nodes[strongest[0]].outputs[0]
    for _ in range(4 if candidate.operations[strongest[0]].arguments.get("bias") is None else 0):
        consumers = torch.consumers.get(value, [])
        following = torch.nodes[consumers[0]] if len(consumers) == 1 else None
        if following is None or (following.kind != "move" and (following.kind, following.variant) != ("affine", "add")):
            break
        operation = candidate.operations[consumers[0]]
        if consumers[0] in steps or (
            bias
            and following.variant == "add"
            and any(candidate.constants[c].array.size in bias.values() for c in operation.constants)
        ):
            region.add(consumers[0])
            break
        value = following.outputs[0]
    return region


def _joined_steps(steps: Sequence[int], torch: Graph) -> set[int]:
    """The steps of a layer that is called in a loop, with the operation that joins what they give."""
    given = tuple(torch.nodes[step].outputs[0] for step in steps)
    joins = [i for i in torch.consumers.get(given[0], []) if torch.nodes[i].operands == given]
    return {*steps, joins[0]} if joins and torch.nodes[joins[0]].kind == "concat" else set()


def _with_sink(steps: Sequence[int], torch: Graph, join: bool) -> set[int]:
    """The steps, if one of them is computed from all others; with ``join``, and the first operation that is."""
    sink = max(steps)
    result = torch.nodes[sink].outputs[0]
    others = [torch.nodes[step].outputs[0] for step in steps if step != sink]
    if all(torch.leads_to(value, result) for value in others):
        return set(steps)
    for i in range(sink + 1, len(torch.nodes)) if join else ():
        value = torch.nodes[i].outputs[0]
        if torch.leads_to(result, value) and all(torch.leads_to(other, value) for other in others):
            return {*steps, i}
    return set()


def _merge_claims(found: Sequence[tuple[int, set[int]]], keras: Graph, torch: Graph) -> list[Anchor]:
    """One anchor for each set of primitives that hold the same last operation (a folded or fused chain)."""
    by_sink: dict[int, list[tuple[int, set[int]]]] = {}
    for value, region in found:
        by_sink.setdefault(max(region), []).append((value, region))
    anchors = []
    for sink, claimants in by_sink.items():
        claimants.sort(key=lambda claim: keras.order(claim[0]))
        chain = [value for value, _ in claimants]
        if any(not keras.is_ancestor(a, b) for a, b in itertools.pairwise(chain)):
            continue  # the same weights in parallel layers: the graph decides
        steps = set().union(*(region for _, region in claimants))
        anchors.append(
            Anchor(
                chain[0],
                chain[-1],
                torch.nodes[sink].outputs[0],
                sources(torch, steps),
                "weights",
                tuple(chain[:-1]),
            )
        )
    return anchors


def _seated(anchor: Anchor, sides: Sides) -> Anchor:
    """Move an anchor to the value that is the layer's output.

    Heads joined, a transposed convolution or a padded one cropped: it is the first value of the layer's size that comes
    from the operations' outputs by such steps alone. A recurrent layer or a user's own may end in many ways: its anchor
    is left open.
    """
    reference, candidate, keras, torch = sides.reference, sides.candidate, sides.keras, sides.torch
    node = keras.node(anchor.last)
    if node is None or node.kind not in ("rnn", "opaque", "attention", "conv", "linear"):
        return anchor
    if node.kind in ("rnn", "opaque"):
        return _open(anchor, sides)
    shape = reference.shapes[reference.layers[node.owner].outputs[0]]
    size = math.prod(shape)
    if node.kind in ("conv", "linear"):
        return _cropped(anchor, shape, candidate, torch)
    inside = {i for v in torch.between(anchor.sources, anchor.value) if (i := torch.producer.get(v)) is not None}
    reached = {v for i in inside for v in torch.nodes[i].outputs}
    if math.prod(candidate.shapes[anchor.value]) == size:
        return anchor
    for after in torch.nodes[min(inside) :]:
        if set(after.operands) <= reached and after.kind in _JOINING and not reached >= set(after.outputs):
            reached.update(after.outputs)
            for value in after.outputs:
                if math.prod(candidate.shapes[value]) == size:
                    return dataclasses.replace(anchor, value=value)
    return anchor


def _open(anchor: Anchor, sides: Sides) -> Anchor:
    """Leave open which value is a layer's output.

    The last step taken out, steps stacked, halves added, the gates of the last step: everything that is computed from
    the operations that hold the weights, up to the next operation with weights. What is packed again for the next layer
    is that layer's affair: it has no axis of samples.
    """
    torch = sides.torch
    inside = {i for v in torch.between(anchor.sources, anchor.value) if (i := torch.producer.get(v)) is not None}
    core = frozenset(v for i in inside for v in torch.nodes[i].outputs)
    reached, pending = set(core), list(core)
    while pending:
        for i in torch.consumers.get(pending.pop(), ()):
            new = set(torch.nodes[i].outputs) - reached
            if new and torch.nodes[i].kind not in _APART and not sides.claims.of_operation[i]:
                reached |= new
                pending += new
    packed = {v for v in reached if sides.candidate.operations[torch.producer[v]].op == "_pack_padded_sequence"}
    return dataclasses.replace(anchor, core=core, seats=frozenset(reached - packed))


def _cropped(anchor: Anchor, shape: tuple[int, ...], candidate: CandidateTrace, torch: Graph) -> Anchor:
    value, wanted = anchor.value, (math.prod(shape), len(shape))
    while (math.prod(candidate.shapes[value]), len(candidate.shapes[value])) != wanted:
        consumers = torch.consumers.get(value, [])
        if len(consumers) != 1 or torch.nodes[consumers[0]].kind not in ("pad", "move", "identity"):
            return anchor
        value = torch.nodes[consumers[0]].outputs[0]
    return dataclasses.replace(anchor, value=value)


def sources(torch: Graph, steps: set[int]) -> tuple[int, ...]:
    """Values that feed a set of operations and everything between them, in order of first use."""
    sink = torch.nodes[max(steps)].outputs[0]
    inside = {
        i
        for i in range(min(steps), max(steps) + 1)
        if i in steps
        or (
            torch.leads_to(torch.nodes[i].outputs[0], sink)
            and any(torch.leads_to(torch.nodes[s].outputs[0], torch.nodes[i].outputs[0]) for s in steps)
        )
    }
    given = {value for i in inside for value in torch.nodes[i].outputs}
    ordered: dict[int, None] = {}
    for i in sorted(inside):
        for value in torch.nodes[i].operands:
            if value not in given:
                ordered.setdefault(value)
    return tuple(ordered)


def before_outputs(anchors: Sequence[Anchor], outputs: Sequence[tuple[int, int]], sides: Sides) -> list[Anchor]:
    """Drop anchors that lead to other outputs of the model on the two sides: two heads hold each other's weights.

    Where the outputs end in other functions or have other sizes, it is they that stand in another order.
    """
    keras, torch = sides.keras, sides.torch

    def in_order(u: int, v: int) -> bool:
        ends = [(n.kind, n.variant) for n in (keras.node(u), torch.node(v)) if n is not None]
        sizes = math.prod(sides.reference.shapes[u]), math.prod(sides.candidate.shapes[v])
        return len({*ends}) < 2 and sizes[0] == sizes[1]

    def agrees(anchor: Anchor) -> bool:
        return all(
            (u == anchor.last or keras.leads_to(anchor.last, u))
            == (v == anchor.value or torch.leads_to(anchor.value, v))
            for u, v in outputs
        )

    several = len(outputs) > 1 and all(in_order(u, v) for u, v in outputs)
    return [a for a in anchors if agrees(a)] if several else list(anchors)


def consistent(anchors: Sequence[Anchor], keras: Graph, torch: Graph) -> list[Anchor]:
    """Drop anchors that contradict the others: "is computed from" must agree on both sides for every pair.

    Exchanged weights of two layers fall out here, and the graph pairs the layers by their place. Where a kernel
    contradicts a normalisation, it is the normalisation that stands elsewhere.
    """
    before = _before_anchors([a.last for a in anchors], keras)
    others = _before_anchors([a.value for a in anchors], torch)
    conflicts: dict[int, set[int]] = {}
    for i in range(len(anchors)):
        differing = (before[i] ^ others[i]) & ~(1 << i)
        while differing:  # one bit for each anchor: hardly any differs
            j = (differing & -differing).bit_length() - 1
            differing &= differing - 1
            conflicts.setdefault(i, set()).add(j)
            conflicts.setdefault(j, set()).add(i)
    light = {i for i in conflicts if (node := keras.node(anchors[i].last)) is not None and node.kind not in _HEAVY}
    dropped: set[int] = set()
    while conflicts:
        most = max(len(with_it) for with_it in conflicts.values())
        worst = {i for i, with_it in conflicts.items() if len(with_it) == most}
        worst = worst & light or worst
        dropped |= worst
        conflicts = {i: left for i, with_it in conflicts.items() if i not in worst and (left := with_it - worst)}
    return [a for i, a in enumerate(anchors) if i not in dropped]


def _before_anchors(values: Sequence[int], graph: Graph) -> list[int]:
    """For the value of each anchor in a graph the anchors that it is computed from, one bit each."""
    marks: dict[int, int] = {}
    for i, value in enumerate(values):
        node = graph.node(value)
        for given in node.outputs if node is not None else (value,):
            marks[given] = marks.get(given, 0) | 1 << i
    reached = graph.reached_from(marks)
    return [reached[value] for value in values]
