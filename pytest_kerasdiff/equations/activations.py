"""Activation functions by their names in Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Function = Callable[[Floats], Floats]


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x))."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * x))
    return result


def _elu(x: Floats, alpha: float = 1.0) -> Floats:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _gelu(x: Floats) -> Floats:
    errors: Floats = np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2))
    return 0.5 * x * (1 + errors)


def _softplus(x: Floats) -> Floats:
    result: Floats = np.logaddexp(x, 0)
    return result


FUNCTIONS: Mapping[str, Function] = {
    "linear": lambda x: x,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid of Keras 2": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": _elu,
    "selu": lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x * sigmoid(x),
    "gelu": _gelu,
    "exp": np.exp,
    "hard_tanh": lambda x: np.clip(x, -1, 1),
}
"""Source: keras/src/activations/activations.py and keras/src/backend; the hard sigmoid of Keras 2 has other slopes."""


def softmax(x: Floats, axis: int | tuple[int, ...] = -1) -> Floats:
    """exp(x) over its sum along one axis or several."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    result: Floats = powers / powers.sum(axis=axis, keepdims=True)
    return result
