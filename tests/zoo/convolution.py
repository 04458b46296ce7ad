"""Convolutions: every kind, and what is easily got wrong about padding, groups and layouts."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


class Conv2d(nn.Module):
    """A strided 'same' convolution over (9, 8) pixels: Keras pads rows by (1, 1) and columns by (0, 1)."""

    def __init__(self, w: Weights, pad: tuple[int, ...] = (0, 1, 1, 1), order: tuple[int, ...] = (3, 2, 0, 1)) -> None:
        super().__init__()
        kernel, bias = w["conv"]
        self.pad = pad
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        load(self.conv, weight=kernel.permute(order), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(F.pad(x, self.pad)))


def conv2d(k: Any) -> Any:
    inputs = k.Input((9, 8, 3))
    return k.Model(inputs, k.layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="conv")(inputs))


CASES = [
    Case(
        "conv2d_same",
        conv2d,
        Conv2d,
        {
            "symmetric": wrong(lambda w: Conv2d(w, (1, 1, 1, 1)), "conv"),
            "height_width": wrong(lambda w: Conv2d(w, order=(3, 2, 1, 0)), "conv", "conv:weights"),
        },
    ),
]
