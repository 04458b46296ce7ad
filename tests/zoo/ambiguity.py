"""Branches that neither weights nor places tell apart: what both sides state of them must, or the values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong


def pools(k: Any) -> Any:
    inputs = k.Input((8, 8, 3))
    x = k.layers.MaxPooling2D(3, 1, padding="same", name="small")(inputs)
    y = k.layers.MaxPooling2D(5, 1, padding="same", name="large")(inputs)
    return k.Model(inputs, k.layers.Add(name="sum")([x, y]))


class Pools(nn.Module):
    def __init__(self, w: Weights, first: int = 5, second: int = 3) -> None:
        super().__init__()
        self.first = nn.MaxPool2d(first, 1, first // 2)
        self.second = nn.MaxPool2d(second, 1, second // 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.first(x), self.second(x))


def slopes(k: Any) -> Any:
    inputs = k.Input((6,))
    x = k.layers.Rescaling(0.3, name="a")(inputs)
    y = k.layers.Rescaling(0.7, name="b")(inputs)
    return k.Model(inputs, k.layers.Maximum(name="max")([x, y]))


class Slopes(nn.Module):
    def __init__(self, w: Weights, first: float = 0.7, second: float = 0.3) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x * self.first, x * self.second)


CASES = [
    Case("branches_pools", pools, Pools, {"other": wrong(lambda w: Pools(w, 7), "large")}),
    Case("branches_scales", slopes, Slopes, {}),
]
