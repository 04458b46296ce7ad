"""The calls of a model's layers: whether Keras can make them, and that it makes none while it builds the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pytest_kerasdiff import modelfile


def reasons(node: Mapping[str, Any]) -> Iterator[str]:
    """Calls of layers that wait for one another, or for one that is not there: Keras 2 would go round for ever.

    Source: ``reconstruct_from_config`` in keras/engine/functional.py. It makes the calls of a layer in their order. A
    model in the model may have had one call before them.
    """
    layers = node.get("layers")
    calling = [
        la for la in (layers if isinstance(layers, list) else ()) if isinstance(la, dict) and "inbound_nodes" in la
    ]
    if isinstance(layers, dict) or any(not isinstance(la["inbound_nodes"], list) for la in calling):
        yield "its layers, or their calls, are not listed as Keras does"
        return
    # Keras 2 goes by the outer name, everything else by the inner one.
    known = {str(la.get("name")): la for la in calling}
    if len(known) < len(calling) or any(modelfile.layer_name(la) != name for name, la in known.items()):
        yield "two of its layers have one name, or one has two"
        return
    for name, la in known.items():
        if any(not _takes_something(call, known) for call in la["inbound_nodes"]):
            yield f"layer {name!r} is called with constants alone: it would run while the model is built"
    waiting = {
        name: [list(_sources(call, known)) for call in la["inbound_nodes"]]
        for name, la in known.items()
        if la["inbound_nodes"]
    }
    made: Counter[str] = Counter()

    def is_there(name: str, number: Any) -> bool:
        extra = int(modelfile.is_model(known[name]))
        counts = isinstance(number, int) and number >= 0
        return counts and (name not in waiting or number < made[name] or extra <= number < made[name] + extra)

    before = -1
    while before < made.total():
        before = made.total()
        for name, calls in waiting.items():
            while made[name] < len(calls) and all(is_there(*source) for source in calls[made[name]]):
                made[name] += 1
    for name, calls in waiting.items():
        if made[name] < len(calls):
            yield f"layer {name!r} is fed with what it gives itself, or with a call of a layer that is not there"


def _takes_something(call: Any, layers: Collection[str]) -> bool:
    """Whether a call takes what a layer gives; Keras 3 writes that as an object of its own."""
    if isinstance(call, dict):
        return call.get("class_name") == "__keras_tensor__" or any(_takes_something(c, layers) for c in call.values())
    if not isinstance(call, list):
        return False
    return any(_sources(call, layers)) or any(_takes_something(part, layers) for part in call)


def _sources(call: Any, layers: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Calls whose results a call of a layer takes, as Keras 2 writes them: ``[layer, number of the call, …]``.

    Keras 3 writes a call as a dict, and sees for itself what cannot be made.
    """
    pending = [call] if isinstance(call, list) else []
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            pending += part.values()
        elif isinstance(part, list):
            if len(part) > 2 and isinstance(part[0], str) and part[0] in layers:
                yield part[0], part[1]
                part = part[3:]
            pending += part
