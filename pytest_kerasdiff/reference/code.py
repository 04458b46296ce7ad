"""What a subclassed model's own code computes between its layers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def has_code(model: Any, keras: ModuleType) -> bool:
    """Whether a model, or one inside it, is subclassed: its ``call`` may do more than call layers."""
    graph = getattr(model, "_functional", None) or model
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model) and layer.layers]
    return not getattr(graph, "_nodes_by_depth", None) or any(has_code(layer, keras) for layer in inner)


class Code:
    """Follows TensorFlow's operations outside layers: for each tensor, which values it is computed from."""

    def __init__(self, known: Callable[[Any], int | None], outside: Callable[[], bool]) -> None:
        """Know how to ask for the number of a tensor that a layer gave, and whether no layer is running."""
        self._known, self._outside = known, outside
        self._sources: dict[int, tuple[weakref.ref[Any], frozenset[int]]] = {}

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow what is run in this block."""
        from tensorflow.python.framework import op_callbacks

        op_callbacks.add_op_callback(self._operation)
        try:
            yield
        finally:
            op_callbacks.remove_op_callback(self._operation)

    def sources(self, tensor: Any) -> list[int]:
        """Numbers of the values that code has computed a tensor from; empty where there is none."""
        return sorted(self._of(tensor))

    def _of(self, tensor: Any) -> frozenset[int]:
        found = self._sources.get(id(tensor))  # of an earlier tensor, where that is gone
        return found[1] if found is not None and found[0]() is tensor else frozenset()

    def _operation(
        self, op_type: str, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None
    ) -> None:
        if graph is not None or not self._outside():
            return
        found: set[int] = set()
        for tensor in inputs:
            number = self._known(tensor)
            found |= self._of(tensor) if number is None else {number}
        if found:
            for tensor in outputs:
                self._sources[id(tensor)] = weakref.ref(tensor), frozenset(found)
