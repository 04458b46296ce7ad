"""Values that a recorded reference need not hold: what some layers give is computed anew from what they take.

Two thirds of a trace are outputs of activations, normalisations, additions and borders, which numpy computes to the
last bits of float64. Whoever leaves one out has compared it with Keras's first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.trace import Array, Layer

ROUNDINGS = 16
"""How many roundings of float64, at the value's scale, an output may differ from Keras's to count as equal."""
DEPTH = 4
"""How many values may be computed one from the other, so that reading one costs as much in a deep model."""
_GROWS = 100
"""How many times as large as the stored values all those computed from them may be."""
Floats = npt.NDArray[np.float64]
Weights = Mapping[tuple[str, str], Array]


def compute(layer: Layer, given: Sequence[Array], weights: Weights, shape: Sequence[int]) -> Array | None:
    """The output of a layer in the precision of its input; None where its class is none of those known here.

    Args:
        layer: With one output.
        given: What it takes.
        weights: Of the whole model.
        shape: Of the output.
    """
    own = _LAYERS.get(layer.class_name)
    if own is None or not given or any(a.dtype.kind != "f" for a in given):
        return None
    try:
        if _elements(layer, given) != math.prod(shape):
            return None
        made = own(layer, [np.asarray(a, np.float64) for a in given], weights)
        return None if made is None else made.reshape(shape).astype(given[0].dtype)
    except (KeyError, TypeError, ValueError, IndexError):
        return None  # stated in a way that is not known here


def _elements(layer: Layer, given: Sequence[Array]) -> int:
    """How many the output will have: what is larger than stated is not even made."""
    if layer.class_name == "Concatenate":
        return sum(a.size for a in given)
    shape = list(np.broadcast_shapes(*(a.shape for a in given)))
    if layer.class_name == "ZeroPadding2D":
        for axis, borders in zip((1, 2), layer.config["padding"], strict=True):
            shape[axis] += sum(borders)
    return math.prod(shape)


def equals(made: Array | None, expected: Array) -> bool:
    """Whether a computed output is Keras's."""
    if made is None or made.shape != expected.shape or made.dtype != expected.dtype:
        return False
    if made.dtype != np.float64:
        return np.array_equal(made, expected)
    if not (np.isfinite(made).all() and np.isfinite(expected).all()):
        return False
    first, second = np.asarray(made, np.float64), np.asarray(expected, np.float64)
    scale = float(np.abs(second).max(initial=0.0))
    return bool(np.abs(first - second).max(initial=0.0) <= ROUNDINGS * 2.0**-53 * scale)


def values(
    stored: Mapping[int, Array], layers: Sequence[Layer], weights: Weights, shapes: Mapping[int, Sequence[int]]
) -> Mapping[int, Array]:
    """All values: the stored ones, and those that are computed from them when asked for.

    Args:
        stored: By number.
        layers: Of the whole model.
        weights: Of the whole model.
        shapes: Of all values.

    Raises:
        ValueError: One is computed from others that are computed, and so on, further than a writer lets it be; or all
            of them are many times as large as the stored ones.
    """
    depth: dict[int, int] = {}
    for layer in layers:
        for value in set(layer.outputs) - stored.keys():
            depth[value] = 1 + max((depth.get(v, 0) for v in layer.inputs), default=0)
    if max(depth.values(), default=0) > DEPTH:
        raise ValueError(f"values are computed from others, more than {DEPTH} deep")
    there, left_out = (sum(math.prod(shapes[v]) for v in own) for own in (stored, shapes.keys() - stored.keys()))
    if left_out > _GROWS * there:
        raise ValueError(f"{left_out} elements are to be computed from {there}")
    return _Values(stored, layers, weights, shapes) if len(shapes) > len(stored) else stored


class _Values(Mapping[int, Array]):
    def __init__(
        self,
        stored: Mapping[int, Array],
        layers: Sequence[Layer],
        weights: Weights,
        shapes: Mapping[int, Sequence[int]],
    ) -> None:
        self._stored, self._weights, self._shapes = stored, weights, shapes
        self._layer_of = {v: layer for layer in layers for v in layer.outputs if v not in stored}

    def __getitem__(self, key: int) -> Array:
        if key in self._stored:
            return self._stored[key]
        layer = self._layer_of[key]
        given = {v: self[v] for v in set(layer.inputs)}
        made = compute(layer, [given[v] for v in layer.inputs], self._weights, self._shapes[key])
        if made is None:
            raise KeyError(key)
        return made

    def __iter__(self) -> Iterator[int]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def _activation(layer: Layer, given: Sequence[Floats], weights: Weights) -> Floats | None:
    function = _FUNCTIONS.get(layer.config["activation"])
    return function(given[0]) if function is not None else None


def _relu(layer: Layer, given: Sequence[Floats], weights: Weights) -> Floats | None:
    config = layer.config
    if config.get("negative_slope") or config.get("threshold"):
        return None
    most = config.get("max_value")
    return np.clip(given[0], 0, None if most is None else float(most))


def _batch_normalization(layer: Layer, given: Sequence[Floats], weights: Weights) -> Floats | None:
    """(x - mean) · gamma / √(variance + epsilon) + beta, over the last axis. Source: Keras's documentation."""
    axis = layer.config["axis"]
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    if axis not in (-1, given[0].ndim - 1):
        return None
    own = {name: np.asarray(weights[layer.weight_owner, name], np.float64) for name in layer.weights}
    if any(values.shape != given[0].shape[-1:] for values in own.values()):
        return None
    factor = own.get("gamma", 1.0) / np.sqrt(own["moving_variance"] + float(layer.config["epsilon"]))
    return np.asarray(given[0] * factor + (own.get("beta", 0.0) - own["moving_mean"] * factor))


def _zero_padding(layer: Layer, given: Sequence[Floats], weights: Weights) -> Floats | None:
    if layer.config.get("data_format", "channels_last") != "channels_last":
        return None
    (top, bottom), (left, right) = layer.config["padding"]
    return np.pad(given[0], ((0, 0), (top, bottom), (left, right), (0, 0)))


def _concatenate(layer: Layer, given: Sequence[Floats], weights: Weights) -> Floats:
    return np.concatenate(given, axis=layer.config["axis"])


def _add(layer: Layer, given: Sequence[Floats], weights: Weights) -> Floats:
    return np.asarray(sum(given[1:], given[0]))


def _multiply(layer: Layer, given: Sequence[Floats], weights: Weights) -> Floats:
    made = given[0]
    for other in given[1:]:
        made = made * other
    return made


def _same(layer: Layer, given: Sequence[Floats], weights: Weights) -> Floats:
    return given[0]


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


_FUNCTIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "linear": lambda x: x,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
}
_LAYERS: Mapping[str, Callable[[Layer, Sequence[Floats], Weights], Any]] = {
    "Activation": _activation,
    "ReLU": _relu,
    "BatchNormalization": _batch_normalization,
    "ZeroPadding2D": _zero_padding,
    "Concatenate": _concatenate,
    "Add": _add,
    "Multiply": _multiply,
    **dict.fromkeys(("Flatten", "Reshape", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "Identity"), _same),
}
