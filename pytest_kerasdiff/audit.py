"""Audit the probe inputs: what of each layer they did not exercise, so that a fault there would not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff.align.kinds import ACTIVATION_LAYERS, IDENTITIES, activation_of, inside
from pytest_kerasdiff.trace import Array, Layer, ReferenceTrace

_BOTH_SIDES = {"relu", "leaky_relu", "elu", "selu", "prelu", "celu", "relu6", "threshold"}
"""Activation functions that do one thing below zero and another above."""
_ACTIVATION_LAYERS = {"Activation", *ACTIVATION_LAYERS}
_BENT_AT = {
    "sigmoid": 2.0,
    "tanh": 1.0,
    "hard_sigmoid": 3.0,
    "softsign": 1.0,
    "gelu": 1.0,
    "silu": 1.0,
    "softplus": 1.0,
}
"""Values from which a function is no straight line any more; below it another one looks the same."""


def unexercised(trace: ReferenceTrace) -> dict[str, list[str]]:
    """What the probe inputs left out, by the report name of the layer; layers that they exercised are not in it."""
    found = {}
    for layer in trace.layers:
        words = list(_of_layer(trace, layer)) if layer.inputs and layer.class_name not in IDENTITIES else []
        if words:
            found[layer.name] = words
    return found


def _of_layer(trace: ReferenceTrace, layer: Layer) -> Iterator[str]:
    arrays = [trace.values[v] for v in layer.inputs if v not in trace.masks]
    if not arrays:
        return
    if all(_is_constant(array) for array in arrays):
        yield "all that it takes is one repeated value"
        return
    class_name, config = inside(layer.class_name, layer.config)
    output = trace.values[layer.outputs[0]]
    yield from _activation(class_name, config, arrays[0], output)
    yield from _padding(class_name, config, arrays[0])
    yield from _mask(trace, layer)
    if layer.outputs[0] in trace.outputs and _is_classifier(class_name, config, output):
        rows = output.reshape(-1, output.shape[-1])
        if len(rows) > 1 and len(set(rows.argmax(1).tolist())) == 1:
            yield "one class only is decided for"


def _is_constant(array: Array) -> bool:
    return array.size > 0 and bool(np.all(array == array.reshape(-1)[0]))


def _is_classifier(class_name: str, config: Mapping[str, Any], output: Array) -> bool:
    return activation_of(class_name, config) == "softmax" and output.ndim > 1 and output.shape[-1] > 1


def _activation(class_name: str, config: Mapping[str, Any], taken: Array, given: Array) -> Iterator[str]:
    """Sides and saturations of an activation function that were not reached.

    Where the function is a part of a layer, what it takes is not known; what it gives tells the sides apart.
    """
    name, alone = activation_of(class_name, config), class_name in _ACTIVATION_LAYERS
    if taken.dtype.kind not in "fiu" or given.dtype.kind not in "fiu":
        return
    before, after = np.asarray(taken, np.float64), np.asarray(given, np.float64)
    if name in _BOTH_SIDES:
        values = before if alone else after
        zero_below = name in ("relu", "relu6") and not alone
        if not np.any(values > 0):
            yield "nothing is above 0"
        if not np.any(values == 0 if zero_below else values < 0):
            yield "nothing is below 0"
    highest = 6.0 if name == "relu6" else config.get("max_value")
    if isinstance(highest, int | float) and not np.any(after >= highest):
        yield f"nothing reaches {highest:g}"
    bent = _BENT_AT.get(name or "")
    if alone and bent is not None and not np.any(np.abs(before) > bent):
        yield f"nothing is beyond ±{bent:g}, where {name} bends"


def _padding(class_name: str, config: Mapping[str, Any], taken: Array) -> Iterator[str]:
    """Padding that meets zeros only, or a padded maximum without a negative value, as if it were padded with zeros."""
    sizes = config.get("pool_size", config.get("kernel_size"))
    pads = class_name.startswith("ZeroPadding") or (
        config.get("padding") in ("same", "causal") and isinstance(sizes, list | tuple) and any(s > 1 for s in sizes)
    )
    axes = _spatial(taken, config)
    if not pads or not axes:
        return
    border = np.concatenate([np.take(taken, at, axis).ravel() for axis in axes for at in (0, -1)])
    if not np.any(border):
        yield "padding meets zeros only"
    elif class_name.startswith("MaxPooling") and not np.any(np.asarray(border, np.float64) < 0):
        yield "no negative value at the border: zeros for padding look like no padding"


def _spatial(array: Array, config: Mapping[str, Any]) -> Sequence[int]:
    first = config.get("data_format") == "channels_first"
    return range(2, array.ndim) if first else range(1, array.ndim - 1)


def _mask(trace: ReferenceTrace, layer: Layer) -> Iterator[str]:
    """Masks that leave everything in, or everything out."""
    masks = [trace.step_masks[v] for v in layer.inputs if v in trace.step_masks]
    masks += [trace.values[v] for v in layer.inputs if v in trace.masks]
    for mask in masks:
        if mask.size and bool(np.all(mask == mask.reshape(-1)[0])):
            yield "no step is masked" if mask.reshape(-1)[0] else "every step is masked"
            return
