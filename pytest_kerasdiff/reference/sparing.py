"""Let a functional model of Keras 3 forget each tensor after its last use, as one of tf_keras does by itself.

Keras 3 keeps all tensors of a pass until its end, so that a deep model would need room for every activation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def sparing(keras: ModuleType) -> Iterator[None]:
    """A context in which calling a functional model, or a Sequential that has a graph, holds only what is still needed.

    Source of the order and of the calls: ``Function._run_through_graph`` of Keras 3.15. Where Keras has no such method
    (tf_keras) nothing is changed.
    """
    owner: Any = getattr(keras, "Function", None)
    original = getattr(owner, "_run_through_graph", None)
    if original is None:
        yield
        return

    def run(self: Any, inputs: Any, operation_fn: Callable[[Any], Any] = lambda op: op, **further: Any) -> Any:
        return original(self, inputs, operation_fn, **further) if further else _run(keras, self, inputs, operation_fn)

    owner._run_through_graph = run
    try:
        yield
    finally:
        owner._run_through_graph = original


def _run(keras: ModuleType, graph: Any, inputs: Any, operation_fn: Callable[[Any], Any]) -> Any:
    levels = graph._nodes_by_depth
    nodes = [n for depth in sorted(levels, reverse=True) for n in levels[depth] if n.operation and not n.is_input]
    last = {id(tensor): position for position, node in enumerate(nodes) for tensor in node.input_tensors}
    last.update(dict.fromkeys(map(id, graph.outputs), len(nodes)))
    tensors = dict(zip(map(id, graph.inputs), keras.tree.flatten(inputs), strict=False))
    for position, node in enumerate(nodes):
        if any(id(tensor) not in tensors for tensor in node.input_tensors):
            continue  # of an input that was not given
        args, kwargs = node.arguments.fill_in(tensors)
        for tensor in node.input_tensors:
            if last[id(tensor)] == position:
                tensors.pop(id(tensor), None)
        outputs = keras.tree.flatten(operation_fn(node.operation)(*args, **kwargs))
        del args, kwargs
        tensors.update((id(t), o) for t, o in zip(node.outputs, outputs, strict=True) if id(t) in last)
        del outputs
    return keras.tree.pack_sequence_as(graph._outputs_struct, [tensors[id(tensor)] for tensor in graph.outputs])
