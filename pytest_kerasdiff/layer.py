"""A layer of a trace; apart from the trace's arrays, so that collecting tests imports no numpy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

_CALL = re.compile(r"@\d+$")


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One call of one Keras layer.

    Attributes:
        name: Report name: ``inner/conv``, ``dense@1``.
        class_name: Keras class.
        config: The layer's config as the file states it.
        inputs: Values it took that depend on the model's input, in order.
        outputs: Values it gave that another layer or the model takes, in order.
        weights: Names of its weights in Keras's order; the arrays are in ``ReferenceTrace.weights``.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: tuple[str, ...] = ()

    @property
    def weight_owner(self) -> str:
        """Name without the call number: calls of a shared layer have the same weights."""
        return _CALL.sub("", self.name)
