"""Outputs of the model that the port returns in another order: found by what each of them is."""

from __future__ import annotations

import math

from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import ReferenceTrace


def find(judge: Judge, reference: ReferenceTrace) -> dict[int, int]:
    """Keras's outputs, each with the port's output that it is; empty where they stand as Keras's do.

    By the values; what no value is, because something else is wrong too, takes the place that is left over of its size.
    """
    given = dict(judge.outputs()) if len(reference.outputs) > 1 else {}
    own = {u: v for u, v in given.items() if v is not None}
    if len(own) < len(reference.outputs) or len(set(own.values())) < len(own):
        return {}
    recorded, found = judge.candidate.recorded, dict[int, int]()
    fitting = {u: [v for v in own.values() if judge.error_of_output(u, recorded[v]).passes] for u in own}
    if all(own[u] in fitting[u] for u in own):
        return {}
    for u in sorted(own, key=lambda u: own[u] not in fitting[u]):
        free = [v for v in fitting[u] if v not in found.values()]
        found |= {u: own[u] if own[u] in free else free[0]} if free else {}
    certain = any(v != own[u] for u, v in found.items())
    for u in (u for u in own if u not in found):
        free = [v for v in own.values() if v not in found.values()]
        fits = [v for v in free if math.prod(recorded[v].shape) == math.prod(reference.shapes[u])]
        certain |= bool(fits) and own[u] not in fits
        found[u] = own[u] if own[u] in fits or (own[u] in free and not fits) else (fits or free)[0]
    return found if certain and found != own else {}


def explains(judge: Judge, other: Judge, reference: ReferenceTrace) -> bool:
    """Whether fewer layers are wrong when the outputs stand in the other order.

    States that one layer gives are its own affair. Of two heads that are alike it is the same whether they hold each
    other's weights or stand in each other's place: it is their place where each is called as Keras calls the layer
    whose weights it has.

    Args:
        judge: The port as it is.
        other: With its outputs in the order that was found.
        reference: The Keras side.
    """
    if other.faults >= judge.faults or len({judge.layer_of[u] for u in other.alignment.elsewhere}) < 2:
        return False
    place = {v: u for u, v in judge.outputs()}
    heads = {u: _head(other, reference, u) for u in reference.outputs}
    moved = other.alignment.elsewhere.items()
    alike = all(_form(reference, heads[u], u) == _form(reference, heads[place[v]], place[v]) for u, v in moved)
    return not alike or all(other.is_called_so(heads[u]) for u, _ in moved)


def _head(judge: Judge, reference: ReferenceTrace, keras_value: int) -> int:
    """The nearest layer with weights before an output, as far as one value leads to it."""
    position = judge.layer_of[keras_value]
    while not (layer := reference.layers[position]).weights and len(layer.inputs) == 1:
        position = judge.layer_of[layer.inputs[0]]
    return position


def _form(reference: ReferenceTrace, head: int, keras_value: int) -> tuple[object, ...]:
    layer = reference.layers[head]
    ends = next(la for la in reference.layers if keras_value in la.outputs)
    return (
        *(layer.class_name, reference.weight_shapes(layer), str(layer.config.get("activation")), layer.inputs),
        *(ends.class_name, str(ends.config.get("activation")), reference.shapes[keras_value]),
    )
