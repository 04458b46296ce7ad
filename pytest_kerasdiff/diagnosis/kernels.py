"""Whole convolutions and dense layers, with the file's weights, to be put where the port has none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pytest_kerasdiff.align.kinds import activation_of
from pytest_kerasdiff.change import Chain, Here, Step
from pytest_kerasdiff.checks import geometry
from pytest_kerasdiff.diagnosis import functions
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.diagnosis.layout import dims
from pytest_kerasdiff.trace import Layer

_CONVOLUTIONS = frozenset({"Conv1D", "Conv2D", "Conv3D"})
CLASSES = _CONVOLUTIONS | {"Dense"}
"""Classes of layers that are made here."""


def chain(case: Case, layer: Layer, keras_value: int, torch_value: int) -> Chain | None:
    """All that such a layer computes of a torch value that stands for its input; its channels stay where they were.

    None where the layout of the value or the layer's activation function is not known.
    """
    shape = case.reference.shapes[keras_value]
    order = _order(case, shape, keras_value, torch_value)
    own = _own(case, layer, shape)
    if order is None or own is None:
        return None
    ends: Chain = ()
    if activation_of(layer.class_name, layer.config) is not None:
        function = functions.keras_function(layer, case.reference.curves.get(layer.name))
        if function is None:
            return None
        ends = function.chain
    last = len(shape) - 1
    axes = [0, last, *range(1, last)] if layer.class_name in _CONVOLUTIONS else list(range(len(shape)))
    there = [order[axis] for axis in axes]
    back = [there.index(d) for d in range(len(shape))]
    return (
        Step("permute", {"self": Here(), "dims": there}),
        *own,
        *ends,
        Step("permute", {"self": Here(), "dims": back}),
    )


def _order(case: Case, shape: Sequence[int], keras_value: int, torch_value: int) -> list[int] | None:
    """The dimension of the torch value that each axis of the Keras value is."""
    if math.prod(shape) != math.prod(case.trace.shapes[torch_value]) or len(case.trace.shapes[torch_value]) != len(
        shape
    ):
        return None
    known = {a: found[0] for a in range(len(shape)) if (found := dims(case, [a], keras_value, torch_value))}
    left = [d for d in range(len(shape)) if d not in known.values()]  # of one element each
    order = [known[a] if a in known else left.pop(0) for a in range(len(shape))]
    return order if sorted(order) == list(range(len(shape))) else None


def _own(case: Case, layer: Layer, shape: tuple[int, ...]) -> Chain | None:
    weights = {n.rpartition("/")[2]: array for n, array in case.reference.weights_of(layer).items()}
    kernel, bias = weights.get("kernel"), weights.get("bias")
    if kernel is None or layer.config.get("data_format") == "channels_first":
        return None
    last_first = np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)), np.float64)
    exact = None if bias is None else bias.astype(np.float64)
    if layer.class_name == "Dense":
        return (Step("linear", {"input": Here(), "weight": last_first, "bias": exact}),)
    window = geometry.of_keras(layer.config, shape, case.reference.shapes[layer.outputs[0]], ())
    arguments = {
        **{"self": Here(), "weight": last_first, "bias": exact},
        **{"stride": list(window.stride), "dilation": list(window.dilation)},
        **{"groups": int(layer.config.get("groups", 1)), "pads": [list(pair) for pair in window.pads]},
    }
    return (Step("keras.convolution", arguments),)
