"""What a person looks at to understand a layer: settings of both sides, weights, histograms, where its error is."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff import compact
from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import Array, Constant, Operation, ReferenceTrace, ReplayError, Value

DRAWN = ("weights", "histogram", "error_map")
BINS = 24
_MOST_COUNTED = 2**16
"""Elements of an activation that a histogram counts at most, evenly spread."""
_CELLS, _CHANNELS = 16, 64
"""Rows and columns of an error map, and channels beside it, at most."""
_UNSAID = frozenset({"name", "trainable", "dtype", "layers", "input_layers", "output_layers", "build_config"})
_LONGEST = 200

Floats = npt.NDArray[np.float64]


def stated(reference: ReferenceTrace, judge: Judge, position: int) -> dict[str, Any]:
    """What both sides state of a layer, and where it takes its inputs from; costs nothing."""
    layer, operations = reference.layers[position], judge.candidate.trace.operations
    return {
        "inputs": [reference.layers[judge.layer_of[v]].name for v in layer.inputs if v in judge.layer_of],
        "shape": list(reference.shapes[layer.outputs[0]]),
        "config": {
            key: _plain(value)
            for key, value in layer.config.items()
            if key not in _UNSAID and not key.endswith(("_initializer", "_constraint")) and value is not None
        },
        "arguments": [
            {"op": operations[i].op, "name": operations[i].name, **dict(_arguments(operations[i]))}
            for i in span(judge, position)
        ],
    }


def span(judge: Judge, position: int) -> Sequence[int]:
    """Numbers of the torch operations that are a layer, in order."""
    value = judge.alignment.pairs.get(judge.layers[position].outputs[0])
    return judge.alignment.span(value) if value is not None else []


def _arguments(operation: Operation) -> Iterator[tuple[str, Any]]:
    for name, value in operation.arguments.items():
        several = value if isinstance(value, list | tuple) else [value]
        if value is not None and not any(isinstance(one, Value | Constant) for one in several):
            yield name, _plain(value)


def _plain(value: Any) -> Any:
    """A setting as JSON has it; what is long is cut."""
    if isinstance(value, bool | int | str) or value is None:
        return value if not isinstance(value, str) else value[:_LONGEST]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and "class_name" in value:  # what Keras serialises: a regulariser, an inner layer
        own = value.get("config")
        more = (
            ", ".join(f"{k}={v}" for k, v in own.items() if isinstance(v, int | float))
            if own is not None and hasattr(own, "items")
            else ""
        )
        return f"{value['class_name']}({more})"[:_LONGEST]
    if isinstance(value, list | tuple) and len(value) <= _CELLS:
        return [_plain(one) for one in value]
    return str(value)[:_LONGEST]


def weights(reference: ReferenceTrace, judge: Judge, position: int) -> dict[str, list[dict[str, Any]]]:
    """Shape and statistics of each weight of a layer, and of the torch parameters that its operations take."""
    layer, trace = reference.layers[position], judge.candidate.trace
    names = dict.fromkeys(
        origin
        for i in span(judge, position)
        for number in trace.operations[i].constants
        for origin in trace.constants[number].origins
        if origin in trace.parameters
    )
    return {
        "keras": [_statistics(name, array) for name, array in reference.weights_of(layer).items()],
        "torch": [_statistics(name, trace.parameters[name]) for name in names],
    }


def _statistics(name: str, array: Array) -> dict[str, Any]:
    numbers: Mapping[str, float | None] = {}
    if array.size and array.dtype.kind in "fiu":
        with np.errstate(all="ignore"):
            found = {
                "min": array.min(), "max": array.max(),
                "mean": array.mean(dtype=np.float64), "std": array.std(dtype=np.float64),
            }  # fmt: skip
        numbers = {key: _short(float(value), 6) for key, value in found.items()}
    return {"name": name, "shape": list(array.shape), **dict.fromkeys(("min", "max", "mean", "std")), **numbers}


def drawn(reference: ReferenceTrace, judge: Judge) -> dict[int, dict[str, Any]]:
    """What takes time to make of each layer: the fields ``DRAWN`` of a layer in the report, by its position."""
    faults = {position for position, result in enumerate(judge.verdicts) if result.status == "fault"}
    return {
        position: {"weights": weights(reference, judge, position), **own}
        for position, own in pictures(reference, judge, faults).items()
    }


def pictures(reference: ReferenceTrace, judge: Judge, faults: Set[int]) -> dict[int, dict[str, Any]]:
    """Histograms of both sides' activations in the ordinary forward pass, and error maps of the layers at fault.

    Args:
        reference: The Keras side.
        judge: What was found; the port is run once more.
        faults: Positions of the layers whose error alone is mapped.

    Returns:
        Position → ``histogram`` and ``error_map``, each None where there is nothing to draw.
    """
    found: dict[int, dict[str, Any]] = {i: {"histogram": None, "error_map": None} for i in range(len(reference.layers))}
    wanted: dict[int, list[int]] = {}
    for position, layer in enumerate(reference.layers):
        value = judge.alignment.torch_value(layer.outputs[0])
        if value is not None and position not in judge.alignment.computed_with:
            wanted.setdefault(value, []).append(position)

    def visit(torch_value: int, array: Array) -> None:
        for position in wanted[torch_value]:
            both = _both(reference, judge, position, torch_value, array)
            if both is not None:
                found[position]["histogram"] = histogram(*both)

    judge.candidate.stream(wanted, visit)
    for position in faults:
        torch_value = judge.alignment.torch_value(reference.layers[position].outputs[0])
        if torch_value is None:
            continue
        try:
            array = judge.candidate.run([torch_value], judge.feed(position, torch_value))[torch_value]
        except (compact.UnknownError, AxesError, ReplayError, ValueError):
            continue
        both = _both(reference, judge, position, torch_value, array)
        if both is not None and both[0].shape == both[1].shape:
            found[position]["error_map"] = error_map(*both)
    return found


def _both(
    reference: ReferenceTrace, judge: Judge, position: int, torch_value: int, array: Array
) -> tuple[Array, Array] | None:
    """The port's activation in Keras's layout, and Keras's; None where there are no numbers to draw."""
    value = reference.layers[position].outputs[0]
    try:
        keras = reference.values[value]
    except (KeyError, compact.UnknownError):
        return None  # a compact reference does not have it
    with contextlib.suppress(AxesError, ValueError):
        array = judge.layouts.to_keras(array, torch_value, value)
    return (array, keras) if array.dtype.kind in "fiu" and keras.dtype.kind in "fiu" and keras.size else None


def histogram(torch: Array, keras: Array) -> dict[str, Any] | None:
    """How often both sides' elements are in each of ``BINS`` equal parts of their common range.

    Returns:
        ``from`` and ``to`` of the range, and counts of ``keras`` and ``torch``; None where no element is finite.
    """
    sides = {"keras": _spread(keras), "torch": _spread(torch)}
    ends = [end for side in sides.values() if side.size for end in (side.min(), side.max())]
    if not ends:
        return None
    low, high = float(min(ends)), float(max(ends))
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = {name: np.histogram(side, BINS, (low, high))[0].tolist() for name, side in sides.items()}
    return {"from": _short(low, 4), "to": _short(high, 4), **counts}


def _spread(array: Array) -> Floats:
    """Some finite elements of an array, evenly spread over it."""
    flat = array.reshape(-1)
    step = -(-flat.size // _MOST_COUNTED) or 1
    own = flat[::step].astype(np.float64)
    return own[np.isfinite(own)]


def error_map(torch: Array, keras: Array) -> dict[str, Any]:
    """Where two arrays (N, …, C) of equal shape differ in the sample in which they differ most.

    Returns:
        ``sample``; ``rows``: largest difference in each cell of a grid over the first two axes of positions, or over
        positions and channels where there is one axis of positions, at most 16 by 16; ``axes``: what rows and columns
        are; ``channels``: largest difference in each channel, of the first 64. Null where a number is not finite.
    """
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.subtract(torch, keras, dtype=np.float64))
    apart = np.where(np.isnan(torch) & np.isnan(keras), 0, np.where(np.isnan(apart), np.inf, apart))
    apart = apart.reshape(len(apart), -1) if apart.ndim < 2 else apart
    sample = int(apart.reshape(len(apart), -1).max(1).argmax())
    own = apart[sample]
    channels = own.reshape(-1, own.shape[-1]).max(0)
    if own.ndim >= 3:
        grid, axes = own.max(tuple(range(2, own.ndim))), ("axis 1", "axis 2")
    elif own.ndim == 2:
        grid, axes = own, ("axis 1", "channel")
    else:
        grid, axes = own[None], ("", "channel")
    return {
        "sample": sample,
        "axes": list(axes),
        "size": list(grid.shape),
        "rows": [[_short(float(x), 3) for x in row] for row in _coarse(grid)],
        "channels": [_short(float(x), 3) for x in channels[:_CHANNELS]],
    }


def _coarse(grid: Floats) -> Floats:
    """The largest element in each of at most 16 by 16 cells."""
    for axis in (0, 1):
        edges = np.linspace(0, grid.shape[axis], min(_CELLS, grid.shape[axis]) + 1).astype(int)[:-1]
        grid = np.maximum.reduceat(grid, edges, axis)
    return grid


def _short(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
