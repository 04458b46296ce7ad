"""Outputs that a port returns in another order, with and without another fault; heads that are alike."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong
from tests.zoo.layers import conv2d, dense


def pyramid(k: Any) -> Any:
    """Features of three sizes, and classes."""
    x = inputs = k.Input((16, 16, 3))
    outputs = []
    for i in (1, 2, 3):
        x = k.layers.Conv2D(4, 3, padding="same", activation="relu", name=f"c{i}")(x)
        x = k.layers.MaxPooling2D(2, name=f"pool{i}")(x)
        outputs.append(k.layers.Conv2D(5, 1, name=f"p{i}")(x))
    x = k.layers.GlobalAveragePooling2D(name="mean")(x)
    return k.Model(inputs, [*outputs, k.layers.Dense(5, activation="softmax", name="classes")(x)])


class Pyramid(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.body = nn.ModuleList(conv2d(w[f"c{i}"], padding=1) for i in (1, 2, 3))
        self.heads = nn.ModuleList(conv2d(w[f"p{i}"]) for i in (1, 2, 3))
        self.classes = dense(w["classes"])

    def forward(self, x: Tensor) -> Any:
        given = []
        for i, (layer, head) in enumerate(zip(self.body, self.heads, strict=True)):
            x = layer(x)
            x = F.max_pool2d(x if i == 1 and "no_relu" in self.fault else F.relu(x), 2)
            given.append(head(x))
        classes = self.classes(x.mean((2, 3))).softmax(1)
        return (*(reversed(given) if "coarse_first" in self.fault else given), classes)


def heads(k: Any) -> Any:
    """Two heads that are alike."""
    x = inputs = k.Input((6,))
    x = k.layers.Dense(8, activation="tanh", name="body")(x)
    return k.Model(inputs, [k.layers.Dense(3, name="left")(x), k.layers.Dense(3, name="right")(x)])


class Heads(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.fault, self.body = fault, dense(w["body"])
        other = fault == "other_weights"
        self.left, self.right = dense(w["right" if other else "left"]), dense(w["left" if other else "right"])

    def forward(self, x: Tensor) -> Any:
        x = self.body(x).tanh()
        found = self.left(x), self.right(x)
        return found[::-1] if self.fault == "other_order" else found


CASES = [
    Case(
        "output_order",
        pyramid,
        Pyramid,
        {
            "coarse_first": wrong(lambda w: Pyramid(w, "coarse_first"), ""),
            "coarse_first_and_no_relu": wrong(lambda w: Pyramid(w, "coarse_first_and_no_relu"), "c2"),
        },
    ),
    Case(
        "output_order_of_heads",
        heads,
        Heads,
        {
            "other_order": wrong(lambda w: Heads(w, "other_order"), ""),
            "other_weights": wrong(lambda w: Heads(w, "other_weights"), "left right"),
        },
    ),
]
