"""Layers without an operation, and layers whose activation has none: Keras's own is put where the port lacks it."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_kerasdiff.align.kinds import IDENTITIES, activation_of
from pytest_kerasdiff.change import Chain, Change, Edit, put_before
from pytest_kerasdiff.diagnosis import pieces
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.pieces import Piece
from pytest_kerasdiff.diagnosis.trial import read_by


def concerns(case: Case) -> bool:
    """Whether the layer, or its last primitive, has no torch operation."""
    return bool(case.layer.inputs) and (case.position in case.alignment.partial or is_missing(case))


def is_missing(case: Case) -> bool:
    """Whether the port has no operation for a layer that does something: its weights are nowhere, too."""
    return case.layer.outputs[0] in case.alignment.passes_on and case.layer.class_name not in IDENTITIES


def suspect(case: Case) -> Iterator[Suspicion]:
    """What the layer computes, put behind what the port has in its place."""
    torch_value = case.value
    if torch_value is None:
        return
    layer = case.layer
    if case.position in case.alignment.partial:
        piece = pieces.activation(case, layer, layer.outputs[0], torch_value)
        whole = False
    else:
        piece = pieces.whole_layer(case, case.position, torch_value)
        whole = True
    if piece is None:
        if whole and layer.class_name not in IDENTITIES:
            yield Suspicion("missing-layer", f"the port has no operation for this {layer.class_name}", "add it")
        return
    producer = case.alignment.torch.producer.get(torch_value)
    where = case.trace.operations[producer] if producer is not None else None
    after = f"after {where.name}{where.place}" if where is not None else "before the first operation"
    yield Suspicion(
        identity(case, piece),
        f"Keras applies {piece.name}, the port has no operation for it",
        f"{piece.code} {after}",
        list(_ways(case, piece.chain, torch_value, producer)),
        piece=_in_words(case),
    )


def _in_words(case: Case) -> str:
    node = case.alignment.keras.node(case.layer.outputs[0])
    return "" if node is None else f"{node.kind} {node.variant}"


def identity(case: Case, piece: Piece) -> str:
    """Id of a fault of what a layer computes."""
    if (activation_of(case.layer.class_name, case.layer.config) or "").endswith("softmax") and piece.kind == "act":
        return "softmax"
    return "rescaling" if piece.kind == "affine" else "missing-layer"


def _ways(case: Case, chain: Chain, torch_value: int, producer: int | None) -> Iterator[Way]:
    """Behind the operation that gives the value; before those that take it, measured at the next layer."""
    behind = Change(edits={producer: Edit(after=chain)}) if producer is not None else None
    edits = put_before(takers(case, torch_value), chain)
    in_front = Change(edits=edits) if edits else None
    used = _consumers(case, case.position)
    if behind is not None and all(_shows_nothing_else(case, consumer) for consumer in used):
        alone = not _is_shared(case) and _is_known_before(case, behind, producer or 0)
        yield Way(behind, whole=None if alone or in_front is None else in_front)
    if in_front is not None:
        for consumer in used:
            if case.alignment.torch_value(case.judge.layers[consumer].outputs[0]) is not None:
                yield Way(in_front, measured=consumer, ignoring=frozenset({case.position}))
                return


def _shows_nothing_else(case: Case, consumer: int) -> bool:
    """Whether a layer takes what stands for the missing one: it is right with it, or wrong by a fault of its own."""
    verdict = case.judge.verdicts[consumer]
    return not verdict.is_wrong or verdict.status == "fault"


def _is_known_before(case: Case, change: Change, position: int) -> bool:
    """Whether all that a change reads was computed before an operation."""
    producers = [case.alignment.torch.producer.get(value, -1) for value in read_by(change)]
    return all(producer < position for producer in producers)


def _is_shared(case: Case) -> bool:
    """Whether other layers take what this one takes: what is put behind it would be put before them too."""
    if case.position in case.alignment.partial:
        return False
    source = case.layer.inputs[0]
    others = [la for la in case.judge.layers if source in la.inputs and la is not case.layer]
    return bool(others) or source in case.reference.outputs


def _consumers(case: Case, position: int) -> list[int]:
    """Layers that take what a layer gives, through those that have no operation either."""
    found = []
    value = case.judge.layers[position].outputs[0]
    for other, layer in enumerate(case.judge.layers):
        if value in layer.inputs:
            if layer.outputs[0] in case.alignment.passes_on:
                found += _consumers(case, other)
            elif case.alignment.torch_value(layer.outputs[0]) is None and other in case.alignment.computed_with:
                found.append(case.alignment.computed_with[other])
            else:
                found.append(other)
    return found


def takers(case: Case, torch_value: int) -> list[tuple[int, str]]:
    """(position, argument) of the operations that take the value of a layer without one for the layers behind it."""
    found = []
    for consumer in dict.fromkeys(_consumers(case, case.position)):
        layer = case.judge.layers[consumer]
        steps = set(case.alignment.steps(consumer, layer.outputs[0]))
        own = [taker for taker in case.takers(torch_value) if taker[0] in steps]
        stand_for = [case.alignment.torch_value(v) for v in layer.inputs]
        if len(own) == stand_for.count(torch_value) > 1:  # one value stands for two inputs: x + f(x) is x + x
            number = [i for i, v in enumerate(stand_for) if v == torch_value]
            mine = [n for n, i in enumerate(number) if layer.inputs[i] == case.layer.outputs[0]]
            own = [own[n] for n in mine]
        found += own
    return found
