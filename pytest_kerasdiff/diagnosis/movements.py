"""Layers that only move elements, and the layers that read what was moved: Keras's order in the place of the port's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from pytest_kerasdiff.align import operations
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.change import Change, Edit, Here, Step, put_before
from pytest_kerasdiff.diagnosis import missing
from pytest_kerasdiff.diagnosis.arranged import Positions, in_keras, inverse, only, order, taken, whole_layer
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way, arguments_with
from pytest_kerasdiff.trace import Layer, Operation, Value

MOVES = {"Flatten": "flatten-order", "Permute": "permute", "Reshape": "reshape", "RepeatVector": "reshape"}
"""Classes that only move elements → the fault of having them in another order."""
_ORDERED = frozenset({"conv", "linear", "rnn", "pool", "norm", "attention", "matmul", "pad", "upsample"})
"""Kinds of operations that read axes by their place."""


def moves(case: Case) -> bool:
    """Whether the layer only moves elements."""
    return case.layer.class_name in MOVES


def own_order(case: Case) -> Iterator[Suspicion]:
    """The elements where Keras's movement puts them."""
    layer, config = case.layer, case.layer.config
    cause, shape = MOVES[layer.class_name], case.reference.shapes[layer.outputs[0]]
    if not only(case, ("concat", "pool", "upsample")) or not case.steps:
        return
    if any(case.trace.operations[i].op in ("slice", "narrow") for i in case.steps):
        return  # elements are lost, which is no matter of their order
    if layer.class_name == "RepeatVector":
        way = whole_layer(case, "repeated", {"times": int(config["n"])})
    else:
        axes: list[int] = [0, *config["dims"]] if layer.class_name == "Permute" else []
        rank = len(case.reference.shapes[layer.inputs[0]])
        if layer.class_name == "Flatten" and config.get("data_format") == "channels_first" and rank > 2:
            axes = [0, *range(2, rank), 1]
        way = whole_layer(case, "moved", {"axes": axes, "shape": list(shape)})
    if way is None:
        return
    last = case.trace.operations[case.steps[-1]]
    before = case.reference.shapes[layer.inputs[0]]
    text = (
        f"{layer.class_name}: Keras makes {shape[1:]} of {before[1:]} in its own order of axes, "
        f"the port's elements stand otherwise{last.place}"
    )
    yield Suspicion(cause, text, _how(layer, before), [way])


def lacking(case: Case) -> Iterator[Suspicion]:
    """A Permute that the port has no operation for, put before the operations that take what Keras's gives."""
    layer, value = case.layer, case.value
    if layer.class_name != "Permute" or value is None or layer.outputs[0] not in case.alignment.passes_on:
        return
    rank = len(case.reference.shapes[layer.inputs[0]])
    stands, natural = order(case, layer.inputs[0], value), list(range(rank))
    shape = case.reference.shapes[layer.inputs[0]]
    positions = np.arange(math.prod(shape)).reshape(shape)
    for axes in ([0, rank - 1, *natural[1:-1]], natural):
        if stands is None or not np.array_equal(stands, positions.transpose(axes)):
            continue
        dims = [axes.index([0, *layer.config["dims"]][axis]) for axis in axes]
        edits = put_before(missing.takers(case, value), [Step("permute", {"self": Here(), "dims": dims})])
        if edits:
            source = case.trace.operations[min(edits)].source
            text = f"Keras permutes by {tuple(layer.config['dims'])}, the port has no operation for it [{source}]"
            yield Suspicion("permute", text, f"x.permute{tuple(dims)} first [{source}]", [Way(Change(edits=edits))])
        return


def _how(layer: Layer, before: Sequence[int]) -> str:
    """What moves elements as Keras does, where the port has channels first."""
    rank = len(before)
    back = f"x.permute{(0, *range(2, rank), 1)}" if rank > 2 else "x"
    if layer.class_name == "Permute":
        return f"permute by (0, {', '.join(map(str, layer.config['dims']))}) of Keras's axes"
    if layer.class_name == "RepeatVector":
        return f"x.unsqueeze(1).repeat(1, {layer.config['n']}, 1)"
    if layer.class_name == "Flatten":
        return f"{back}.flatten(1)"
    return f"{back}.reshape(N, {', '.join(map(str, layer.config.get('target_shape', ())))}), then channels first again"


def reads(case: Case) -> bool:
    """Whether the layer computes with what another layer gave, of which some axes may stand otherwise."""
    name, _ = inside(case.layer.class_name, case.layer.config)
    return bool(case.steps) and len(case.layer.inputs) == 1 and name not in MOVES and case.position > 0


def order_read(case: Case) -> Iterator[Suspicion]:
    """What a layer takes, in the order in which its operation reads it."""
    source = case.layer.inputs[0]
    moved = _moved_before(case, source)
    feeder = case.reference.layers[case.position_of(source)]
    if moved is None and feeder.class_name == "InputLayer":
        return  # how the input stands is a matter of the input
    value = case.alignment.torch_value(source)
    reader = _reader(case, value) if value is not None else None
    known = in_keras(case, source)
    if reader is None or known is None or value is None:
        return
    at, argument, given = reader
    operation = case.trace.operations[at]
    kind = operations.kind(operation)[0]
    now, shape = order(case, source, given), case.reference.shapes[source]
    natural = np.arange(math.prod(shape)).reshape(shape)
    wanted = [natural] if kind in ("linear", "matmul", "attention") else _orders(natural, kind)
    ways = [
        Way(Change(edits={at: _before(argument, known[0], known[1], target)}))
        for target in wanted
        if now is None or now.shape != target.shape or not np.array_equal(now, target)
    ]
    if now is None and not any(_moves_elements(case.trace.operations[i]) for i in case.steps):
        return  # what changes elements without moving one (a cast to float16) is no matter of their order
    ways = ways if now is None or not any(_alike(now, target, kind) for target in wanted) else []
    if not ways:
        return
    cause = MOVES[moved.class_name] if moved is not None else _own_cause(case)
    before = case.reference.shapes[moved.inputs[0]] if moved is not None else shape
    text = f"order: Keras's {case.layer.class_name} reads {_said(moved, before)}, port otherwise{operation.place}"
    yield Suspicion(cause, text, _patch(moved, before, operation), ways, stated=now is not None)


def gives(case: Case) -> bool:
    """Whether the layer gives an output of the model, and is wrong."""
    return case.layer.outputs[0] in case.reference.outputs and case.verdict.status == "fault" and bool(case.steps)


def order_given(case: Case) -> Iterator[Suspicion]:
    """What the port moves last, in Keras's order: an output is given as Keras gives it."""
    result, value, torch = case.layer.outputs[0], case.value, case.alignment.torch
    if value is None:
        return
    before, names = value, list[str]()
    while (node := torch.node(before)) is not None and node.kind == "move" and len(node.operands) == 1:
        names.append(case.trace.operations[torch.producer[before]].op)
        before = node.operands[0]
    shape = case.reference.shapes[result]
    if before == value or before in case.trace.inputs or case.trace.shapes[value] != shape:
        return
    natural = np.arange(math.prod(shape)).reshape(shape)
    known = order(case, result, before)
    orders = [known] if known is not None else [np.moveaxis(natural, -1, 1), natural]
    place = torch.producer[value]
    last = case.trace.operations[place]
    begin = Step("alias", {"self": Value(before)})
    ways = [
        Way(Change(edits={place: Edit(instead=begin, after=taken(inverse(positions, shape)))}))
        for positions in orders
        if positions.shape == case.trace.shapes[before]
    ]
    cause = "reshape" if {"view", "reshape", "_unsafe_view"} & set(names) else "permute"
    text = f"output: Keras gives {shape[1:]} in this order of axes, the port's elements stand otherwise{last.place}"
    yield Suspicion(cause, text, f"move the axes into Keras's order{last.place}", ways)


def _moves_elements(operation: Operation) -> bool:
    return operations.kind(operation)[0] in ("move", "concat") or operation.op in ("index", "index_select", "gather")


def _orders(natural: Positions, kind: str) -> list[Positions]:
    """The orders of axes in which an operation may read a value."""
    first = np.moveaxis(natural, -1, 1) if natural.ndim > 2 else natural
    found = [first, natural] if kind in ("conv", "pool", "pad", "upsample", "norm") else [natural, first]
    return [*found, *([natural.swapaxes(0, 1)] if kind == "rnn" else [])]


def _alike(now: Positions, target: Positions, kind: str) -> bool:
    """Whether elements stand as an operation reads them; a product reads the last axis alone."""
    if kind in ("linear", "matmul") and now.shape[-1:] == target.shape[-1:]:
        return bool(np.all(now % now.shape[-1] == np.arange(now.shape[-1])))
    return bool(np.array_equal(now.squeeze(), target.squeeze()))


def _before(argument: str, value: Value, positions: Positions, target: Positions) -> Edit:
    """Take the elements of a value in another order, whatever the port did to it."""
    index = positions.reshape(-1)[target.ravel()].reshape(target.shape)
    return Edit(before={argument: (Step("alias", {"self": value}), *taken(index))})


def _reader(case: Case, value: int) -> tuple[int, str, int] | None:
    """(position, argument, value) of the layer's first operation that reads axes by their place."""
    same = {value}
    for at in case.steps:
        operation = case.trace.operations[at]
        taken_here = next((v for v in operation.inputs if v in same), None)
        if taken_here is None:
            continue
        kind = operations.kind(operation)[0]
        if kind in _ORDERED:
            argument = next(iter(arguments_with(operation, taken_here)), None)
            return (at, argument, taken_here) if argument is not None else None
        if kind in ("move", "identity") and len(operation.inputs) == 1:
            same |= set(operation.outputs[:1])
    return None


def _moved_before(case: Case, source: int) -> Layer | None:
    """The nearest layer before a value that moves elements, with nothing but functions of one element between."""
    while True:
        layer = case.reference.layers[case.position_of(source)]
        if layer.class_name in MOVES:
            return layer
        shapes = [case.reference.shapes[v] for v in (*layer.inputs[:1], source)]
        if len(layer.inputs) != 1 or layer.weights or shapes[0] != shapes[1]:
            return None
        source = layer.inputs[0]


def _own_cause(case: Case) -> str:
    """What a port did between what the layer takes and the operation that reads it."""
    names = [case.trace.operations[i].op for i in case.steps]
    return "reshape" if any(name in ("view", "reshape", "_unsafe_view", "flatten") for name in names) else "permute"


def _said(moved: Layer | None, before: Sequence[int]) -> str:
    if moved is None:
        return f"{tuple(before[1:])} in this order of axes"
    return f"what its {moved.class_name} makes of {tuple(before[1:])} in this order of axes"


def _patch(moved: Layer | None, before: Sequence[int], operation: Operation) -> str:
    rank = len(before)
    if moved is not None and moved.class_name == "Flatten" and rank > 2:
        return f"x.permute{(0, *range(2, rank), 1)}.flatten(1) before {operation.name.partition('@')[0]}"
    if moved is not None:
        return f"{_how(moved, before)}, before {operation.name.partition('@')[0]}"
    return f"bring what {operation.name.partition('@')[0]} takes into the order of Keras's axes"
