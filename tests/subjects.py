"""What checks see of a layer, made by hand: a Keras layer, its weights, and steps of a torch program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pytest_kerasdiff.checks.held import constants_of
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.judge import LayerVerdict
from pytest_kerasdiff.trace import Array, Constant, ConstantData, Layer, Operation, Value
from pytest_kerasdiff.verdict import Error

AT_FAULT = LayerVerdict("fault", isolated=Error(1.0, 1.0, 1e-5))


def step(op: str, taken: Sequence[int] = (0,), given: int = 1, line: int = 7, **arguments: Any) -> Operation:
    """One operation; the first value it takes is its ``self`` or ``input``."""
    constants = tuple(n for argument in arguments.values() for n in constants_of(argument))
    name = "input" if op.startswith(("conv", "linear", "batch_norm", "layer_norm")) else "self"
    values = {name: Value(taken[0])} if taken else {}
    return Operation(
        "block.op", op, "block", f"port.py:{line}", tuple(taken), constants, (given,), {**values, **arguments}
    )


def subject(
    kind: str,
    weights: dict[str, Array] | None = None,
    *constants: ArrayLike,
    config: dict[str, Any] | None = None,
    steps: Sequence[Operation] = (),
    wrong: bool = False,
    **more: Any,
) -> Subject:
    """A layer with these constants, the first of which is ``Constant(0)``, called ``p0``.

    Args:
        kind: Class of the Keras layer.
        weights: Its weights.
        constants: What the operations hold.
        config: Config of the Keras layer.
        steps: The operations; the last of them stands for the layer.
        wrong: The layer's activations are wrong.
        more: Other fields of the subject.
    """
    own = dict(weights or {})
    data = {i: ConstantData(np.asarray(c), (f"p{i}",)) for i, c in enumerate(constants)}
    layer = Layer("layer", kind, config or {}, (0,), (1,), tuple(own))
    fields: dict[str, Any] = {
        "operation": steps[-1] if steps else None,
        "constants": data,
        "folded": False,
        "last": steps[-1] if steps else None,
        "steps": list(steps),
        "parameters": frozenset(f"p{i}" for i in data),
        "verdict": AT_FAULT if wrong else LayerVerdict(),
        "others": {("layer", name): array for name, array in own.items()},
        "port": {f"p{i}": np.asarray(c) for i, c in enumerate(constants)},
        **more,
    }
    return Subject(layer, own, **fields)


def operation_with(op: str, *names: str, taken: Sequence[int] = (0,), **arguments: Any) -> Operation:
    """An operation that takes the constants 0, 1, … as these arguments."""
    own: dict[str, Any] = {name: Constant(i) for i, name in enumerate(names)}
    return step(op, taken, **own, **arguments)
