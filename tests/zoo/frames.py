"""Small models around the layer that a case is about: something before it, something after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Weights, load

Function = Callable[[Tensor], Tensor]
Build = Callable[[Any], Any]


def linear(kernel: Tensor, *bias: Tensor) -> nn.Linear:
    """The port of a Dense layer."""
    taken, given = kernel.shape
    module = nn.Linear(taken, given, bias=bool(bias))
    load(module, weight=kernel.T, **dict(zip(["bias"], bias, strict=False)))
    return module


def conv(kernel: Tensor, *bias: Tensor) -> nn.Conv2d:
    """The port of a Conv2D layer without padding."""
    size, _, taken, given = kernel.shape
    module = nn.Conv2d(taken, given, size, bias=bool(bias))
    load(module, weight=kernel.permute(3, 2, 0, 1), **dict(zip(["bias"], bias, strict=False)))
    return module


def dense_model(layer: Callable[[Any], Build], shape: tuple[int, ...] = (5,), units: int = 6) -> Build:
    """Dense, the layer, Dense."""

    def build(k: Any) -> Any:
        inputs = k.Input(shape)
        x = layer(k)(k.layers.Dense(units, name="first")(inputs))
        return k.Model(inputs, k.layers.Dense(3, name="last")(x))

    return build


class DenseFrame(nn.Module):
    """The port of ``dense_model`` around ``middle``."""

    def __init__(self, w: Weights, middle: Function) -> None:
        super().__init__()
        self.first, self.last = (linear(*w[name]) for name in ("first", "last"))
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.middle(self.first(x)), self.last.weight, self.last.bias)


def image_model(layer: Callable[[Any], Build], size: tuple[int, int] = (7, 6), use_bias: bool = True) -> Build:
    """Convolution, the layer, convolution."""

    def build(k: Any) -> Any:
        inputs = k.Input((*size, 3))
        x = layer(k)(k.layers.Conv2D(4, 3, use_bias=use_bias, name="first")(inputs))
        return k.Model(inputs, k.layers.Conv2D(2, 1, name="last")(x))

    return build


class ImageFrame(nn.Module):
    """The port of ``image_model`` around ``middle``, which takes (N, C, H, W)."""

    def __init__(self, w: Weights, middle: Function) -> None:
        super().__init__()
        self.first, self.last = (conv(*w[name]) for name in ("first", "last"))
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.middle(self.first(x)), self.last.weight, self.last.bias)
