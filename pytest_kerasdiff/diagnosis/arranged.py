"""Keras's own computation in the place of a port's: values brought into Keras's layout, and back into the port's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align import operations
from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.change import Change, Edit, Here, Step, put_before
from pytest_kerasdiff.diagnosis.case import Case, Way
from pytest_kerasdiff.trace import Operation, Value

Positions = npt.NDArray[np.int64]


def order(case: Case, keras_value: int, torch_value: int) -> Positions | None:
    """For each element of a torch value its position in the flattened Keras value; None where it is not known."""
    shape = case.reference.shapes[keras_value]
    positions = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    try:
        return np.asarray(case.judge.layouts.to_torch(positions, keras_value, torch_value), dtype=np.int64)
    except (AxesError, ValueError):
        return None


def order_of_output(case: Case, keras_value: int, torch_value: int) -> Positions | None:
    """``order``, or where a fault has garbled the axes: as Keras's, or with channels first, by the shape alone."""
    known = order(case, keras_value, torch_value)
    shape, have = case.reference.shapes[keras_value], case.trace.shapes.get(torch_value)
    if known is not None and known.ndim == len(have or ()):
        return known
    positions = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    first = np.moveaxis(positions, -1, 1) if positions.ndim > 1 else positions
    return next((p for p in (positions, first) if p.shape == have), None)


def inverse(positions: Positions, shape: Sequence[int]) -> Positions:
    """For each element of a Keras value of this shape its position in the flattened torch value."""
    found = np.empty(positions.size, dtype=np.int64)
    found[positions.ravel()] = np.arange(positions.size)
    return found.reshape(tuple(shape))


def taken(positions: Positions) -> tuple[Step, ...]:
    """Elements of the tensor at hand by their positions; none where they stand so already."""
    return (Step("take", {"self": Here(), "index": positions}),)


def in_keras(case: Case, keras_value: int) -> tuple[Value, Positions] | None:
    """The torch value that a Keras value is, and where Keras's elements are in it."""
    torch_value = case.alignment.torch_value(keras_value)
    known = order(case, keras_value, torch_value) if torch_value is not None else None
    if known is None or torch_value is None:
        return None
    return Value(torch_value), inverse(known, case.reference.shapes[keras_value])


def instead(operation: Operation, value: int, *chain: Step) -> Edit:
    """Give a chain that begins with a value in the place of what an operation gives."""
    begin = Step("alias", {"self": Value(value)})
    # Of several tensors (values and indices) the first is replaced after all of them were made.
    return Edit(instead=begin if len(operation.outputs) == 1 else None, after=(begin, *chain))


def left_out(operation: Operation) -> Edit:
    """Hand on what an operation takes."""
    return instead(operation, operation.inputs[0])


def producer(case: Case) -> int | None:
    """Position of the layer's own operation that gives its output."""
    value = case.value
    return next((i for i in case.steps if value in case.trace.operations[i].outputs), None)


def whole_layer(case: Case, formula: str, arguments: Mapping[str, object]) -> Way | None:
    """Compute a layer's output by a formula in Keras's layout from what Keras gives it, whatever the port does.

    Args:
        case: The layer.
        formula: Name behind "keras."; its first argument is ``values``, the layer's inputs in Keras's layout.
        arguments: Its other arguments.
    """
    at, value, result = producer(case), case.value, case.layer.outputs[0]
    sources = [in_keras(case, v) for v in case.layer.inputs]
    if at is None or value is None or None in sources or _takes_another(case):
        return None
    back = order_of_output(case, result, value)
    if back is None:
        return None
    known = [source for source in sources if source is not None]
    operands = {"values": [v for v, _ in known], "orders": [p for _, p in known]}
    compute = Step(f"keras.{formula}", {**operands, **arguments})
    operation = case.trace.operations[at]
    return Way(Change(edits={at: instead(operation, known[0][0].index, compute, *taken(back))}))


def _takes_another(case: Case) -> bool:
    """Whether the operations of a layer of one input take another value: that is its fault, and not what they do."""
    wanted = {case.alignment.torch_value(v) for v in case.layer.inputs}
    return len(wanted) == 1 and not wanted & {v for i in case.steps for v in case.trace.operations[i].inputs}


def before_consumers(case: Case, formula: str, arguments: Mapping[str, object]) -> Way | None:
    """Compute a layer that the port lacks before the operations that take its input in the place of its output."""
    result, source = case.layer.outputs[0], case.layer.inputs[0]
    value, known = case.alignment.torch_value(result), in_keras(case, source)
    if value is None or known is None or known[0].index != value:
        return None
    back = order(case, result, value)
    consumers = [i for i, other in enumerate(case.reference.layers) if result in other.inputs]
    if back is None or not consumers:
        return None
    compute = Step(f"keras.{formula}", {"values": [Here()], "orders": [known[1]], **arguments})
    steps = {
        step
        for consumer in consumers
        for step in case.alignment.steps(consumer, case.reference.layers[consumer].outputs[0])
    }
    edits = put_before([(at, argument) for at, argument in case.takers(value) if at in steps], [compute, *taken(back)])
    if not edits:
        return None
    partner = case.alignment.computed_with.get(consumers[0], consumers[0])
    return Way(Change(edits=edits), measured=partner, ignoring=frozenset({case.position}))


def only(case: Case, kinds: Iterable[str]) -> bool:
    """Whether all operations of the layer are of these kinds: no activation, no normalisation is among them."""
    allowed = {*kinds, "move", "identity"}
    return all(operations.kind(case.trace.operations[i])[0] in allowed for i in case.steps)


def called(operation: Operation) -> str:
    """How the user's code calls an operation: the module, or the function and its line."""
    name = operation.name.partition("@")[0]
    return name if operation.module and name == operation.module else f"{operation.op}{operation.place}"
