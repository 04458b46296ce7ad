"""Audit the probe inputs: what of each layer they did not exercise, so that a fault there would not show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff import compact
from pytest_kerasdiff.align.kinds import ACTIVATION_LAYERS, IDENTITIES, activation_of, inside
from pytest_kerasdiff.trace import Glance, Layer, ReferenceTrace

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
        words: list[str] = []
        if layer.inputs and layer.class_name not in IDENTITIES:
            with contextlib.suppress(compact.UnknownError):
                words += _of_layer(trace, layer)
        if words:
            found[layer.name] = words
    return found


def _of_layer(trace: ReferenceTrace, layer: Layer) -> Iterator[str]:
    taken = [v for v in layer.inputs if v not in trace.masks]
    if not taken:
        return
    if all(trace.glance(v).is_constant for v in taken):
        yield "all that it takes is one repeated value"
        return
    class_name, config = inside(layer.class_name, layer.config)
    yield from _activation(trace, class_name, config, taken[0], layer.outputs[0])
    yield from _padding(trace, class_name, config, taken[0])
    yield from _mask(trace, layer)
    if layer.outputs[0] in trace.outputs and _is_classifier(class_name, config, trace.shapes[layer.outputs[0]]):
        output = trace.values[layer.outputs[0]]
        rows = output.reshape(-1, output.shape[-1])
        if len(rows) > 1 and len(set(rows.argmax(1).tolist())) == 1:
            yield "one class only is decided for"


def _is_classifier(class_name: str, config: Mapping[str, Any], shape: Sequence[int]) -> bool:
    return activation_of(class_name, config) == "softmax" and len(shape) > 1 and shape[-1] > 1


def _activation(
    trace: ReferenceTrace, class_name: str, config: Mapping[str, Any], taken: int, given: int
) -> Iterator[str]:
    """Sides and saturations of an activation function that were not reached.

    Where the function is a part of a layer, what it takes is not known; what it gives tells the sides apart.
    """
    name, alone = activation_of(class_name, config), class_name in _ACTIVATION_LAYERS
    before, after = trace.glance(taken), trace.glance(given)
    if before.kind not in "fiu" or after.kind not in "fiu":
        return
    if name in _BOTH_SIDES:
        seen = before if alone else after
        zero_below = name in ("relu", "relu6") and not alone
        if not seen.greatest > 0:
            yield "nothing is above 0"
        if not (_has_zero(trace, given) if zero_below else seen.least < 0):
            yield "nothing is below 0"
    highest = 6.0 if name == "relu6" else config.get("max_value")
    if isinstance(highest, int | float) and not after.greatest >= highest:
        yield f"nothing reaches {highest:g}"
    bent = _BENT_AT.get(name or "")
    if alone and bent is not None and not max(-before.least, before.greatest) > bent:
        yield f"nothing is beyond ±{bent:g}, where {name} bends"


def _has_zero(trace: ReferenceTrace, value: int) -> bool:
    glance = trace.glance(value)
    if glance.least >= 0:  # what is rectified is least where it is 0
        return glance.least == 0
    return bool(np.any(trace.values[value] == 0))


def _padding(trace: ReferenceTrace, class_name: str, config: Mapping[str, Any], taken: int) -> Iterator[str]:
    """Padding that meets zeros only, or a padded maximum without a negative value, as if it were padded with zeros."""
    sizes = config.get("pool_size", config.get("kernel_size"))
    pads = class_name.startswith("ZeroPadding") or (
        config.get("padding") in ("same", "causal") and isinstance(sizes, list | tuple) and any(s > 1 for s in sizes)
    )
    if not pads or len(trace.shapes[taken]) < 3:
        return
    glance = trace.glance(taken)
    if config.get("data_format") == "channels_first":
        glance = Glance.of(np.moveaxis(trace.values[taken], 1, -1))
    if not glance.border_has_more:
        yield "padding meets zeros only"
    elif class_name.startswith("MaxPooling") and not glance.border_least < 0:
        yield "no negative value at the border: zeros for padding look like no padding"


def _mask(trace: ReferenceTrace, layer: Layer) -> Iterator[str]:
    """Masks that leave everything in, or everything out."""
    masks = [trace.step_masks[v] for v in layer.inputs if v in trace.step_masks]
    masks += [trace.values[v] for v in layer.inputs if v in trace.masks]
    for mask in masks:
        if mask.size and bool(np.all(mask == mask.reshape(-1)[0])):
            yield "no step is masked" if mask.reshape(-1)[0] else "every step is masked"
            return
